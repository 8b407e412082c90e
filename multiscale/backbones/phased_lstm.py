"""Phased LSTM (Neil, Pfeiffer, Liu 2016, arXiv 1610.09513).

| symbol           | variable         | shape                                                   |
|------------------|------------------|---------------------------------------------------------|
| h_t, c_t         | h, c             | [B, H], hidden state and cell, group after group        |
| t                | time             | [B] int64 counter of steps, or the input's last feature |
| tau              | exp(log_period)  | [H], period of each unit in steps                       |
| s                | shift            | [H], where each unit's cycle begins, in steps           |
| r_on, alpha      | open_ratio, leak | open share of a cycle; what leaks through the rest      |
| phi_t, k_t       | phase, openness  | [B, H], in [0, 1]                                       |
| W_x, W_h, b      | lstm             | [4 H, D], [4 H, H], two of [4 H]: i, f, g, o            |
| w_ci, w_cf, w_co | peephole         | [3, H]                                                  |
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, StepTrace, fold_steps, tensors
from multiscale.backbones.clockwork import split_units
from multiscale.checks import InvalidInput, flag, in_range, one_of, positive_int, real
from multiscale.nn.zoneout import zone_out_each, zoneout_rates


class PhasedLSTM(Backbone):
    """An LSTM each of whose units is updated only in the open part of its own cycle, of learned period and shift.

    phi_t = ((t - s) mod tau) / tau; k_t = 2 phi / r_on below r_on / 2, 2 - 2 phi / r_on from there to r_on, and
    alpha phi in the rest (Eq. 6); c_t = k_t c~_t + (1 - k_t) c_{t-1} and h_t = k_t h~_t + (1 - k_t) h_{t-1}, where c~
    and h~ are the LSTM's with peepholes (Eq. 7-10). The paper knows units alone; grouped by their starting periods, as
    levels, they are here: group l starts with log periods drawn evenly from the l-th equal part of ``log_period``.
    Periods are learned as their logarithms, which keeps them positive, and may cross between groups. Their gradient
    grows with t, as in the paper: in a text read on and on, whose t is large, it outgrows all others.

    Args:
        input_size: D, units of the input.
        hidden_size: H, units of all groups together; extra units go to the faster groups.
        num_groups: L.
        log_period: the range of log tau, tau in steps, at the start; shifts start evenly drawn from [0, tau).
        open_ratio: r_on, fixed, as in the paper.
        leak: alpha in training; in evaluation it is 0, and a closed unit keeps its state exactly.
        time: ``steps``, t counts them from 0; ``input``, t is the last feature of x_t, which the time gate alone reads:
            samples may be irregular, and periods and shifts are in its unit.
        peepholes: false, the gates do not read the cell. They start from N(0, 0.1^2), as in the authors' code.
        zoneout: probability with which a unit keeps its h, however open it is (Krueger et al. 2016, arXiv 1606.01305;
            not in the paper), and
        zoneout_c: its c; in evaluation both are the expectation.
        kernel: ``auto``, ``hoisted`` (the input's product and the openness are made for all steps at once) or
            ``reference``.

    Raises:
        InvalidInput: for sizes below 1, fewer units than groups, a range that does not ascend, an open ratio not in
            (0, 1], a leak or a rate not in [0, 1], an unknown word, or no feature beside the time.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_groups: int = 4,
        log_period: Sequence[float] = (1.0, 6.0),
        open_ratio: float = 0.05,
        leak: float = 1e-3,
        time: str = "steps",
        peepholes: bool = True,
        zoneout: float = 0.0,
        zoneout_c: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        features = positive_int("input_size", input_size) - (one_of("time", time, ("steps", "input")) == "input")
        if not features:
            raise InvalidInput(
                f"input_size must be at least 2 with time=input, of which the last is t; got {input_size}."
            )
        level_sizes = split_units(hidden_size, positive_int("num_groups", num_groups))
        super().__init__(input_size, level_sizes, kernel)
        self.open_ratio = in_range("open_ratio", open_ratio, 0, 1, open_low=True)
        self.leak = in_range("leak", leak, 0, 1)
        self.zoneout = zoneout_rates(zoneout, zoneout_c)
        self.time = time
        self.lstm = nn.LSTM(features, hidden_size)
        self.peephole = nn.Parameter(0.1 * torch.randn(3, hidden_size)) if flag("peepholes", peepholes) else None
        self.log_period = nn.Parameter(torch.cat(_start(log_period, level_sizes)))
        self.shift = nn.Parameter(torch.rand(hidden_size) * self.log_period.detach().exp())

    @property
    def level_names(self) -> tuple[str, ...]:
        return tuple(f"group {l}, period {p:.3g}" for l, p in enumerate(self.measures()["period"].tolist(), 1))

    def measures(self) -> dict[str, Tensor]:
        """The geometric mean of each group's periods, in steps."""
        return {"period": torch.stack([part.mean() for part in self.log_period.detach().split(self.level_sizes)]).exp()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's parameters, and the clocks' without weight decay, which would pull towards no period in
        particular."""
        clocks = [self.log_period, self.shift]
        others = [p for p in self.parameters() if all(p is not clock for clock in clocks)]
        return [{"params": others}, {"params": clocks, "weight_decay": 0.0}]

    def products(self) -> tuple[Product, ...]:
        """Each group's rows wherever any of its units is open at all: in training, for the leak, at every step."""
        reads = self.lstm.input_size + self.lstm.hidden_size
        return tuple(Product(l, 4 * n * reads) for l, n in enumerate(self.level_sizes))

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, c, t): zeros, and the counter at 0, which nothing reads with ``time`` input."""
        h = torch.zeros(batch_size, self.lstm.hidden_size, device=device, dtype=dtype)
        return h, h.clone(), torch.zeros(batch_size, dtype=torch.int64, device=device)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """Eq. 6-10."""
        return self._advance(self._drive(x_t, tensors(state)[2]), state)

    def openness(self, time: Shaped[Tensor, "*times"]) -> Float[Tensor, "*times H"]:
        """k_t (Eq. 6), in float64: a phase is the small rest of a long time."""
        cycles = (time[..., None].double() - self.shift.double()) / self.log_period.double().exp()
        phase = cycles - cycles.floor()
        rising = phase * (2 / self.open_ratio)
        leaking = phase * (self.leak if self.training else 0.0)
        return torch.where(phase < self.open_ratio, torch.minimum(rising, 2 - rising), leaking)

    def _drive(self, x: Float[Tensor, "B *T D"], counter: Tensor) -> Float[Tensor, "B *T _"]:
        """What does not hang on the state, [B, *T, 5 H]: the input's part of the four gates, and k_t."""
        weight_ih, _, bias_ih, _ = self._weights()
        if self.time == "input":
            x, counter = x[..., :-1], x[..., -1]
        gates = F.linear(x, weight_ih, bias_ih)
        k = self.openness(counter).to(weight_ih.dtype)
        return torch.cat([gates, k.expand(*gates.shape[:-1], -1)], -1)

    def _weights(self) -> tuple[Tensor, ...]:
        return tuple(self.lstm.parameters())

    def _advance(self, drive: Float[Tensor, "B _"], state: State) -> tuple[Levels, State, StepTrace]:
        """A step from what does not hang on the state."""
        h, c, t = tensors(state)
        _, weight_hh, _, bias_hh = self._weights()
        n = self.lstm.hidden_size
        gates, k = drive.split((4 * n, n), 1)
        i, f, g, o = (part.to(c.dtype) for part in (gates + F.linear(h, weight_hh, bias_hh)).chunk(4, 1))
        if self.peephole is not None:
            i, f = i + self.peephole[0] * c, f + self.peephole[1] * c
        new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        if self.peephole is not None:
            o = o + self.peephole[2] * new_c
        new_h = torch.sigmoid(o) * torch.tanh(new_c)
        new = k * new_h + (1 - k) * h, k * new_c + (1 - k) * c
        h, c = zone_out_each(new, (h, c), self.zoneout, self.training)
        update = torch.stack([part.mean(1) for part in k.split(self.level_sizes, 1)], 1)
        return h.split(self.level_sizes, 1), (h, c, t + 1), StepTrace(update)

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {"hoisted": None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        t = tensors(state)[2]
        # Samples mostly share their step counter; then one row serves them all.
        starts = t[:1] if bool((t == t[0]).all()) else t
        drive = self._drive(x, starts[:, None] + torch.arange(x.size(1), device=t.device))
        return fold_steps(self._advance, drive.unbind(1), state, trace)


def _start(log_period: Sequence[float], level_sizes: Sequence[int]) -> list[Tensor]:
    """Log periods of each group, drawn evenly from its part of the range."""
    if isinstance(log_period, (str, int, float)) or len(log_period) != 2:
        raise InvalidInput(f"log_period must be two numbers, the lower first; got {log_period!r}.")
    low, high = (real(f"log_period[{i}]", value) for i, value in enumerate(log_period))
    if not low <= high:
        raise InvalidInput(f"log_period must be two numbers, the lower first; got {list(log_period)!r}.")
    part = (high - low) / len(level_sizes)
    return [low + (l + torch.rand(n)) * part for l, n in enumerate(level_sizes)]
