"""Enter runs into the table of a page: ``python -m experiments.enter <page> <folder>... [keys=data.steps,model.cell]``.

Finished runs below the folders, as ``multiscale.compare`` reads them, become rows of ``<page>/runs.csv``, or replace
those of the same folder; rows of other folders stay, so that a table can fill over several sweeps and machines.
``keys`` are what of a run's config becomes columns; ``by_epoch`` is the monitored metric at each validation.
"""

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from experiments.runs import HOME, read
from multiscale.comparison.curves import read_curves
from multiscale.comparison.records import Run, section
from multiscale.comparison.runs import read_all
from multiscale.comparison.table import build
from multiscale.comparison.text import Cells, list_runs
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
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
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
    keys = [key for word in words if word.startswith("keys=") for key in word.removeprefix("keys=").split(",")]
    places = [word for word in words if not word.startswith("keys=")]
    if len(places) < 2 or not (HOME / places[0]).is_dir():
        sys.exit(__doc__)
    print(f"{enter(HOME / places[0], places[1:], keys)} runs in {places[0]}/runs.csv")


if __name__ == "__main__":
    main(sys.argv[1:])
