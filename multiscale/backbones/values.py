"""What goes into a backbone and comes out of it: states, levels, traces, products.

Letters: B batch, T time steps, L levels, H_l units of level l.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias, cast

from jaxtyping import Bool, Float
from torch import Tensor

State: TypeAlias = Tensor | tuple["State", ...]
"""All that crosses time; every leaf is [B, ...]."""

Levels: TypeAlias = tuple[Float[Tensor, "B *T _"], ...]
"""L tensors, fastest first: [B, H_l] at a step, [B, T, H_l] of a sequence."""


class StepTrace(NamedTuple):
    """What happened at one step, or, stacked, at all of a sequence."""

    update: Float[Tensor, "B *T L"]  # in [0, 1]
    boundary: Float[Tensor, "B *T L"] | None = None  # in {0, 1}
    probability: Float[Tensor, "B *T L"] | None = None  # in [0, 1], of a boundary before it is decided
    score: Float[Tensor, "B *T L"] | None = None  # what a detector made that of
    open: Float[Tensor, "B *T L"] | None = None  # in {0, 1}: where a boundary was to be decided
    reset: Bool[Tensor, "B T"] | None = None  # for observe alone: where the state was put back before the step


Folded: TypeAlias = tuple[Levels, State, StepTrace | None]
"""What a whole sequence comes to: levels, L of [B, T, H_l], the next state, and, if asked for, the trace [B, T, L]."""

Step: TypeAlias = Callable[[Tensor, State], tuple[Levels, State, StepTrace]]
"""What one step reads and the state before it -> levels, next state, trace."""


class Trace(NamedTuple):
    """What happened over a sequence, never part of the gradient."""

    update: Float[Tensor, "B T _"]  # L, in [0, 1]: how much of a level was rewritten
    boundary: Float[Tensor, "B T _"] | None  # L, in {0, 1}: where a level ended a segment
    names: tuple[str, ...]  # L of them, fastest first
    probability: Float[Tensor, "B T _"] | None = None  # L, in [0, 1]: what it was decided from
    open: Float[Tensor, "B T _"] | None = None  # L, in {0, 1}: where it was to be decided at all


class BackboneOutput(NamedTuple):
    """What a backbone returns for a sequence."""

    levels: tuple[Float[Tensor, "B T _"], ...]  # L of [B, T, H_l], fastest first
    state: State
    penalty: Tensor  # [], >= 0
    trace: Trace | None
    steps: StepTrace | None = None  # [B, T, L], with gradient, for a training backbone that aligns


class Product(NamedTuple):
    """A product of weights with what a level reads, and when it is due."""

    level: int | None  # whose, counted from 0; None: of no level alone
    macs: int  # multiply-accumulates of one step of one sequence
    due: str = "active"  # at the steps of which event: active, boundary or flush, as measured of a trace; or always
    of: int | None = None  # the level whose event it is; None: its own


def tensors(state: State) -> tuple[Tensor, ...]:
    """A state that is a tuple of tensors, as such."""
    return cast(tuple[Tensor, ...], state)


def groups(state: State) -> tuple[tuple[Tensor, ...], ...]:
    """A state that is a tuple of tuples of tensors, as such."""
    return cast(tuple[tuple[Tensor, ...], ...], state)


def detach(state: State) -> State:
    """The same state, cut from the gradient."""
    return state.detach() if isinstance(state, Tensor) else tuple(detach(part) for part in state)
