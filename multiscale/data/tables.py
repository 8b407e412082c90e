"""Columns of a file of the user's: CSV, NPY or Parquet."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from multiscale.checks import InvalidInput, describe_error, first_line, free_memory, nearest, read_file
from multiscale.data.files import DataError
from multiscale.data.text import MEMORY, read_text

ABSENT = ("", "nan", "na", "null", "none")  # a cell without a value, in letters of any case
DELIMITERS = ",;\t"
SHOWN = 12  # names in an error


@dataclass(frozen=True)
class Table:
    """Named columns of as many cells; a cell is a number, a text, or None."""

    path: Path
    columns: Mapping[str, Sequence[Any] | np.ndarray]
    rows: Sequence[int]  # the number of each row, as an error names it

    def check(self, argument: str, name: str) -> None:
        """Raise :class:`InvalidInput` if ``name``, given as ``argument``, is no column."""
        if name not in self.columns:
            names = [*self.columns]
            known = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
            raise InvalidInput(
                f"{argument} must be columns of {self.path}, {known}; got {name!r}.{nearest(name, names)}"
            )

    def numbers(self, name: str) -> Float64[np.ndarray, " N"]:
        """A column as numbers, NaN where a cell is empty; raises :class:`DataError` for any other, with its row."""
        cells = self.columns[name]
        try:
            values = np.asarray(cells, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.array([self._number(name, place, cell) for place, cell in enumerate(cells)])
        if len(wrong := np.flatnonzero(np.isinf(values))):
            raise self._no_number(name, wrong[0])
        return values

    def words(self, name: str) -> np.ndarray:
        """A column as texts, the empty one where a cell is empty."""
        found = [str(cell).strip() for cell in self.columns[name]]
        return np.array(["" if word.lower() in ABSENT else word for word in found], dtype=object)

    def _number(self, name: str, place: int, cell: Any) -> float:
        if cell is None or (isinstance(cell, str) and cell.strip().lower() in ABSENT):
            return np.nan
        try:
            return float(cell)
        except (TypeError, ValueError) as error:
            raise self._no_number(name, place) from error

    def _no_number(self, name: str, place: int) -> DataError:
        cell = self.columns[name][place]
        return DataError(
            f"{self.path} must have finite numbers in column {name!r}; row {self.rows[place]} has {cell!s:.40}. "
            "data.columns names the columns to read."
        )


def column_names(argument: str, value: Sequence[str | int] | None) -> tuple[str, ...] | None:
    """Names of columns as texts; raises :class:`InvalidInput` for what is no list of different ones."""
    if value is None:
        return None
    names = () if isinstance(value, (str, int)) else tuple(str(name) for name in value)
    if not names or len(set(names)) < len(names):
        raise InvalidInput(f"{argument} must be a list of one or more different names of columns; got {value!r}.")
    return names


def read_table(path: Path) -> Table:
    """The columns of a file, by the ending of its name.

    ``.csv``, ``.tsv``, ``.txt``: UTF-8 text whose first row are the names, between commas, semicolons or tabs,
    whichever the first row has most of; columns without a name are left out. ``.npy``: one array of numbers [N] or
    [N, C], whose columns are named 0, 1, ... ``.parquet``: needs pyarrow. Rows are numbered as the lines of a text,
    from 1, in the others from 0.

    Raises:
        InvalidInput: for a file that is missing, of another kind, or cannot be read.
    """
    readers = {".csv": _csv, ".tsv": _csv, ".txt": _csv, ".npy": _npy, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidInput(f"data.path must end in {', '.join(readers)}; got {str(path)!r}.")
    table = reader(path)
    if not table.columns or not len(table.rows):
        raise DataError(f"data.path must have columns and rows of values; {path} has none.")
    return table


def _csv(path: Path) -> Table:
    text = read_text(path, "data.path").removeprefix("\ufeff")
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=head.count))
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV at row {reader.line_num}: {error}.") from error
    if not rows:
        raise DataError(f"data.path must have a row of names and rows of values; {path} has none.")
    names = [name.strip() for name in rows[0]]
    if all(_is_number(name) for name in names):
        raise DataError(f"data.path must begin with a row of names; {path} begins with numbers, {head.strip()!s:.40}.")
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise DataError(f"data.path must have columns of different names; {path} has {twice[0]!r} twice.")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise DataError(
                f"data.path must have {len(names)} cells in each row, as in its first; row {line} of {path} "
                f"has {len(row)}."
            )
    cells = zip(*rows[1:], strict=True) if len(rows) > 1 else [()] * len(names)
    return Table(path, {name: column for name, column in zip(names, cells, strict=True) if name}, lines[1:])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _npy(path: Path) -> Table:
    content = _read(path)
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, MemoryError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read as NPY: {first_line(error)}") from error
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
        raise DataError(f"data.path must be numbers [N] or [N, C]; {path} is {array.dtype} {list(array.shape)}.")
    array = array.reshape(len(array), -1) if len(array) else array.reshape(0, 0)
    return Table(path, {str(c): array[:, c] for c in range(array.shape[1])}, range(len(array)))


def _parquet(path: Path) -> Table:
    try:
        parquet = import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"data.path must be CSV or NPY, or pyarrow installed (pip install pyarrow); got {path}."
        ) from error
    content = _read(path)
    try:
        table = parquet.read_table(io.BytesIO(content))
    except (ValueError, OSError) as error:  # pyarrow's own derive from these
        raise DataError(f"{path} cannot be read as Parquet: {first_line(error)}") from error
    columns = {str(name): table.column(place).to_pylist() for place, name in enumerate(table.column_names)}
    return Table(path, columns, range(table.num_rows))


def _read(path: Path) -> bytes:
    try:
        return read_file(path, free_memory() // MEMORY)
    except OSError as error:
        raise InvalidInput(f"data.path must be a readable file; {str(path)!r}: {describe_error(error)}.") from error
