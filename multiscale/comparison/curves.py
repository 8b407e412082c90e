"""The curves of a ``metrics.csv``: it is sparse, and what is damaged in it is left out."""

from collections.abc import Sequence
from itertools import chain, compress
from pathlib import Path

import numpy as np

from multiscale.runs.metrics import read_table, to_number

MOST = 2**28  # bytes of a file that is read
DIGITS = 15  # of a step

Curve = tuple[np.ndarray, np.ndarray]  # steps, rising, and values, both [N]


def read_curves(path: Path) -> dict[str, Curve]:
    """The curve of each column of a ``metrics.csv``; a cell that is no number, or has no step, is left out."""
    if not path.is_file() or path.stat().st_size > MOST:
        return {}
    names, rows = read_table(path)
    if names.count("step") != 1:
        return {}
    place = names.index("step")
    counted = (row for row in rows if row[place].isdecimal() and len(row[place]) <= DIGITS)
    cells = list(chain.from_iterable(counted))  # a row after another
    columns = {name: cells[i :: len(names)] for i, name in enumerate(names)}
    at = [int(cell) for cell in columns["step"]]
    curves = {
        name: _make_curve(list(compress(at, column)), list(filter(None, column)))
        for name, column in columns.items()
        if name not in ("step", "epoch") and any(column)
    }
    return {name: curve for name, curve in curves.items() if len(curve[0])}


def _make_curve(steps: Sequence[int], cells: Sequence[str]) -> Curve:
    try:
        at, values = np.array(steps, int), np.array([*map(float, cells)])
    except ValueError:
        numbers = [to_number(cell) for cell in cells]
        at = np.array([step for step, number in zip(steps, numbers, strict=True) if number is not None], int)
        values = np.array([number for number in numbers if number is not None])
    if (np.diff(at) > 0).all():
        return at, values
    rising, last = np.unique(at[::-1], return_index=True)  # of a step that was logged again, the last
    return rising, values[::-1][last]
