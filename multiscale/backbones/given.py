"""What a backbone is given to read, and where: held to what it can use, in a line each."""

from typing import TypeAlias

import torch
from torch import Tensor

from multiscale.backbones.values import State
from multiscale.checks import InvalidInput

Shapes: TypeAlias = tuple["int | Shapes", ...]
"""Of a leaf [B, ...] its sizes but B; of a tuple its parts' shapes, after a 0 that no size is."""


def check_input(x: Tensor, input_size: int, weight: Tensor) -> None:
    """Raise :class:`InvalidInput` unless x is [B >= 1, T >= 1, D], with values, of the weights' type and device; under
    autocast, of any floating type."""
    if x.dim() != 3 or not x.size(0) or not x.size(1) or x.size(2) != input_size:
        raise InvalidInput(f"x must be [B >= 1, T >= 1, {input_size}]; got {list(x.shape)}.")
    if x.device.type == "meta" or x.device != weight.device:
        wanted = "the weights' device, and not on meta, which holds no values"
        raise InvalidInput(f"x must be on {wanted}; got {x.device} and weights on {weight.device}.")
    if x.dtype != weight.dtype and not (x.is_floating_point() and torch.is_autocast_enabled(x.device.type)):
        raise InvalidInput(
            f"x must be of the weights' type, {weight.dtype}; got {x.dtype}. Convert one of them: .to()."
        )


def shapes(state: State) -> Shapes:
    """The shapes of a state."""
    return tuple(state.shape[1:]) if isinstance(state, Tensor) else (0, *(shapes(part) for part in state))


def check_state(state: State, wanted: Shapes, batch: int) -> None:
    """Raise :class:`InvalidInput` unless a state has the tuples, and its leaves the shapes, of the ``wanted`` ones."""
    if not _fits(state, wanted, batch):
        raise InvalidInput(f"state must be {_told(wanted, batch)}; got {_described(state)}.")


def check_reset(reset: Tensor, x: Tensor) -> None:
    """Raise :class:`InvalidInput` unless a mask of resets is bool, of the steps of x [B, T, D] and on its device; and
    where torch records operations, among which there is none for where a sequence is to be cut."""
    if not isinstance(reset, Tensor) or reset.dtype != torch.bool or reset.shape != x.shape[:2]:
        got = f"{reset.dtype} {list(reset.shape)}" if isinstance(reset, Tensor) else repr(reset)
        raise InvalidInput(f"reset must be torch.bool {list(x.shape[:2])}, one for each step of x; got {got}.")
    if reset.device != x.device:
        raise InvalidInput(f"reset must be on the device of x, {x.device}; got {reset.device}.")
    if (why := recorded()) is not None:
        raise InvalidInput(f"reset must be None here, for {why}; got a mask.")


def recorded() -> str | None:
    """Why here only what torch records op by op can run; None where all can."""
    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        return "what is traced or exported has to be made of torch's own operations"
    if torch._C._are_functorch_transforms_active():  # as torch asks before each function with a backward of its own
        return "torch.func cannot transform a backward pass by hand"
    return None


def _fits(state: State, wanted: Shapes, batch: int) -> bool:
    if isinstance(state, Tensor):
        return state.shape == (batch, *wanted)
    parts = wanted[1:]
    if wanted[:1] != (0,) or not isinstance(state, tuple) or len(state) != len(parts):
        return False
    return all(isinstance(w, tuple) and _fits(part, w, batch) for part, w in zip(state, parts, strict=True))


def _told(wanted: Shapes, batch: int) -> str:
    if wanted[:1] == (0,):
        return f"({', '.join(_told(part, batch) for part in wanted[1:] if isinstance(part, tuple))})"
    return str([batch, *wanted])


def _described(state: object) -> str:
    if isinstance(state, Tensor):
        return str(list(state.shape))
    if isinstance(state, (tuple, list)):
        return f"{type(state).__name__ * isinstance(state, list)}({', '.join(map(_described, state))})"
    return type(state).__name__
