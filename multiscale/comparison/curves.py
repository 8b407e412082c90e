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
    logged: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in names if name != "epoch"}
    while block := list(islice(rows, BLOCK)):
        columns = dict(zip(names, zip(*block, strict=True), strict=True))
        at = columns.get("step", ())
        for name, (steps, cells) in logged.items():
            if any(columns[name]):
                steps += compress(at, columns[name])
                cells += filter(None, columns[name])
    logged.pop("step", None)
    curves = {name: _make_curve(steps, cells) for name, (steps, cells) in logged.items()}
    return {name: curve for name, curve in curves.items() if len(curve[0])}


def _make_curve(steps: Sequence[str], cells: Sequence[str]) -> Curve:
    last = dict(zip(steps, cells, strict=False))  # of a step that was logged again
    try:
        at, values = np.array([*map(int, last)]), np.array([*map(float, last.values())])
    except ValueError:
        numbers = {int(step): to_number(cell) for step, cell in last.items() if step.isdecimal()}
        kept = {step: number for step, number in numbers.items() if number is not None}
        at, values = np.array([*kept]), np.array([*kept.values()])
    order = np.argsort(at)
    return at[order], values[order]
