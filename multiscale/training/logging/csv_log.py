"""metrics.csv: a row for each call of the logger, and with a resumed training none twice and none missing."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from multiscale.runs import files


class CSVLog(Logger):
    """Writes every row at once; a metric that was not seen before becomes a column, empty in the rows above.

    Args:
        folder: where ``metrics.csv`` stands; rows that are there stay until :meth:`keep`.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.columns: list[str] = []
        self.rows = 0
        if self.path.exists():
            self.columns, rows = self._read()
            self.rows = len(rows)

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    def _read(self) -> tuple[list[str], list[list[str]]]:
        """(columns, whole rows); a last line that was cut off is none."""
        lines = self.path.read_text().splitlines(keepends=True)
        first, *rows = csv.reader(line for line in lines if line.endswith("\n")) if lines else [[]]
        return first, [row for row in rows if len(row) <= len(first)]

    def keep(self, count: int) -> None:
        """Forget all rows after the first ``count``."""
        if self.path.exists():
            self.columns, rows = self._read()
            self._rewrite(rows[:count])
        self.rows = min(count, self.rows)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run's config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {**metrics, "step": step}
        new = [name for name in ("epoch", "step", *row) if name in row and name not in self.columns]
        if new:
            rows = self._read()[1] if self.rows else []
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


def logged_rows(loggers: Sequence[Logger]) -> int:
    """How many rows have been logged."""
    return next((logger.rows for logger in loggers if isinstance(logger, CSVLog)), 0)
