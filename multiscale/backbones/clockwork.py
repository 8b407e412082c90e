"""Clockwork RNN (Koutnik, Greff, Gomez, Schmidhuber 2014, arXiv 1402.3511).

| symbol | variable  | shape                                                                        |
|--------|-----------|------------------------------------------------------------------------------|
| h_t    | h         | [B, H], the modules' states side by side, fastest first                      |
| t      | t         | [B] int64, the step counter                                                  |
| T_i    | periods   | [L] int64, steps between two updates of module i, ascending                  |
| W_H    | recurrent | [H, H], used only where a unit reads its own module or a slower one          |
| W_I    | input     | [H, D]                                                                       |
| b      | bias      | [H]                                                                          |
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, State, StepTrace, choose_kernel
from multiscale.checks import InvalidInput, positive_int


def split_units(hidden_size: int, modules: int) -> tuple[int, ...]:
    """Units of each module, fastest first; what does not divide goes one unit each to the faster modules."""
    if positive_int("hidden_size", hidden_size) < modules:
        raise InvalidInput(f"hidden_size must be at least the number of modules, {modules}; got {hidden_size}.")
    share, rest = divmod(hidden_size, modules)
    return tuple(share + (i < rest) for i in range(modules))


def module_of_unit(level_sizes: Sequence[int]) -> Tensor:
    """[H] int64: the module, counted from 0, that each unit belongs to."""
    return torch.repeat_interleave(torch.arange(len(level_sizes)), torch.tensor(level_sizes))


def slow_to_fast_mask(level_sizes: Sequence[int]) -> Tensor:
    """[H, H], 1 where the row's unit may read the column's: its own module or a slower (later) one."""
    module = module_of_unit(level_sizes)
    return (module[:, None] <= module[None, :]).float()


class ClockworkRNN(Backbone):
    """Modules of tanh units, each updated only at the ticks of its own fixed clock and held exactly between them.

    At t mod T_i = 0: h_i = tanh(W_I x_t + W_H h_{t-1} + b) on module i's rows, where W_H is block upper
    triangular: a module reads itself and slower modules. Elsewhere h_i keeps its value (Eq. 1 with the paper's
    section 3 masking).

    Args:
        input_size: D, units of the input.
        hidden_size: H, units of all modules together; extra units go to the faster modules.
        periods: T_i in steps, one a module, in any order; they are sorted, fastest first.
        origin: the step counter's value at the first step.
        kernel: ``auto`` or ``reference``.

    Raises:
        InvalidInput: for sizes or periods below 1, no periods, fewer units than modules, or an unknown kernel.
    """

    periods: Tensor
    mask: Tensor
    unit_module: Tensor

    def __init__(
        self, input_size: int, hidden_size: int, periods: Sequence[int], origin: int = 0, kernel: str = "auto"
    ) -> None:
        if isinstance(periods, (str, int)) or not len(periods):
            raise InvalidInput(f"periods must be a list of at least one whole number of steps; got {periods!r}.")
        periods = sorted(positive_int(f"periods[{i}]", p) for i, p in enumerate(periods))
        if isinstance(origin, bool) or not isinstance(origin, int) or origin < 0:
            raise InvalidInput(f"origin must be a whole number of steps, at least 0; got {origin!r}.")
        super().__init__(positive_int("input_size", input_size), split_units(hidden_size, len(periods)))
        self.kernel = choose_kernel("ClockworkRNN", kernel, {"reference": None})
        self.origin = origin
        self.register_buffer("periods", torch.tensor(periods), persistent=False)
        self.register_buffer("mask", slow_to_fast_mask(self.level_sizes), persistent=False)
        self.register_buffer("unit_module", module_of_unit(self.level_sizes), persistent=False)
        self.input = nn.Parameter(torch.empty(hidden_size, input_size))
        self.recurrent = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Normal weights of variance 1 / (number of units read), so that each unit's input starts with unit scale."""
        nn.init.normal_(self.input, std=self.input_size**-0.5)
        reads = self.mask.sum(1, keepdim=True)
        self.recurrent.normal_().mul_(self.mask * reads.rsqrt())
        self.bias.zero_()

    @property
    def level_names(self) -> tuple[str, ...]:
        return tuple(f"period {p}" for p in self.periods.tolist())

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, t): zeros, and the counter at ``origin``."""
        h = torch.zeros(batch_size, sum(self.level_sizes), device=device, dtype=dtype)
        return h, torch.full((batch_size,), self.origin, device=device)

    def step(self, x_t: Tensor, state: State) -> tuple[tuple[Tensor, ...], State, StepTrace]:
        h_prev, t = state
        ticks = (t[:, None] % self.periods == 0).to(x_t.dtype)
        active = ticks.index_select(1, self.unit_module)
        new = torch.tanh(F.linear(x_t, self.input, self.bias) + F.linear(h_prev, self.recurrent * self.mask))
        h = active * new + (1 - active) * h_prev
        return h.split(self.level_sizes, 1), (h, t + 1), StepTrace(ticks)
