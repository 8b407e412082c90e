"""A tensor of another shape than its annotation says is refused while tests run."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from multiscale.checks import InvalidInput, positive_int
from multiscale.data.batch import last_step, pad
from multiscale.nn import cells, encoders, heads
from multiscale.nn.straight_through import straight_through
from tests.helpers.shapes import check

B, T, H = 2, 5, 3
Row: TypeAlias = Float[Tensor, " T"]


class Pair(NamedTuple):
    one: Row
    other: Row


def row(length: int = T) -> Tensor:
    return torch.zeros(length)


CALLS = {
    "levels without time": lambda: heads.Top([H], 1)([torch.zeros(B, H)]),
    "more numbers than the encoder takes": lambda: encoders.Values(H)(torch.zeros(B, T, H + 1)),
    "symbols that are no integers": lambda: encoders.OneHot(H)(torch.zeros(B, T)),
    "another batch in the state": lambda: cells.tanh_cell(
        torch.zeros(B, H), torch.zeros(B, H), (torch.zeros(B + 1, H),)
    ),
    "a decision that is broadcast": lambda: straight_through(torch.zeros(B, T), torch.zeros(B, 1)),
    "a mask of another length": lambda: last_step(torch.zeros(B, T, H), torch.ones(B, T + 1, dtype=torch.bool)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_wrong_shape_is_refused(call):
    with pytest.raises(TypeCheckError, match="checking the parameters of multiscale"):
        call()


def test_a_wrong_shape_is_refused_in_what_is_returned():
    @check
    def half(x: Float[Tensor, "2 T"]) -> Float[Tensor, "1 T"]:
        return x

    with pytest.raises(TypeError, match=r"return must be .*1 T"):
        half(torch.zeros(2, T))


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (Sequence[Row], [row(), row()], [row(), row(), row(T + 1)]),  # whichever item it is
        (list[Row], [row()], (row(),)),
        (tuple[Row, ...], (row(), row()), (row(), row(T + 1))),
        (tuple[Row, int], (row(), 1), (row(),)),
        (tuple[Row, int], (row(), 1), (row(), None)),
        (dict[str, Row], {"a": row()}, {"a": row(), "b": row(T + 1)}),
        (Row | None, None, row(T + 1)),
        (Pair, Pair(row(), row()), Pair(row(), row(T + 1))),
        (tuple[Pair, ...], (Pair(row(), row()),), (Pair(row(), row()), Pair(row(), row(T + 1)))),
    ],
)
def test_what_holds_arrays_is_checked_item_by_item(hint, good, bad):
    @check
    def same(first: Row, held: hint, *more: Row) -> hint:
        return held

    assert same(row(), good, row(), row()) is good
    for args in [(row(), bad), (row(), good, row(), row(T + 1))]:
        with pytest.raises(TypeCheckError):
            same(*args)


def test_right_shapes_pass():
    assert heads.Gated([H, 4], 7, 6)([torch.zeros(B, T, H), torch.zeros(B, T, 4)]).shape == (B, T, 7)
    u = torch.zeros(6, B, 4 * H)
    assert cells.lstm_cell(u, u, (u[..., :H], u[..., :H]))[0].shape == (6, B, H)
    batch = pad([(torch.zeros(T, H), torch.tensor(1)), (torch.zeros(T + 2, H), torch.tensor(0))], per_step=False)
    assert batch.inputs.shape == (2, T + 2, H)


def test_what_tells_no_shape_is_left_to_the_packages_own_errors():
    def plain(count: int) -> int:
        return count

    assert check(plain) is plain
    with pytest.raises(InvalidInput, match="whole number"):
        positive_int("count", "three")
