"""The contract of a backbone, and the one time loop.

Letters: B batch, T time steps, D input size, L levels, H_l units of level l. Public tensors are [B, T, .].
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cache, partial
from itertools import chain, takewhile
from typing import Any, Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiscale.backbones.given import Shapes, check_input, check_reset, check_state, recorded, shapes
from multiscale.backbones.pieces import read
from multiscale.backbones.stream import Stream
from multiscale.backbones.values import (
    BackboneOutput,
    Folded,
    Levels,
    Product,
    State,
    Step,
    StepTrace,
    Trace,
    detach,
    groups,
    tensors,
)
from multiscale.checks import InvalidInput, one_of, positive_int

log = logging.getLogger(__name__)

__all__ = [  # what the file of a backbone needs, from one place
    "Backbone",
    "BackboneOutput",
    "Folded",
    "Levels",
    "Product",
    "State",
    "Step",
    "StepTrace",
    "Trace",
    "any_weight",
    "detach",
    "fold",
    "fold_steps",
    "full_trace",
    "groups",
    "tensors",
]


class Backbone(nn.Module, ABC):
    """A recurrent network on several time scales: inputs [B, T, D] and a state to L hidden sequences and a state.

    A subclass defines ``initial_state`` and ``step``; it may have faster kernels over the same parameters, which must
    agree with the fold of ``step``. It sees neither tokens nor losses. What it need not define are hooks; nothing else
    is overridden.

    Beside torch.nn.LSTM: the batch is always first; sequences of several lengths are padded, not packed, with the
    padding masked in the loss; there is no ``dropout`` between levels, ``bidirectional`` or ``proj_size``: dropout and
    linear layers go around a backbone, and a second one reads the sequence flipped.

    Args:
        input_size: D.
        level_sizes: H_l, fastest level first.
        kernel: which of :meth:`kernels` to run, see :meth:`use`, which asks for them at once: set what they depend on
            before calling this constructor.
    """

    input_size: int
    level_sizes: tuple[int, ...]

    def __init__(self, input_size: int, level_sizes: tuple[int, ...], kernel: str = "auto") -> None:
        super().__init__()
        self.input_size = input_size
        self.level_sizes = level_sizes
        self._shapes: Shapes | None = None  # of a state, once one was given
        self.use(kernel)

    # What a backbone is.

    @abstractmethod
    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """The state before the first step; every leaf is [B, ...]."""

    @abstractmethod
    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """One time step, as the source writes it: x_t [B, D], state -> L of [B, H_l], next state, trace."""

    # Hooks: what it may have besides.

    @property
    def level_names(self) -> tuple[str, ...]:
        """L names for tables and figures, fastest level first."""
        return tuple(f"layer {i}" for i in range(1, len(self.level_sizes) + 1))

    @property
    def detecting(self) -> int:
        """How many of the levels, the fastest ones, have boundaries, where a trace tells any: all but the slowest."""
        return len(self.level_sizes) - 1

    def penalty(self) -> Tensor:
        """What the backbone adds to the loss: a scalar >= 0, zero unless it has a cost of its own."""
        return any_weight(self).new_zeros(())

    @property
    def observes(self) -> bool:
        """Whether :meth:`observe` is to be called after a training sequence."""
        return False

    def observe(self, x: Float[Tensor, "B T D"], state: State, levels: Levels, steps: StepTrace) -> Tensor:
        """What a training sequence adds to the loss, a scalar >= 0, from its input, the state before it, and what came
        of it, with gradient; where ``steps.reset``, the state before a step was the initial one. Here, and nowhere
        else, a module's running figures may change."""
        raise NotImplementedError(f"{type(self).__name__} observes nothing.")

    @property
    def aligns(self) -> bool:
        """Whether :meth:`align` is to be called in training, by whoever knows how hard each step is to predict."""
        return False

    def align(self, steps: StepTrace, expected: Float[Tensor, "B T"], mask: Tensor) -> Tensor:
        """What a training sequence adds to the loss, a scalar >= 0, from its steps [B, T, L] and how many bits what
        follows each of them is expected to cost, at ``mask`` [B, T]."""
        raise NotImplementedError(f"{type(self).__name__} aligns nothing.")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All parameters, in groups as torch.optim takes them; a group may set options (lr, weight_decay) of its own,
        and where it does not, the optimizer's hold."""
        return [{"params": list(self.parameters())}]

    def held(self) -> Iterable[nn.Parameter]:
        """Parameters that the optimizer's next step is not to move, whatever their gradients."""
        return ()

    def exposed(self, levels: Levels) -> Levels:
        """The levels of a training sequence for whoever reads them: one that the task is not to train is cut here."""
        return levels

    def measures(self) -> dict[str, Tensor]:
        """What the backbone can tell of its levels beyond a trace, by name: [L] numbers each, to be logged over epochs;
        ``period``, if given, in steps."""
        return {}

    def matrices(self) -> dict[str, Tensor]:
        """What the backbone can tell of pairs of its levels, by name: [L, L] in [0, 1] each, the row's level reading
        the column's, to be drawn and written beside a trace."""
        return {}

    def products(self) -> tuple[Product, ...]:
        """All products of one step with weights in use, and at which steps each is due, so that what a network has to
        compute can be told from what it was seen to do. Empty if it does not say; then what ``step`` does is counted.
        """
        return ()

    def idle_weights(self) -> int:
        """How many of its weights a mask holds at zero: stored, and not in use."""
        return 0

    def anneal(self, epoch: float) -> None:
        """Set slopes and temperatures for this point of training, in (fractional) epochs. Nothing else moves them: a
        loop of one's own calls this, before each step or each epoch."""

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        """The kernels, best first and ``reference`` last, each with the reason why it cannot run on ``x`` [B, T, D], or
        None if it can. Without ``x``: why on this machine it can never run, whatever the input."""
        return {"reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        """A whole sequence x [B, T, D] by a kernel other than the reference, with what :func:`fold` makes of it."""
        raise NotImplementedError(f"{type(self).__name__} has no kernel {kernel!r}.")

    def stepper(self) -> Step:
        """What a stream of one sequence runs at each step, B = 1 and without gradient: ``step``, or a function that
        agrees with it and leaves out what rests; it need tell no scores. Called once, of a copy of the network in
        evaluation, that is the stream's alone: it may rearrange the weights, or read them here and not again."""
        return self.step

    def extra_repr(self) -> str:
        """What ``print`` tells of it beside its parts: its sizes, and the kernel that was asked for."""
        return f"input_size={self.input_size}, level_sizes={self.level_sizes}, kernel={self._wanted!r}"

    # How it runs.

    @final
    def use(self, kernel: str) -> Self:
        """Choose the kernel of all later calls: one of :meth:`kernels` by name, or ``auto``, which takes for each input
        the best that can run on it. Returns the backbone itself.

        Raises:
            InvalidInput: for a name that it does not have, or one that can never run on this machine.
        """
        available = self.kernels(None)
        one_of("kernel", kernel, ("auto", *available))
        self._chosen(kernel, available)
        self._wanted, self._ran = kernel, ""
        return self

    @property
    @final
    def kernel(self) -> str:
        """The name of the kernel that ran last; before the first call, of the one that would run."""
        return self._ran or self._chosen(self._wanted, self.kernels(None))

    @final
    def _chosen(self, wanted: str, available: Mapping[str, str | None]) -> str:
        """The name of the kernel that is wanted, if it can run."""
        if wanted == "auto":
            return next(name for name, reason in available.items() if reason is None)
        if (reason := available[wanted]) is not None:
            raise InvalidInput(
                f"kernel {wanted!r} of {type(self).__name__} cannot run here: {reason}. Use kernel=auto."
            )
        return wanted

    @final  # type: ignore[misc]  # torch declares it an attribute, which may be written
    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        trace: bool = False,
        carry: int | None = None,
        reset: Tensor | None = None,
    ) -> BackboneOutput:
        """Hidden sequences of every level for x [B, T, D], from ``state`` or, without one, the initial state.

        The state that is returned is the one after the first ``carry`` steps, in [0, T], or after all. Where ``reset``
        [B, T] is true, the row's state is put back to the initial one before the step is read, as if a sequence began
        there; what lies between such steps, of any row, is run one piece after the other.

        Raises:
            InvalidInput: if x is not [B, T, D] with B, T >= 1 and D = ``input_size``, or not of the weights' type and
                device (under autocast, of any floating type); if the state has not the shapes of the initial one; if
                ``reset`` is no mask of x's steps; or if the kernel that was asked for by name cannot run on x. Where
                torch records operations (jit.trace, export, func) none can but the reference, and nothing is reset;
                within torch.compile the others run as they are, uncompiled.
        """
        check_input(x, self.input_size, any_weight(self))
        if reset is not None:
            check_reset(reset, x)
        initial = self.initial_state(x.size(0), x.device, x.dtype) if state is None or reset is not None else ()
        if state is None:
            state = initial
        else:
            if self._shapes is None:
                self._shapes = shapes(self.initial_state(1, x.device, x.dtype))
            check_state(state, self._shapes, x.size(0))
        available = self.kernels(x)
        if (why := recorded()) is not None:
            available = {name: None if name == "reference" else why for name in available}
        kernel = self._chosen(self._wanted, available)
        if kernel != self._ran:
            self._ran = kernel  # to be told; no result depends on it
            if self._wanted == "auto" and why is None and not torch.compiler.is_compiling():
                _log_choice(type(self).__name__, kernel, tuple(available.items()))
        observing, aligning = self.training and self.observes, self.training and self.aligns
        wanted = trace or observing or aligning
        run = partial(fold, self) if kernel == "reference" else partial(self.fast, kernel)
        if kernel != "reference" and torch.compiler.is_compiling():
            run = torch.compiler.disable(run)  # it is compiled already, and keeps buffers that a graph cannot
        carry = x.size(1) if carry is None else carry
        levels, after, steps = read(run, x, state, wanted, carry, reset, initial)
        penalty = self.penalty()
        if observing and steps is not None:
            penalty = penalty + self.observe(x, state, levels, steps._replace(reset=reset))
        full = full_trace(steps, self.level_names) if trace and steps is not None else None
        levels = self.exposed(levels) if self.training else levels
        return BackboneOutput(levels, after, penalty, full, steps if aligning else None)

    @final
    @torch.no_grad()
    def stream(self, batch_size: int = 1) -> Stream[State, StepTrace]:
        """A reader of one step at a time, from the initial state, of the network as it is now and in evaluation; see
        :class:`multiscale.backbones.stream.Stream`. Of one sequence, and of no more, it may leave out what rests.

        Raises:
            InvalidInput: for a batch size below 1.
        """
        network = deepcopy(self).eval()
        weight = any_weight(network)
        start = network.initial_state(positive_int("batch_size", batch_size), weight.device, weight.dtype)
        step = network.stepper() if batch_size == 1 else network.step
        return Stream(step, start, (batch_size, self.input_size))


