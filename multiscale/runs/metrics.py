"""What a run has logged, read from its ``metrics.csv``; the file may be missing, cut short or damaged."""

import csv
from collections.abc import Iterator
from pathlib import Path


def read_table(path: Path) -> tuple[list[str], Iterator[list[str]]]:
    """(C names, rows of C cells each) of a CSV file of numbers; nothing of one that does not exist.

    A last line that was cut short is left out, and so is a row with more cells than there are names; cells that a row
    lacks are empty.
    """
    if not path.is_file():
        return [], iter(())
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    names = next(csv.reader(lines[:1]), [])
    # not by the csv reader: cells are numbers, and in one that is damaged a quote would take the rows after it along
    rows = (line.split(",") for line in lines[1:] if line)
    width = len(names)
    return names, (row if len(row) == width else row + [""] * (width - len(row)) for row in rows if len(row) <= width)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The cells of each row by the names of their columns; what is left out is as in :func:`read_table`."""
    names, rows = read_table(path)
    return [dict(zip(names, row, strict=True)) for row in rows]


def read_column(path: Path, name: str) -> list[float]:
    """The numbers of a column in the order in which they were logged; what is empty or no number is left out."""
    numbers = (to_number(row[name]) for row in read_rows(path) if name in row)
    return [number for number in numbers if number is not None]


def to_number(cell: str) -> float | None:
    """The number in a cell, perhaps NaN or infinite; None if there is none."""
    try:
        return float(cell)
    except ValueError:
        return None
