"""The curves of a ``metrics.csv``: it is sparse, and what is damaged in it is left out."""

from collections.abc import Sequence
from itertools import compress, islice
from pathlib import Path

import numpy as np

from multiscale.runs.metrics import read_table, to_number

Curve = tuple[np.ndarray, np.ndarray]  # steps, rising, and values, both [N]
BLOCK = 500  # rows; many more at once keep the garbage collector busy


def read_curves(path: Path) -> dict[str, Curve]:
    """The curve of each column of a ``metrics.csv``; a cell that is no number, or has no step, is left out."""
    names, rows = read_table(path)
    if "step" not in names:
        return {}
    place = names.index("step")
    logged: dict[str, tuple[list[int], list[str]]] = {name: ([], []) for name in names}
    stepped = (row for row in rows if row[place].isdecimal())
    while block := list(islice(stepped, BLOCK)):
        columns = list(zip(*block, strict=True))
        at = [*map(int, columns[place])]
        for (steps, cells), column in zip(logged.values(), columns, strict=True):
            if any(column):
                steps += compress(at, column)
                cells += filter(None, column)
    curves = {name: _make_curve(*logged[name]) for name in names if name not in ("step", "epoch")}
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