def any_weight(backbone: nn.Module) -> Tensor:
    """One of its parameters, or, if it trains none, of its buffers, to make other tensors like it."""
    return next(chain(backbone.parameters(), backbone.buffers()))


@cache
def _log_choice(backbone: str, kernel: str, available: tuple[tuple[str, str | None], ...]) -> None:
    """Log, once, what runs; as a warning where better ones cannot."""
    better = [f"{name}: {why}" for name, why in takewhile(lambda item: item[0] != kernel, available)]
    why = f" ({'; '.join(better)})" if better else ""
    log.log(logging.WARNING if better else logging.INFO, "%s: kernel %s%s", backbone, kernel, why)


def full_trace(steps: StepTrace, names: tuple[str, ...]) -> Trace:
    """The trace of a sequence, stacked along time, with the levels' names and without gradient."""
    parts = (steps.boundary, steps.probability, steps.open)
    boundary, probability, opened = (None if part is None else part.detach() for part in parts)
    return Trace(steps.update.detach(), boundary, names, probability, opened)


def fold(backbone: Backbone, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
    """Apply ``backbone.step`` along time; the reference against which every kernel is held."""
    return fold_steps(backbone.step, x.unbind(1), state, trace)


def fold_steps(step: Step, inputs: Iterable[Tensor], state: State, trace: bool) -> Folded:
    """Apply ``step`` to what each step reads, one after the other. A kernel that has prepared what does not hang on the
    state for all steps at once folds the rest of its step with this."""
    levels, traces = [], []
    for input_t in inputs:
        levels_t, state, trace_t = step(input_t, state)
        levels.append(levels_t)
        if trace:
            traces.append(trace_t)
    stacked = tuple(torch.stack(level, 1) for level in zip(*levels, strict=True))
    if not trace:
        return stacked, state, None
    updates, *decisions = zip(*traces, strict=True)  # what was decided is told at every step or at none
    told = [None if part[0] is None else torch.stack(part, 1) for part in decisions]
    return stacked, state, StepTrace(torch.stack(updates, 1), *told)
