"""A sequence that is run in pieces: up to the step whose state is asked for, and between the steps at which rows begin
anew."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from multiscale.backbones.values import Folded, State, StepTrace


def read(
    run: Callable[[Tensor, State, bool], Folded],
    x: Float[Tensor, "B T D"],
    state: State,
    trace: bool,
    carry: int,
    reset: Bool[Tensor, "B T"] | None = None,
    initial: State = (),
) -> Folded:
    """What ``run`` makes of a whole sequence, with the state after its first ``carry`` steps, of [0, T].

    Before each step at which ``reset`` is true of a row, the row's state is the ``initial`` one.
    """
    if reset is None and not 0 < carry < x.size(1):
        levels, after, steps = run(x, state, trace)
        return levels, after if carry else state, steps
    begins = [] if reset is None else reset.any(0).nonzero()[:, 0].tolist()
    carry = min(carry, x.size(1))
    carried, done = state, []
    for start, stop in pairwise(sorted({0, carry, x.size(1), *begins})):
        if reset is not None and start in begins:
            state = choose_rows(reset[:, start], initial, state)
        done.append(run(x[:, start:stop], state, trace))
        state = done[-1][1]
        carried = state if stop == carry else carried
    pieces, _, told = zip(*done, strict=True)
    return tuple(torch.cat(level, 1) for level in zip(*pieces, strict=True)), carried, _join(told)


def choose_rows(rows: Bool[Tensor, " B"], these: State, others: State) -> State:
    """A state with ``these`` values in some ``rows``, and ``others`` in the rest."""
    if isinstance(these, Tensor) and isinstance(others, Tensor):
        return torch.where(rows.view(-1, *(1,) * (these.dim() - 1)), these.to(others.dtype), others)
    return tuple(choose_rows(rows, one, other) for one, other in zip(these, others, strict=True))


def _join(steps: Iterable[StepTrace | None]) -> StepTrace | None:
    """The traces of all pieces along time, if there are any."""
    told = [part for part in steps if part is not None]
    if not told:
        return None
    parts = zip(*told, strict=True)  # each is told at every step or at none
    return StepTrace._make(None if part[0] is None else torch.cat(part, 1) for part in parts)
