"""Recurrent network whose modules learn the periods of their clocks as coefficients of a basis.

The idea (2016) is to learn clock frequencies by gradient as coefficients of a fixed basis, first the discrete cosine
transform, then binary pulses, in place of the fixed periods of a Clockwork RNN.

| symbol | variable       | shape                                                          |
|--------|----------------|----------------------------------------------------------------|
| h_t    | h              | [B, H], the modules' states side by side                       |
| t      | t              | [B] int64, the step counter                                    |
| a_m(t) | clock(t)       | [B, L], activation of module m, in [0, 1]                      |
| A_t    | active         | [B, H], a_m(t) repeated over the units of module m             |
| W_x    | input          | [H, D]                                                         |
| W_h    | recurrent      | [H, H], used only where ``connectivity`` lets a module read another |
| b      | bias           | [H]                                                            |
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Levels, Product, State, StepTrace, tensors
from multiscale.backbones.clockwork import module_of_unit, split_units
from multiscale.backbones.hard_clock import CONNECTIVITY, HardClockRNN, connection_mask
from multiscale.checks import InvalidInput, in_range, one_of, positive_int
from multiscale.kernels.clocked import hoisted
from multiscale.nn.clocks.base import Clock, ClockOptions, Readout
from multiscale.nn.clocks.pulse import PulseClock
from multiscale.nn.clocks.wave import DCTClock, DirectClock
from multiscale.nn.schedules import Constant, Geometric, Schedule

# What selects among the basis functions; the first is the default.
BASES = {"binary": ("softmax", "l1"), "square": ("softmax", "l1"), "dct": ("l1",), "direct": ("none",)}


class LearnedClockRNN(Backbone):
    """h_t = A_t tanh(W_x x_t + W_h h_{t-1} + b) + (1 - A_t) h_{t-1}, with learned periodic activations.

    Args:
        input_size: D, units of the input.
        hidden_size: H, units of all modules together; extra units go to the first modules.
        num_modules: L.
        max_period: longest period in steps.
        basis: ``binary`` pulses, ``square`` waves, ``dct`` (thresholded inverse cosine transform), or the baseline
            ``direct`` (thresholded sine of learned frequency and phase).
        candidates: of the pulses: ``all``, ``powers``, ``log`` or a list of periods.
        phases: of the pulses: offsets of each candidate; 1 is phase 0 alone.
        duty: the share of a period that a square wave is active.
        selection: ``softmax`` or ``l1``; None is the basis's first of :data:`BASES`.
        temperature: of the softmax, at an epoch; 1 to 0.1, geometrically, over 20 epochs if None.
        slope: of the waves' squashing, at an epoch; 4 if None.
        l1: weight in the penalty of the mean absolute sum of a module's weights, where selection is by l1.
        dct_length: T, steps of the transform; max_period if None.
        hard_from: epoch from which clocks are hard, with straight-through gradient; never if None.
        connectivity: who reads whom: ``full``, ``slow_to_fast`` by the current periods, or ``none``.
        update_cost: lambda_R, weight of the mean activation in the penalty.
        normalisation: ``none`` or ``minmax``.
        initialisation: ``spread`` (module m starts near period 2^(m-1)), ``zeros`` or ``random``.
        clock_lr: learning rate of the clock's weights; the optimizer's own if None. They never get weight decay,
            which would pull towards no period in particular.
        kernel: ``auto``, ``hoisted`` (all that does not depend on the state is computed before the loop) or
            ``reference``.

    Raises:
        InvalidInput: for numbers out of range, fewer units than modules, a spread start or a candidate beyond
            max_period, or an unknown word.
    """

    unit_module: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_modules: int,
        max_period: int,
        basis: str = "binary",
        candidates: str | Sequence[int] = "all",
        phases: int = 1,
        duty: float = 0.5,
        selection: str | None = None,
        temperature: Schedule | None = None,
        slope: Schedule | None = None,
        l1: float = 1e-4,
        dct_length: int | None = None,
        hard_from: float | None = None,
        connectivity: str = "full",
        update_cost: float = 0.0,
        normalisation: str = "none",
        initialisation: str = "spread",
        clock_lr: float | None = None,
        kernel: str = "auto",
    ) -> None:
        one_of("basis", basis, tuple(BASES))
        selection = one_of("selection", selection or BASES[basis][0], BASES[basis])
        level_sizes = split_units(hidden_size, positive_int("num_modules", num_modules))
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        self.connectivity = one_of("connectivity", connectivity, CONNECTIVITY)
        self.clock_lr = None if clock_lr is None else in_range("clock_lr", clock_lr, 0)
        options = ClockOptions(initialisation, hard_from, normalisation, update_cost, l1)
        slope = slope or Constant(4.0)
        self.clock: Clock
        if basis == "dct":
            self.clock = DCTClock(num_modules, max_period, slope, dct_length, options)
        elif basis == "direct":
            self.clock = DirectClock(num_modules, max_period, slope, options)
        else:
            temperature = temperature or Geometric()
            self.clock = PulseClock(
                num_modules, max_period, temperature, basis, candidates, phases, duty, selection, options
            )
        self.register_buffer("unit_module", module_of_unit(level_sizes), persistent=False)
        self.input = nn.Parameter(torch.empty(hidden_size, input_size))
        self.recurrent = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        nn.init.normal_(self.input, std=input_size**-0.5)
        nn.init.orthogonal_(self.recurrent)

    @property
    def level_names(self) -> tuple[str, ...]:
        return tuple(f"clock {m}, period {p:.3g}" for m, p in enumerate(self.clock.periods().tolist(), 1))

    def anneal(self, epoch: float) -> None:
        self.clock.anneal(epoch)

    def penalty(self) -> Tensor:
        return self.clock.penalty()

    def readout(self) -> Readout:
        """What each module's clock has learned."""
        return self.clock.readout()

    def measures(self) -> dict[str, Tensor]:
        """Period in steps, entropy in bits, duty cycle and top-two gap of each module's clock."""
        told = self.readout()
        return {"period": told.period, "entropy": told.entropy, "duty": told.duty, "gap": told.gap}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's parameters, and the clock's without weight decay and with ``clock_lr`` if given."""
        clock = list(self.clock.parameters())
        of_clock = {id(p) for p in clock}
        own: dict[str, Any] = {"params": clock, "weight_decay": 0.0}
        if self.clock_lr is not None:
            own["lr"] = self.clock_lr
        return [{"params": [p for p in self.parameters() if id(p) not in of_clock]}, own]

    def products(self) -> tuple[Product, ...]:
        """Each module's rows wherever it is active at all, on the input and on what it may read at the current periods;
        and each clock's sum over its basis, at every step."""
        mask = connection_mask(self.connectivity, self.clock.periods(), self.unit_module)
        reads = mask.sum(1) + self.input_size
        rows = [Product(m, int(own.sum())) for m, own in enumerate(reads.split(self.level_sizes))]
        return (*rows, *(Product(m, self.clock.basis_size, "always") for m in range(len(rows))))

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, t): zeros, and the counter at 0."""
        h = torch.zeros(batch_size, sum(self.level_sizes), device=device, dtype=dtype)
        return h, torch.zeros(batch_size, dtype=torch.int64, device=device)

    def connected(self) -> Tensor:
        """W_h [H, H] with zeros where a unit may not, at the current periods, read another."""
        if self.connectivity == "full":
            return self.recurrent
        return self.recurrent * connection_mask(self.connectivity, self.clock.periods(), self.unit_module)

    def step(self, x_t: Tensor, state: State) -> tuple[Levels, State, StepTrace]:
        """The equation of the class, with a_m(t) of the clock."""
        h_prev, t = tensors(state)
        activation = self.clock(t)
        active = activation.index_select(1, self.unit_module)
        new = torch.tanh(F.linear(x_t, self.input, self.bias) + F.linear(h_prev, self.connected()))
        h = active * new + (1 - active) * h_prev
        return h.split(self.level_sizes, 1), (h, t + 1), StepTrace(activation)

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {"hoisted": None, "reference": None}

    def fast(self, kernel: str, x: Tensor, state: State, trace: bool) -> tuple[Levels, State, StepTrace | None]:
        h, t = tensors(state)
        # Samples mostly share their step counter; then one row serves them all.
        starts = t[:1] if bool((t == t[0]).all()) else t
        activation = self.clock(starts[:, None] + torch.arange(x.size(1), device=t.device))
        active = activation.index_select(2, self.unit_module)
        states, h = hoisted(x, h, active, self.input, self.connected(), self.bias)
        steps = StepTrace(activation.expand(len(x), -1, -1)) if trace else None
        return states.split(self.level_sizes, 2), (h, t + x.size(1)), steps

    def harden(self) -> HardClockRNN:
        """The plain clocked layer of each module's best period and phase, with the same weights: the same function as
        this network once its clock is hard, without computing what is then held.

        Raises:
            InvalidInput: unless the clock selects among binary pulses by softmax; others have no one period and phase.
        """
        clock = self.clock
        if not isinstance(clock, PulseClock) or not clock.single_pulses:
            raise InvalidInput("harden() needs basis=binary with selection=softmax.")
        atoms = clock.chosen()
        periods, phases = clock.atom_period[atoms].tolist(), clock.atom_phase[atoms].tolist()
        hard = HardClockRNN(self.input_size, self.level_sizes, periods, phases, self.connectivity)
        hard.to(self.input.device, self.input.dtype)
        own = {name: p for name, p in self.state_dict().items() if not name.startswith("clock.")}
        hard.load_state_dict(own)
        return hard.train(self.training)
