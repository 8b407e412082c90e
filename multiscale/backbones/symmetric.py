"""Encoder and decoder of modules on learned clocks, the decoder's periods the encoder's in reverse.

The idea (2015, the README of pranv/clockwork_rnn) is a sentence and a sketch: with symmetric clock rates, fast to slow
and back to fast, a Clockwork RNN whose modules read those before them resembles the sequence-to-sequence networks of
Sutskever et al. 2014. What follows is this file's reading of it.

| symbol | variable    | shape                                                                             |
|--------|-------------|-----------------------------------------------------------------------------------|
| h_t    | h           | [B, 2 H], the encoder's M modules fast first, then the decoder's M slow first      |
| t      | t           | [B] int64, the step counter                                                       |
| a_i(t) | activation  | [B, L], activation of module i of L = 2 M, in [0, 1]                              |
| A_t    | active      | [B, 2 H], a_i(t) repeated over the units of module i                              |
| W_x    | input       | [H, D], the encoder's: the decoder reads no input                                 |
| W_h    | recurrent   | [2 H, 2 H], used only where ``mask`` lets a module read another                    |
| b      | bias        | [2 H]                                                                             |
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, StepTrace, tensors
from multiscale.backbones.clockwork import module_of_unit, split_units
from multiscale.backbones.learned_clock import clock_groups, step_counters
from multiscale.checks import flag, in_range, positive_int
from multiscale.kernels import recurrence
from multiscale.kernels.clocked import hoisted
from multiscale.nn.clocks.base import Clock, check_clock


class SymmetricClockRNN(Backbone):
    """h_t = A_t tanh([W_x x_t; 0] + W_h h_{t-1} + b) + (1 - A_t) h_{t-1}, with a_{2 M + 1 - i} = a_i.

    Module i of the encoder, i <= M, reads the input, itself and the encoder's modules before it; of the decoder,
    i > M, itself, the decoder's modules before it and its mirror image 2 M + 1 - i in the encoder, which has as many
    units. Both orders are those of the clocks' start; learned periods may leave them, and who reads whom stays.

    The levels are the modules in this order: the last one, which ``head=top`` reads alone, is the decoder's fastest.

    Args:
        input_size: D, units of the input.
        hidden_size: H, units of the encoder's modules together, and of the decoder's; extra units go to the fast ones.
        clock: a_i(t) of the M modules of the encoder: any :class:`multiscale.nn.clocks.base.Clock`.
        shared: one clock is the encoder's and, mirrored, the decoder's. Otherwise the decoder has its own, which
            begins as that mirror image and is learned for itself.
        mirrored: otherwise, to compare with, the decoder's modules are in the encoder's order, fast first: a_{M + i} =
            a_i, and module M + i reads the encoder's module i.
        clock_lr: learning rate of the clocks' weights; the optimizer's own if None. They never get weight decay.
        kernel: ``auto``, ``native`` (the loop over time in C++, on a CPU with a compiler), ``hoisted`` (all that does
            not depend on the state is computed before the loop) or ``reference``.

    Raises:
        InvalidInput: for numbers out of range, fewer units than modules, or what is no clock.
    """

    unit_module: Tensor
    mask: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        clock: Clock,
        shared: bool = True,
        mirrored: bool = True,
        clock_lr: float | None = None,
        kernel: str = "auto",
    ) -> None:
        self.mirrored = flag("mirrored", mirrored)
        encoder = split_units(hidden_size, check_clock(clock).num_modules)
        super().__init__(
            positive_int("input_size", input_size), encoder + (encoder[::-1] if mirrored else encoder), kernel
        )
        self.clock_lr = None if clock_lr is None else in_range("clock_lr", clock_lr, 0)
        self.clock = clock
        self.decoder_clock = None if flag("shared", shared) else copy.deepcopy(clock)
        unit_module = module_of_unit(self.level_sizes)
        self.register_buffer("unit_module", unit_module, persistent=False)
        mask = symmetric_mask(len(encoder), mirrored)[unit_module][:, unit_module]
        self.register_buffer("mask", mask.float(), persistent=False)
        self.input = nn.Parameter(torch.empty(hidden_size, input_size))
        self.recurrent = nn.Parameter(torch.empty(2 * hidden_size, 2 * hidden_size))
        self.bias = nn.Parameter(torch.zeros(2 * hidden_size))
        nn.init.normal_(self.input, std=input_size**-0.5)
        nn.init.orthogonal_(self.recurrent)

    def _both(self, of: Callable[[Clock], Tensor], dim: int = 0) -> Tensor:
        """What ``of`` tells of the encoder's clock, and after it of the decoder's in its order, along ``dim``."""
        first = of(self.clock)
        second = first if self.decoder_clock is None else of(self.decoder_clock)
        return torch.cat([first, second.flip(dim) if self.mirrored else second], dim)

    def activation(self, t: Tensor) -> Tensor:
        """a [..., L] at step counters t [...]."""
        return self._both(lambda clock: clock(t), -1)

    @property
    def level_names(self) -> tuple[str, ...]:
        periods = self._both(lambda clock: clock.periods()).tolist()
        sides = [(side, m) for side in ("encoder", "decoder") for m in range(1, len(periods) // 2 + 1)]
        return tuple(f"{side} {m}, period {p:.3g}" for (side, m), p in zip(sides, periods, strict=True))

    def anneal(self, epoch: float) -> None:
        for clock in (self.clock, self.decoder_clock):
            if clock is not None:
                clock.anneal(epoch)

    def penalty(self) -> Tensor:
        """The mean of what the encoder's and the decoder's clock cost."""
        return self._both(lambda clock: clock.penalty()[None]).mean()

    def measures(self) -> dict[str, Tensor]:
        """Period in steps, entropy in bits, duty cycle and top-two gap of each module's clock."""
        return {
            "period": self._both(lambda clock: clock.readout().period),
            "entropy": self._both(lambda clock: clock.readout().entropy),
            "duty": self._both(lambda clock: clock.readout().duty),
            "gap": self._both(lambda clock: clock.readout().gap),
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's parameters, and the clocks' without weight decay and with ``clock_lr`` if given."""
        clocks = [clock for clock in (self.clock, self.decoder_clock) if clock is not None]
        return clock_groups(self, clocks, self.clock_lr)

    def idle_weights(self) -> int:
        return self.mask.numel() - int(self.mask.sum())

    def products(self) -> tuple[Product, ...]:
        """Each module's rows wherever it is active at all, on what it may read; and each clock's sum over its basis, at
        every step."""
        reads = self.mask.sum(1).long()
        reads[: len(self.input)] += self.input_size
        rows = [Product(i, int(own.sum())) for i, own in enumerate(reads.split(self.level_sizes))]
        clocked = len(rows) // 2 if self.decoder_clock is None else len(rows)
        return (*rows, *(Product(i, self.clock.basis_size, "always") for i in range(clocked)))

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, t): zeros, and the counter at 0."""
        h = torch.zeros(batch_size, sum(self.level_sizes), device=device, dtype=dtype)
        return h, torch.zeros(batch_size, dtype=torch.int64, device=device)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """The equation of the class."""
        h_prev, t = tensors(state)
        activation = self.activation(t)
        active = activation.index_select(1, self.unit_module)
        drive = F.pad(F.linear(x_t, self.input), (0, len(self.input))) + self.bias
        new = torch.tanh(drive + F.linear(h_prev, self.recurrent * self.mask))
        h = active * new + (1 - active) * h_prev
        return h.split(self.level_sizes, 1), (h, t + 1), StepTrace(activation)

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        missing = recurrence.unavailable(x, self)
        return {"native": missing, "hoisted": None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        h, t = tensors(state)
        activation = self.activation(step_counters(t, x.size(1)))
        active = activation.index_select(2, self.unit_module)
        weight = F.pad(self.input, (0, 0, 0, len(self.input)))  # [W_x; 0]
        states, h = hoisted(x, h, active, weight, self.recurrent * self.mask, self.bias, kernel == "native")
        steps = StepTrace(activation.expand(len(x), -1, -1)) if trace else None
        return states.split(self.level_sizes, 2), (h, t + x.size(1)), steps


def symmetric_mask(modules: int, mirrored: bool = True) -> Bool[Tensor, "L L"]:
    """May module i, the row's, read module j? In either half, if j <= i; in the decoder also if j is its mirror image
    2 M + 1 - i, or, unless ``mirrored``, i - M."""
    before = torch.ones(modules, modules, dtype=torch.bool).tril()
    image = torch.eye(modules, dtype=torch.bool)
    decoder = torch.cat([image.flip(0) if mirrored else image, before], 1)
    return torch.cat([torch.cat([before, torch.zeros_like(before)], 1), decoder])
