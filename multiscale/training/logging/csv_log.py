"""metrics.csv: a row for each call of the logger, and with a resumed training none twice and none missing."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multiscale.runs import files
from multiscale.runs.metrics import read_table
from multiscale.runs.processes import get_rank
from multiscale.training.logging.base import RunLogger


class CSVLog(RunLogger):
    """Writes every row at once; a metric that was not seen before becomes a column, empty in the rows above.

    Args:
        folder: where ``metrics.csv`` stands; rows that are there stay until :meth:`begin`.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.columns, rows = read_table(self.path)
        self.rows = len(list(rows))

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    def begin(self, rows: int, again: int) -> None:
        """Forget all rows after the first ``rows``."""
        if get_rank() == 0 and self.path.exists():
            self.columns, there = read_table(self.path)
            self._rewrite(list(there)[:rows])
        self.rows = min(rows, self.rows)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run's config.yaml has them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if get_rank():
            return
        row = {**metrics, "step": step}
        new = [name for name in ("epoch", "step", *row) if name in row and name not in self.columns]
        if new:
            rows = list(read_table(self.path)[1]) if self.rows else []
            self.columns += list(dict.fromkeys(new))
            self._rewrite(rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([row.get(name, "") for name in self.columns])
        self.rows += 1

    def _rewrite(self, rows: Sequence[Sequence[str]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([*row, *[""] * (len(self.columns) - len(row))] for row in rows)
        files.write(self.path, text.getvalue().encode())
