"""Enter runs into the table of a page: ``python -m experiments.enter <page> <folder>... [keys=data.steps,model.cell]``.

Finished runs below the folders, as ``multiscale.compare`` reads them, become rows of ``<page>/runs.csv``, or replace
those of the same folder; rows of other folders stay, so that a table can fill over several sweeps and machines.
``keys`` are what of a run's config becomes columns; ``by_epoch`` is the monitored metric at each validation.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from experiments.runs import HOME, read
from multiscale.checks import InvalidInput, one_of
from multiscale.cli import command
from multiscale.comparison.curves import read_curves
from multiscale.comparison.records import Run, section
from multiscale.comparison.runs import read_all
from multiscale.comparison.table import build
from multiscale.comparison.text import Cells, list_runs
from multiscale.runs import files
from multiscale.runs.status import FINISHED

TOP = "multirun"  # where a folder's name in a table begins
LEFT_OUT = ("label", "details", "precision_", "recall_")  # hang on the other runs read, or on F1 and the R-value


def enter(page: Path, folders: Sequence[str], keys: Sequence[str] = ()) -> int:
    """Enter the finished runs below ``folders`` into the table of a page; returns how many."""
    table = build(read_all(folders), "")
    pairs = zip(table.runs, list_runs(table), strict=True)
    new = {row["folder"]: row for row in (_describe(run, cells, keys) for run, cells in pairs if run.state == FINISHED)}
    path = page / "runs.csv"
    old: list[Cells] = []
    if path.exists():
        old = [row for row in read(path) if row["folder"] not in new]
    rows = sorted([*old, *new.values()], key=lambda row: (Path(row["folder"]).parent, int(row["seed"]), row["name"]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    files.write(path, text.getvalue().encode())
    return len(new)


def _describe(run: Run, cells: Cells, keys: Sequence[str]) -> Cells:
    parts = run.folder.parts
    where = Path(*parts[parts.index(TOP) :]) if TOP in parts else run.folder
    kept = {key: value for key, value in cells.items() if not key.startswith(LEFT_OUT)}
    short = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in kept.items()}
    config = OmegaConf.create(run.config)
    return {
        "name": run.name,
        **{key: OmegaConf.select(config, key) for key in keys},
        **short,
        "by_epoch": " ".join(f"{value:.5g}" for value in _validations(run)),
        "folder": str(where),
        **{key: section(run.summary, "machine").get(key) for key in ("commit", "processor")},
    }


def _validations(run: Run) -> Iterable[float]:
    curves = read_curves(run.folder / "metrics.csv")
    return curves[run.monitor][1] if run.monitor in curves else ()


def main(words: list[str]) -> None:
    """Enter the folders that the words name.

    Raises:
        InvalidInput: for a page that there is not, or no folders of runs.
    """
    keys = [key for word in words if word.startswith("keys=") for key in word.removeprefix("keys=").split(",")]
    places = [word for word in words if not word.startswith("keys=")]
    if len(places) < 2:
        raise InvalidInput(f"a page and folders of runs must be given; got {' '.join(places) or 'nothing'}.")
    page = one_of("page", places[0], sorted(readme.parent.name for readme in HOME.glob("*/README.md")))
    print(f"{enter(HOME / page, places[1:], keys)} runs in {page}/runs.csv")


if __name__ == "__main__":
    command(main, __doc__)
