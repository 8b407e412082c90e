"""Reading one step at a time, as it comes."""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from multiscale.checks import InvalidInput

StateT = TypeVar("StateT")
TraceT = TypeVar("TraceT")


class Stream(Generic[StateT, TraceT]):
    """A network that is given one step after the other: ``levels = stream(x_t)``, x_t [B, D] to L of [B, H_l].

    It carries its own state, evaluates, and makes no gradient. It is the network as it was when the stream was made:
    what later becomes of that one's weights does not reach it. What a call returned is not written to by later ones.

    ``state`` is the state after the last step, which may be set, as to that of a sequence read at once; ``trace`` is
    what the last step did, [B, L], None before the first.

    Args:
        step: what one step reads and the state before it to levels, next state and trace.
        start: the state before the first step.
        shape: (B, D).

    Raises:
        InvalidInput: for an x_t that is not [B, D].
    """

    def __init__(
        self,
        step: Callable[[Tensor, StateT], tuple[tuple[Tensor, ...], StateT, TraceT]],
        start: StateT,
        shape: tuple[int, int],
    ) -> None:
        self._step, self._start, self._shape = step, start, shape
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.state: StateT = self._start
        self.trace: TraceT | None = None

    @torch.no_grad()  # not inference_mode, whose tensors none that trains may read
    def __call__(self, x_t: Tensor) -> tuple[Float[Tensor, "B _"], ...]:
        if x_t.shape != self._shape:
            raise InvalidInput(f"x_t must be {list(self._shape)}; got {list(x_t.shape)}.")
        levels, self.state, self.trace = self._step(x_t, self.state)
        return levels
