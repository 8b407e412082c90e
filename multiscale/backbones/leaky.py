"""Leaky-integrator units in groups of different time constants; with other options, the multiple timescale RNN.

| symbol | variable             | shape                                                                        |
|--------|----------------------|------------------------------------------------------------------------------|
| h_t    | h                    | [B, H], the groups' outputs side by side, fastest first; with leak=output the state |
| u_t    | u                    | [B, H], with leak=argument the state: what h_t is the tanh of                |
| tau    | tau                  | [H] in steps, at least 1; fixed, or with ``learned`` 1 + exp(-theta)         |
| a      | rate()               | [H], 1 / tau; with ``learned`` sigmoid(theta)                                |
| W_I    | input                | [H_in, D], H_in units of the groups that read the input                      |
| W_H    | recurrent            | [H, H], used only where a unit's group is linked to the other's              |
| b      | bias                 | [H]                                                                          |
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, StepTrace, fold_steps, tensors
from multiscale.backbones.clockwork import module_of_unit, split_units
from multiscale.checks import InvalidInput, flag, in_range, one_of, positive_int, real, sizes
from multiscale.kernels import recurrence
from multiscale.kernels.clocked import hoisted
from multiscale.nn.zoneout import zone_out

LEAKS = ("output", "argument")
LINKS = ("full", "neighbours")
INPUT_TO = ("all", "fastest")
LEAST = 1.05  # steps: where a learned tau may start; at 1 it would have no gradient

TimeConstant = float | Sequence[float]
"""In steps: of all units of a group, or [low, high], over which they are spread."""


class LeakyRNN(Backbone):
    """Groups of units that keep a share 1 - a of their state at every step, a = 1 / tau, fastest group first.

    leak=output: h_t = (1 - a) h_{t-1} + a tanh(W_I x_t + W_H h_{t-1} + b), leaky-integrator units (Jaeger,
    Lukosevicius, Popovici, Siewert 2007, Neural Networks 20(3), there of an echo state network, whose W_I and W_H are
    random and stay, and with a leak and a gain of their own; here all weights are trained, and one a is both).

    leak=argument: u_t = (1 - a) u_{t-1} + a (W_I x_t + W_H h_{t-1} + b), h_t = tanh(u_t), as in the multiple timescale
    RNN (Yamashita, Tani 2008, PLoS Computational Biology 4(11)), whose input meets the fastest group and whose groups
    are linked to their neighbours. Its units are logistic, or softmax in the fastest group, which is its output, and it
    learns first states of its slow units for each sequence; here all are tanh, start at zero and go to the head.

    With leak=output and all tau 1 it is an Elman network.

    Args:
        input_size: D, units of the input.
        hidden_size: H, units of all groups together, of which extra ones go to the faster groups; or the units of each
            group, in the order of ``time_constants``.
        time_constants: tau in steps, one a group: a number, or [low, high], over which its units are spread evenly in
            the logarithm; in any order, sorted by their geometric means, fastest first.
        leak: ``output`` or ``argument``, what leaks.
        learned: learn tau of every unit, from what is given, but at least 1.05; it stays above 1.
        links: ``full``, or ``neighbours``: a group reads itself, the next faster and the next slower.
        input_to: ``all`` groups, or the ``fastest`` alone.
        zoneout: probability with which a unit keeps its state whole, h or with leak=argument u (Krueger et al. 2016,
            arXiv 1606.01305; in neither paper); in evaluation it is the expectation.
        kernel: ``auto``, ``native`` (the loop over time in C++, of leaky outputs on a CPU with a compiler), ``hoisted``
            (what the input drives is computed for all steps at once) or ``reference``.

    Raises:
        InvalidInput: for sizes or time constants below 1, no time constants, fewer units than groups, a rate
            outside [0, 1], or an unknown leak, links, input_to or kernel.
    """

    tau: Tensor
    mask: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        time_constants: Sequence[TimeConstant],
        leak: str = "output",
        learned: bool = False,
        links: str = "full",
        input_to: str = "all",
        zoneout: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        spans, level_sizes = groups_by_time(time_constants, hidden_size)
        self.leak = one_of("leak", leak, LEAKS)  # which kernels there are depends on these
        self.zoneout = in_range("zoneout", zoneout, 0, 1)
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        self.links = one_of("links", links, LINKS)
        self.input_to = one_of("input_to", input_to, INPUT_TO)
        tau = torch.tensor([tau for span, n in zip(spans, level_sizes, strict=True) for tau in spread(*span, n)])
        self.theta = nn.Parameter(-torch.log(tau.clamp(min=LEAST) - 1)) if flag("learned", learned) else None
        self.register_buffer("tau", tau, persistent=False)
        group = module_of_unit(level_sizes)
        linked = (group[:, None] - group).abs() <= (1 if links == "neighbours" else len(spans))
        self.register_buffer("mask", linked.float(), persistent=False)
        hidden = sum(level_sizes)
        self.input = nn.Parameter(torch.empty(hidden if input_to == "all" else level_sizes[0], input_size))
        self.recurrent = nn.Parameter(torch.empty(hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Normal weights of variance 1 / (number of units read); biases 0."""
        nn.init.normal_(self.input, std=self.input_size**-0.5)
        self.recurrent.normal_().mul_(self.mask * self.mask.sum(1, keepdim=True).rsqrt())

    @property
    def level_names(self) -> tuple[str, ...]:
        return tuple(f"group {g}, tau {tau:.3g}" for g, tau in enumerate(self.measures()["period"].tolist(), 1))

    @torch.no_grad()
    def measures(self) -> dict[str, Tensor]:
        """Period: the geometric mean of each group's tau, in steps."""
        tau = self.tau if self.theta is None else 1 + torch.exp(-self.theta)
        groups = tau.split(self.level_sizes)
        # Of ratios, so that a group of one tau has exactly that.
        return {"period": torch.stack([group[0] * (group / group[0]).log().mean().exp() for group in groups])}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """A learned tau gets no weight decay, which would pull it to 2."""
        if self.theta is None:
            return [{"params": list(self.parameters())}]
        others = [p for p in self.parameters() if p is not self.theta]
        return [{"params": others}, {"params": [self.theta], "weight_decay": 0.0}]

    def idle_weights(self) -> int:
        return self.mask.numel() - int(self.mask.sum())

    def products(self) -> tuple[Product, ...]:
        """Each group's rows, on what it may read, at every step: no unit ever rests."""
        reads = self.mask.sum(1).long()
        reads[: len(self.input)] += self.input_size
        return tuple(Product(g, int(rows.sum())) for g, rows in enumerate(reads.split(self.level_sizes)))

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h,), or (u,) with leak=argument: zeros."""
        return (torch.zeros(batch_size, sum(self.level_sizes), device=device, dtype=dtype),)

    def rate(self) -> Float[Tensor, "H"]:
        """a = 1 / tau of every unit."""
        return 1 / self.tau if self.theta is None else torch.sigmoid(self.theta)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """The equation of the class for the chosen ``leak``."""
        return self._advance(self._drive(x_t), state, self.recurrent * self.mask, self.rate(), self._update(x_t))

    def _drive(self, x: Float[Tensor, "B *T D"]) -> Float[Tensor, "B *T H"]:
        """W_I x + b, of groups that do not read the input b."""
        return F.pad(F.linear(x, self.input), (0, len(self.bias) - len(self.input))) + self.bias

    def _update(self, x: Tensor) -> Float[Tensor, "B L"]:
        """The mean a of each group."""
        means = torch.stack([group.mean() for group in self.rate().split(self.level_sizes)])
        return means.to(x.dtype).expand(len(x), -1)

    def _advance(
        self, drive: Tensor, state: State, recurrent: Tensor, a: Tensor, update: Tensor
    ) -> tuple[Levels, State, StepTrace]:
        (before,) = tensors(state)
        a = a.to(before.dtype)
        if self.leak == "output":
            new = torch.tanh(drive + F.linear(before, recurrent)).to(before.dtype)
        else:
            new = (drive + F.linear(torch.tanh(before), recurrent)).to(before.dtype)
        leaked = torch.lerp(before, new, a)  # (1 - a) before + a new
        after = zone_out(leaked, before, self.zoneout, self.training)
        h = after if self.leak == "output" else torch.tanh(after)
        return h.split(self.level_sizes, 1), (after,), StepTrace(update)

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        other = "it knows no leak but that of the output, and no zoneout"
        missing = recurrence.unavailable(x, self)
        plain = self.leak == "output" and not self.zoneout
        return {"native": missing if plain else other, "hoisted": None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        if kernel == "native":
            weight = F.pad(self.input, (0, 0, 0, len(self.bias) - len(self.input)))
            active = self.rate().expand(1, x.size(1), -1)
            states, h = hoisted(
                x, tensors(state)[0], active, weight, self.recurrent * self.mask, self.bias, native=True
            )
            steps = StepTrace(self._update(x)[:, None].expand(-1, x.size(1), -1)) if trace else None
            return states.split(self.level_sizes, 2), (h,), steps
        fixed = self.recurrent * self.mask, self.rate(), self._update(x)
        return fold_steps(lambda drive, s: self._advance(drive, s, *fixed), self._drive(x).unbind(1), state, trace)


def spread(low: float, high: float, units: int) -> list[float]:
    """Time constants of so many units from ``low`` to ``high``, evenly in the logarithm; of one, the middle."""
    if units == 1 or low == high:
        return [(low * high) ** 0.5] * units
    return [low * (high / low) ** (i / (units - 1)) for i in range(units)]


def groups_by_time(
    time_constants: Sequence[TimeConstant], hidden_size: int | Sequence[int]
) -> tuple[list[tuple[float, float]], tuple[int, ...]]:
    """(low, high) and units of each group, fastest first; raises :class:`InvalidInput` if they cannot be that."""
    if isinstance(time_constants, str) or not isinstance(time_constants, Sequence) or not len(time_constants):
        raise InvalidInput(f"time_constants must be a list of at least one number or pair; got {time_constants!r}.")
    spans = [_span(f"time_constants[{i}]", entry) for i, entry in enumerate(time_constants)]
    order = sorted(range(len(spans)), key=lambda i: spans[i][0] * spans[i][1])
    if isinstance(hidden_size, Sequence) and not isinstance(hidden_size, str):
        units = sizes("hidden_size", hidden_size, len(spans))
        return [spans[i] for i in order], tuple(units[i] for i in order)
    return [spans[i] for i in order], split_units(hidden_size, len(spans))


def _span(argument: str, entry: TimeConstant) -> tuple[float, float]:
    """(low, high) of a time constant or a pair of them."""
    if isinstance(entry, (str, int, float)) or not isinstance(entry, Sequence):
        number = real(argument, in_range(argument, entry, 1))
        return number, number
    if len(entry) != 2:
        raise InvalidInput(f"{argument} must be a number of steps, or [low, high]; got {list(entry)!r}.")
    low = real(f"{argument}[0]", in_range(f"{argument}[0]", entry[0], 1))
    return low, real(f"{argument}[1]", in_range(f"{argument}[1]", entry[1], low))
