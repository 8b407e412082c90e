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
| W_h    | recurrent      | [H, H]                                                         |
| b      | bias           | [H]                                                            |
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, State, StepTrace, choose_kernel
from multiscale.backbones.clockwork import module_of_unit, split_units
from multiscale.checks import one_of, positive_int
from multiscale.nn.clocks import BinaryClock, Clock, DCTClock
from multiscale.nn.schedules import Constant, Schedule


class LearnedClockRNN(Backbone):
    """h_t = A_t tanh(W_x x_t + W_h h_{t-1} + b) + (1 - A_t) h_{t-1}, with learned periodic activations.

    Args:
        input_size: D, units of the input.
        hidden_size: H, units of all modules together; extra units go to the first modules.
        num_modules: L; module m starts near period 2^(m-1).
        max_period: longest period in steps (binary), length T of the transform (dct).
        basis: ``binary`` (pulses weighted by a softmax) or ``dct`` (squashed inverse cosine transform).
        temperature: of the binary basis's softmax, at an epoch.
        slope: of the dct basis's squashing, at an epoch.
        l1: weight of the mean absolute sum of a module's dct coefficients in the penalty.
        kernel: ``auto`` or ``reference``.

    Raises:
        InvalidInput: for sizes below 1, fewer units than modules, a max_period below 2^(num_modules - 1), an unknown
            basis or kernel, or a negative l1.
    """

    unit_module: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_modules: int,
        max_period: int,
        basis: str = "binary",
        temperature: Schedule | None = None,
        slope: Schedule | None = None,
        l1: float = 1e-4,
        kernel: str = "auto",
    ) -> None:
        one_of("basis", basis, ("binary", "dct"))
        level_sizes = split_units(hidden_size, positive_int("num_modules", num_modules))
        super().__init__(positive_int("input_size", input_size), level_sizes)
        self.kernel = choose_kernel("LearnedClockRNN", kernel, {"reference": None})
        self.clock: Clock
        if basis == "binary":
            self.clock = BinaryClock(num_modules, max_period, temperature or Constant(1.0))
        else:
            self.clock = DCTClock(num_modules, max_period, slope or Constant(4.0), l1)
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

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, t): zeros, and the counter at 0."""
        h = torch.zeros(batch_size, sum(self.level_sizes), device=device, dtype=dtype)
        return h, torch.zeros(batch_size, dtype=torch.int64, device=device)

    def step(self, x_t: Tensor, state: State) -> tuple[tuple[Tensor, ...], State, StepTrace]:
        h_prev, t = state
        activation = self.clock(t)
        active = activation.index_select(1, self.unit_module)
        new = torch.tanh(F.linear(x_t, self.input, self.bias) + F.linear(h_prev, self.recurrent))
        h = active * new + (1 - active) * h_prev
        return h.split(self.level_sizes, 1), (h, t + 1), StepTrace(activation)
