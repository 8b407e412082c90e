"""The curves of a ``metrics.csv``, read fast: it is sparse, and long runs have long ones."""

import csv
from pathlib import Path

import numpy as np

Curve = tuple[np.ndarray, np.ndarray]


def read_curves(path: Path) -> dict[str, Curve]:
    """(steps, values) of each column of a ``metrics.csv``; a last line that was cut off is left out."""
    if not path.is_file():
        return {}
    with path.open(newline="", errors="replace") as file:
        rows = csv.reader(line for line in file if line.endswith("\n"))
        names = next(rows, [])
        if "step" not in names:
            return {}
        at = names.index("step")
        cells: list[tuple[list[str], list[str]]] = [([], []) for _ in names]
        for row in rows:
            if len(row) != len(names):
                continue  # damaged
            step = row[at]
            for (steps, values), cell in zip(cells, row, strict=True):
                if cell:
                    steps.append(step)
                    values.append(cell)
    return {
        name: curve
        for name, (steps, values) in zip(names, cells, strict=True)
        if name not in ("epoch", "step") and values and len((curve := _curve(steps, values))[0])
    }


def _curve(steps: list[str], values: list[str]) -> Curve:
    try:
        at, measured = np.array(steps, dtype=float).astype(np.int64), np.array(values, dtype=float)
    except ValueError:  # a damaged cell
        return np.empty(0, np.int64), np.empty(0)
    if (np.diff(at) <= 0).any():
        _, last = np.unique(at[::-1], return_index=True)
        keep = len(at) - 1 - last
        at, measured = at[keep], measured[keep]
    return at, measured


def column_names(path: Path) -> list[str]:
    """The columns of a ``metrics.csv``; none if there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", errors="replace") as file:
        return next(csv.reader(file), [])
