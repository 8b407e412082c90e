"""The contract of a backbone, and the one time loop.

Letters: B batch, T time steps, D input size, L levels, H_l units of level l. Public tensors are [B, T, .].
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from multiscale.checks import InvalidInput, one_of

log = logging.getLogger(__name__)

State: TypeAlias = Any
"""Tensor | tuple[State, ...], all that crosses time; every leaf is [B, ...]."""


class StepTrace(NamedTuple):
    """What happened at one step."""

    update: Tensor  # [B, L] in [0, 1]
    boundary: Tensor | None = None  # [B, L] in {0, 1}
    probability: Tensor | None = None  # [B, L] in [0, 1], of a boundary before it is decided; kernels do not tell it


class Trace(NamedTuple):
    """What happened over a sequence, never part of the gradient."""

    update: Tensor  # [B, T, L] in [0, 1]: how much of a level was rewritten
    boundary: Tensor | None  # [B, T, L] in {0, 1}: where a level ended a segment
    names: tuple[str, ...]  # L of them, fastest first
    probability: Tensor | None = None  # [B, T, L] in [0, 1]: what a boundary was decided from; only of the reference


class BackboneOutput(NamedTuple):
    """What a backbone returns for a sequence."""

    levels: tuple[Tensor, ...]  # L of [B, T, H_l], fastest first
    state: State
    penalty: Tensor  # [], >= 0
    trace: Trace | None


class Product(NamedTuple):
    """A product of weights with what a level reads, and when it is due."""

    level: int | None  # whose, counted from 0; None: of no level alone
    macs: int  # multiply-accumulates of one step of one sequence
    due: str = "active"  # at the steps of which event: active, boundary or flush, as measured of a trace; or always
    of: int | None = None  # the level whose event it is; None: its own


class Backbone(nn.Module, ABC):
    """A recurrent network on several time scales: inputs [B, T, D] and a state to L hidden sequences
    and the next state.

    A subclass defines ``initial_state`` and ``step``; it may give ``sequence`` a faster implementation over the
    same parameters, which must agree with the fold of ``step``. It sees neither tokens nor losses.
    """

    input_size: int
    level_sizes: tuple[int, ...]

    def __init__(self, input_size: int, level_sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.input_size = input_size
        self.level_sizes = level_sizes
        self.kernel = "reference"

    @property
    def level_names(self) -> tuple[str, ...]:
        """L names for tables and figures, fastest level first."""
        return tuple(f"layer {i}" for i in range(1, len(self.level_sizes) + 1))

    @abstractmethod
    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """The state before the first step; every leaf is [B, ...]."""

    @abstractmethod
    def step(self, x_t: Tensor, state: State) -> tuple[tuple[Tensor, ...], State, StepTrace]:
        """One time step, as the source writes it: x_t [B, D], state -> L of [B, H_l], next state, trace."""

    def sequence(self, x: Tensor, state: State, trace: bool) -> tuple[tuple[Tensor, ...], State, StepTrace | None]:
        """A whole sequence x [B, T, D]; here the fold of ``step``. The trace, if asked for, is [B, T, L]."""
        return fold(self, x, state, trace)

    def penalty(self) -> Tensor:
        """What the backbone adds to the loss: a scalar >= 0, zero unless it has a cost of its own."""
        return next(self.parameters()).new_zeros(())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All parameters, in groups as torch.optim takes them; a group may set options (lr, weight_decay) of its own,
        and where it does not, the optimizer's hold."""
        return [{"params": list(self.parameters())}]

    def measures(self) -> dict[str, Tensor]:
        """What the backbone can tell of its levels beyond a trace, by name: [L] numbers each, to be logged over epochs.

        ``period`` [L], if given, is in steps.
        """
        return {}

    def products(self) -> tuple[Product, ...]:
        """All products of one step with weights in use, and at which steps each is due, so that what a network has to
        compute can be told from what it was seen to do.

        By default those that ``step`` is seen to do, due wherever a single level is active, and else always: which of
        them several levels may skip, a backbone of several levels must say itself.
        """
        like = next(self.parameters())
        state = self.initial_state(1, like.device, like.dtype)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.step(like.new_zeros(1, self.input_size), state)
        macs = counter.get_total_flops() // 2
        return (Product(0, macs) if len(self.level_sizes) == 1 else Product(None, macs, "always"),)

    def anneal(self, epoch: float) -> None:
        """Set slopes and temperatures for this point of training, in (fractional) epochs."""

    def forward(self, x: Tensor, state: State | None = None, *, trace: bool = False) -> BackboneOutput:
        """Hidden sequences of every level for x [B, T, D], from ``state`` or, without one, the initial state.

        Raises:
            InvalidInput: if x is not [B, T, D] with T >= 1 and D = ``input_size``.
        """
        if x.dim() != 3 or x.size(1) < 1 or x.size(2) != self.input_size:
            raise InvalidInput(f"x must be [B, T >= 1, {self.input_size}]; got {list(x.shape)}.")
        if state is None:
            state = self.initial_state(x.size(0), x.device, x.dtype)
        levels, state, steps = self.sequence(x, state, trace)
        full = None
        if steps is not None:
            full = full_trace(steps, self.level_names)
        return BackboneOutput(levels, state, self.penalty(), full)


def full_trace(steps: StepTrace, names: tuple[str, ...]) -> Trace:
    """The trace of a sequence, stacked along time, with the levels' names and without gradient."""
    boundary = None if steps.boundary is None else steps.boundary.detach()
    probability = None if steps.probability is None else steps.probability.detach()
    return Trace(steps.update.detach(), boundary, names, probability)


def fold(
    backbone: Backbone, x: Tensor, state: State, trace: bool
) -> tuple[tuple[Tensor, ...], State, StepTrace | None]:
    """Apply ``backbone.step`` along time; the reference against which every kernel is held."""
    levels, traces = [], []
    for x_t in x.unbind(1):
        levels_t, state, trace_t = backbone.step(x_t, state)
        levels.append(levels_t)
        if trace:
            traces.append(trace_t)
    stacked = tuple(torch.stack(level, 1) for level in zip(*levels, strict=True))
    if not trace:
        return stacked, state, None
    updates, boundaries, probabilities = zip(*traces, strict=True)
    return stacked, state, StepTrace(torch.stack(updates, 1), _along_time(boundaries), _along_time(probabilities))


def _along_time(steps: Sequence[Tensor | None]) -> Tensor | None:
    told = [step for step in steps if step is not None]
    return torch.stack(told, 1) if told else None


def choose_kernel(backbone: str, requested: str, available: Mapping[str, str | None]) -> str:
    """The kernel to run, of those a backbone has: best first, each with the reason why it cannot run here, or None.

    ``auto`` takes the first that can and logs it; a named kernel that cannot run raises :class:`InvalidInput`.
    """
    one_of("kernel", requested, ("auto", *available))
    if requested == "auto":
        chosen = next(name for name, reason in available.items() if reason is None)
        passed_over = [f"{name}: {reason}" for name, reason in available.items() if reason is not None]
        log.info("%s: kernel %s%s", backbone, chosen, f" ({'; '.join(passed_over)})" if passed_over else "")
        return chosen
    if (reason := available[requested]) is not None:
        raise InvalidInput(f"kernel {requested!r} of {backbone} cannot run here: {reason}. Use kernel=auto.")
    return requested


def detach(state: State) -> State:
    """The same state, cut from the gradient."""
    if isinstance(state, Tensor):
        return state.detach()
    return tuple(detach(part) for part in state)
