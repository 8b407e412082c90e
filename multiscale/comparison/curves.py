"""The curves of a ``metrics.csv``: it is sparse, and what is damaged in it is a gap."""

from itertools import compress
from pathlib import Path

import numpy as np

from multiscale.runs.metrics import read_table

Curve = tuple[np.ndarray, np.ndarray]  # steps, rising, and values, both [N]


def read_curves(path: Path) -> dict[str, Curve]:
    """The curve of each column of a ``metrics.csv``; a cell that is no number, or has no step, is a gap in it."""
    names, rows = read_table(path)
    if "step" not in names:
        return {}
    place = names.index("step")
    columns: list[dict[int, float]] = [{} for _ in names]
    for row in rows:
        if not row[place].isdecimal():
            continue
        step = int(row[place])
        for column, cell in compress(zip(columns, row, strict=False), row):
            try:
                column[step] = float(cell)  # of a step that was logged again, the last
            except ValueError:
                continue
    curves = zip(names, columns, strict=True)
    return {name: _sort(column) for name, column in curves if column and name not in ("step", "epoch")}


def _sort(column: dict[int, float]) -> Curve:
    steps = sorted(column)
    return np.array(steps), np.array([column[step] for step in steps])
