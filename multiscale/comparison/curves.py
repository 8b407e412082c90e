"""The curves of a ``metrics.csv``, read fast: it is sparse, and long runs have long ones."""

import csv
import warnings
from pathlib import Path

import numpy as np

Curve = tuple[np.ndarray, np.ndarray]
COMMA, LINE = ord(","), ord("\n")


def read_curves(path: Path) -> dict[str, Curve]:
    """(steps, values) of each column of a ``metrics.csv``; a last line that was cut off is left out."""
    if not path.is_file():
        return {}
    head, _, body = path.read_bytes().replace(b"\r\n", b"\n").partition(b"\n")
    names = next(csv.reader([head.decode(errors="replace")]), [])
    if "step" not in names:
        return {}
    body = body[: body.rfind(b"\n") + 1]
    read = _numbers(body, len(names)) or _numbers(_mended(body, len(names)), len(names))
    assert read is not None
    there, numbers = read
    rows, columns = np.nonzero(there)
    stepped = columns == names.index("step")
    steps = np.full(len(there), -1, np.int64)
    steps[rows[stepped]] = numbers[stepped]
    curves = {}
    for column, name in enumerate(names):
        here = np.flatnonzero((columns == column) & (steps[rows] >= 0))
        if name not in ("epoch", "step") and len(here):
            curves[name] = _in_order(steps[rows[here]], numbers[here])
    return curves


def _in_order(steps: np.ndarray, values: np.ndarray) -> Curve:
    """Each step once, as it was logged last."""
    if (np.diff(steps) > 0).all():
        return steps, values
    kept, last = np.unique(steps[::-1], return_index=True)
    return kept, values[::-1][last]


def _numbers(body: bytes, width: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(which cells [rows, width] are filled, their numbers in the order of reading); None if the lines are not so."""
    letters = np.frombuffer(body, np.uint8)
    ends = np.flatnonzero((letters == COMMA) | (letters == LINE))
    if len(ends) % width or (letters[ends.reshape(-1, width)[:, -1]] != LINE).any():
        return None
    filled = np.diff(ends, prepend=-1) > 1
    between = np.ones(len(letters), bool)
    between[ends[~filled]] = False  # one comma between numbers is left
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is no number ends the reading
        numbers = np.fromstring(letters[between].tobytes().replace(b"\n", b","), sep=",")
    return (filled.reshape(-1, width), numbers) if len(numbers) == filled.sum() else None


def _mended(body: bytes, width: int) -> bytes:
    """The lines that have no cell too many, without the cells that are no numbers."""
    lines = [line.split(b",") for line in body.split(b"\n")[:-1]]
    whole = [[*cells, *[b""] * (width - len(cells))] for cells in lines if len(cells) <= width]
    return b"".join(b",".join(map(_mended_cell, cells)) + b"\n" for cells in whole)


def _mended_cell(cell: bytes) -> bytes:
    try:
        return repr(float(cell)).encode()
    except ValueError:
        return b""


def column_names(path: Path) -> list[str]:
    """The columns of a ``metrics.csv``; none if there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", errors="replace") as file:
        return next(csv.reader(file), [])
