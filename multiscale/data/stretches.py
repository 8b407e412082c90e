"""Stretches of series that lie side by side in one tensor: found in a table's rows, read without a copy."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from multiscale.data.files import DataError
from multiscale.data.tables import Table

Rows: TypeAlias = Int[np.ndarray, "_"]  # numbers of rows, any number of them


class Stretches(Sequence[Tensor]):
    """Stretches [T, C] of one tensor [N, C], from ``starts`` on and ``lengths`` long; none is copied."""

    def __init__(self, values: Tensor, starts: Rows, lengths: Rows) -> None:
        self.values, self.starts, self.lengths = values, starts, lengths

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: Any) -> Any:  # one place, not a slice
        start = int(self.starts[i])
        return self.values[start : start + int(self.lengths[i])]


class Part(NamedTuple):
    """A split: its rows of the table, those of a piece together, and where in them each piece begins."""

    rows: Rows
    starts: Rows
    lengths: Rows

    @classmethod
    def join(cls, pieces: Sequence[Rows]) -> "Part":
        """The pieces one after the other."""
        lengths = np.array([len(piece) for piece in pieces])
        return cls(np.concatenate(pieces), np.cumsum(lengths) - lengths, lengths)

    def windows(self, steps: int, stride: int) -> Rows:
        """Where windows of so many steps begin that lie within a piece each, ``stride`` apart in it."""
        places = zip(self.starts, self.lengths, strict=True)
        return np.concatenate([np.arange(start, start + length - steps + 1, stride) for start, length in places])


def divide(keys: np.ndarray) -> list[Rows]:
    """The rows of each key, in their order; the keys in the order of their first rows."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    found = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    return [found[key] for key in np.argsort(first)]


def cut(rows: Rows, kept: Bool[np.ndarray, " M"]) -> list[Rows]:
    """The pieces of ``rows`` that are left of it between those that are not ``kept``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept[rows], [False]])))
    return [rows[start:stop] for start, stop in edges.reshape(-1, 2)]


def check_times(table: Table, name: str, times: Float64[np.ndarray, " M"], series: Sequence[Rows]) -> None:
    """Raise :class:`DataError` for a time that is no later than the one before it in its series; none is at NaN."""
    for rows in series:
        told = rows[~np.isnan(times[rows])]
        if len(late := np.flatnonzero(np.diff(times[told]) <= 0)):
            before, row = told[late[0]], told[late[0] + 1]
            raise DataError(
                f"{table.path} must have times in {name!r} that rise within a series; row {table.rows[row]} has "
                f"{times[row]:.12g} after {times[before]:.12g}. data.group names the column that tells series apart."
            )


def since_start(inputs: Tensor) -> Tensor:
    """[T, D] with the last column, the time, as that since the first step; then in single precision."""
    return torch.cat([inputs[:, :-1], inputs[:, -1:] - inputs[:1, -1:]], 1).float()


def naive_error(values: Tensor, begins: Rows, horizon: int, season: int) -> float:
    """MSE of forecasting ``horizon`` steps from each begin by the last value, before it, of the same phase."""
    ahead = (values[begins + step] - values[begins + step - season * (step // season + 1)] for step in range(horizon))
    return sum(float(error.square().mean()) for error in ahead) / horizon
