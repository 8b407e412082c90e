"""Clocked layers with fixed periods and phases: what a learned clock becomes when it is hardened.

| symbol | variable  | shape                                                                  |
|--------|-----------|------------------------------------------------------------------------|
| h_t    | h         | [B, H], the modules' states side by side                               |
| t      | t         | [B] int64, the step counter                                            |
| P_m    | periods   | [L] int64, steps between two updates of module m                       |
| phi_m  | phases    | [L] int64, the first step at which module m updates                    |
| W_x    | input     | [H, D]                                                                 |
| W_h    | recurrent | [H, H], used only where ``connectivity`` lets a module read another    |
| b      | bias      | [H]                                                                    |
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones import clockwork_stream
from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, Step, StepTrace, tensors
from multiscale.backbones.clockwork import count_faster, module_of_unit
from multiscale.checks import InvalidInput, one_of, positive_int, sizes
from multiscale.kernels import clocked, recurrence
from multiscale.kernels import clockwork as cascades
from multiscale.nn.cells import CellState

CONNECTIVITY = ("full", "slow_to_fast", "none")


def connection_mask(connectivity: str, periods: Tensor, unit_module: Tensor) -> Tensor:
    """[H, H] bool: may the row's unit read the column's? ``full``: always; ``slow_to_fast``: its own module and those
    of longer period, of equal periods the later ones; ``none``: its own module alone."""
    if connectivity == "full":
        return torch.ones(len(unit_module), len(unit_module), dtype=torch.bool, device=periods.device)
    if connectivity == "none":
        return unit_module[:, None] == unit_module[None, :]
    order = torch.arange(len(periods), device=periods.device)
    same = periods[:, None] == periods[None, :]
    may = (periods[:, None] < periods[None, :]) | (same & (order[:, None] <= order[None, :]))
    return may[unit_module][:, unit_module]


def count_idle(connectivity: str, level_sizes: Sequence[int]) -> int:
    """How many of a recurrent matrix's weights such a mask holds at zero, whatever the periods: of two modules one
    reads the other if slow reads to fast."""
    return CONNECTIVITY.index(connectivity) * count_faster(level_sizes)  # none: as many slower ones again


class HardClockRNN(Backbone):
    """Module m, at (t - phi_m) mod P_m = 0: h_m = tanh(W_x x_t + W_h h_{t-1} + b) on its rows; held exactly in between.

    With slow-to-fast connections, phases 0 and ascending periods this is the Clockwork RNN.

    Args:
        input_size: D, units of the input.
        level_sizes: units of each module, one number for all or one for each.
        periods: P_m in steps, one a module, in any order, which is kept.
        phases: phi_m in steps, one a module; all 0 if None.
        connectivity: ``full``, ``slow_to_fast`` or ``none``, see :func:`connection_mask`.
        kernel: ``auto``, ``native`` and ``cascade`` (not with full connections), ``skipping`` or ``reference``.

    Raises:
        InvalidInput: for sizes or periods below 1, no periods, phases that do not fit the periods, an unknown
            connectivity, or a kernel that is unknown or cannot run.
    """

    periods: Tensor
    phases: Tensor
    unit_module: Tensor
    mask: Tensor

    def __init__(
        self,
        input_size: int,
        level_sizes: int | Sequence[int],
        periods: Sequence[int],
        phases: Sequence[int] | None = None,
        connectivity: str = "full",
        kernel: str = "auto",
    ) -> None:
        if isinstance(periods, (str, int)) or not len(periods):
            raise InvalidInput(f"periods must be a list of at least one whole number of steps; got {periods!r}.")
        self._clocks = checked_clocks(periods, phases)
        self.connectivity = one_of("connectivity", connectivity, CONNECTIVITY)
        level_sizes = sizes("level_sizes", level_sizes, len(periods))
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        unit_module = module_of_unit(self.level_sizes)
        self.register_buffer("periods", torch.tensor(self._clocks[0]), persistent=False)
        self.register_buffer("phases", torch.tensor(self._clocks[1]), persistent=False)
        self.register_buffer("unit_module", unit_module, persistent=False)
        mask = connection_mask(connectivity, self.periods, unit_module).float()
        self.register_buffer("mask", mask, persistent=False)
        hidden = sum(self.level_sizes)
        self.input = nn.Parameter(torch.empty(hidden, input_size))
        self.recurrent = nn.Parameter(torch.empty(hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))
        nn.init.normal_(self.input, std=input_size**-0.5)
        nn.init.orthogonal_(self.recurrent)

    @property
    def level_names(self) -> tuple[str, ...]:
        return tuple(f"clock {m}, period {p}" for m, p in enumerate(self._clocks[0], 1))

    def idle_weights(self) -> int:
        return count_idle(self.connectivity, self.level_sizes)

    def products(self) -> tuple[Product, ...]:
        """Each module's rows at its ticks, on the input and on what it may read."""
        reads = self.mask.sum(1).long() + self.input_size
        return tuple(Product(m, int(rows.sum())) for m, rows in enumerate(reads.split(self.level_sizes)))

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, t): zeros, and the counter at 0."""
        h = torch.zeros(batch_size, sum(self.level_sizes), device=device, dtype=dtype)
        return h, torch.zeros(batch_size, dtype=torch.int64, device=device)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """The equation of the class; of the Clockwork RNN's paper Eq. 1, with a phase and any connections."""
        h_prev, t = tensors(state)
        ticks = (t[:, None] - self.phases) % self.periods == 0
        new = torch.tanh(F.linear(x_t, self.input, self.bias) + F.linear(h_prev, self.recurrent * self.mask))
        h = torch.where(ticks.index_select(1, self.unit_module), new, h_prev)
        return h.split(self.level_sizes, 1), (h, t + 1), StepTrace(ticks.to(x_t.dtype))

    def stepper(self) -> Step:
        """Multiplies the rows of modules that tick, with what they may read."""
        w = cascades.ModuleWeights(self.input, self.recurrent * self.mask, self.bias, hidden_bias=None, norm=None)
        return clockwork_stream.stepper(clockwork_stream.split_modules(w, self.level_sizes, *self._clocks), "tanh")

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        cyclic = self.connectivity == "full"
        why = "with full connections no module is without others to wait for" if cyclic else None
        missing = recurrence.unavailable(x, self)
        return {"native": why or missing, "cascade": why, "skipping": None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        h, t = tensors(state)
        levels: Levels
        if kernel == "skipping":
            weights = (self.input, self.recurrent * self.mask, self.bias)
            states, h = clocked.skipping(x, h, t, *weights, self.level_sizes, *self._clocks)
            levels = states.split(self.level_sizes, 2)
        else:
            levels, (h,) = self._cascade(x, h, t, kernel == "native")
        steps = None
        if trace:
            counters = t[:, None] + torch.arange(x.size(1), device=t.device)
            steps = StepTrace(((counters[..., None] - self.phases) % self.periods == 0).to(x.dtype))
        return levels, (h, t + x.size(1)), steps

    def _cascade(self, x: Tensor, h: Tensor, t: Tensor, native: bool) -> tuple[tuple[Tensor, ...], CellState]:
        """The cascade wants the modules fastest first; here they may be in any order."""
        order = sorted(range(len(self.level_sizes)), key=lambda m: self._clocks[0][m])
        blocks = torch.arange(len(self.unit_module), device=x.device).split(self.level_sizes)
        units = torch.cat([blocks[m] for m in order])
        weights = cascades.ModuleWeights(
            self.input[units], self.recurrent[units][:, units], self.bias[units], hidden_bias=None, norm=None
        )
        ordered, periods, phases = ([part[m] for m in order] for part in (self.level_sizes, *self._clocks))
        connected = self.connectivity != "none"
        levels, (h,) = cascades.cascade(
            x, (h[:, units],), t, weights, "tanh", ordered, periods, phases, connected, native=native
        )
        back = [order.index(m) for m in range(len(order))]
        return tuple(levels[m] for m in back), (h[:, torch.argsort(units)],)


def checked_clocks(periods: Sequence[int], phases: Sequence[int] | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Periods and phases of the modules; raises :class:`InvalidInput` unless there is a phase below each period."""
    periods = tuple(positive_int(f"periods[{m}]", p) for m, p in enumerate(periods))
    phases = (0,) * len(periods) if phases is None else tuple(phases)
    if len(phases) != len(periods):
        raise InvalidInput(f"phases must be one a module, {len(periods)} of them; got {list(phases)}.")
    for m, (phase, period) in enumerate(zip(phases, periods, strict=True)):
        if isinstance(phase, bool) or not isinstance(phase, int) or not 0 <= phase < period:
            raise InvalidInput(f"phases[{m}] must be a whole number from 0 to {period - 1} steps; got {phase!r}.")
    return periods, phases
