"""Clockwork RNN (Koutnik, Greff, Gomez, Schmidhuber 2014, arXiv 1402.3511).

| symbol | variable    | shape                                                                       |
|--------|-------------|-----------------------------------------------------------------------------|
| h_t    | h           | [B, H], the modules' states side by side, fastest first; lstm has c_t too   |
| t      | t           | [B] int64, the step counter                                                 |
| T_i    | periods     | [L] int64, steps between two updates of module i, ascending                 |
| W_H    | recurrent   | [G H, H], used only where ``links`` lets a unit read another                |
| S      | link_gates  | [H, H], repeated over units: the gates of W_H if ``links`` are learned      |
| W_I    | input       | [G H, D], used only where ``input_to`` lets a unit read the input           |
| b      | bias        | [G H], G gates: tanh 1, lstm 4, gru 3, in torch's order                     |
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones import clockwork_stream
from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, Step, StepTrace, fold_steps, tensors
from multiscale.checks import InvalidInput, in_range, one_of, positive_int, sizes
from multiscale.kernels import clocked, recurrence
from multiscale.kernels import clockwork as cascades
from multiscale.nn.cells import CELLS, GATES, STATES, GateNorm, no_norm
from multiscale.nn.links import LINKS, LinkGates, link_mask
from multiscale.nn.zoneout import zone_out_each, zoneout_rates

INPUT_TO = ("all", "fastest")
CLOCKS = ("tick", "random")


def split_units(hidden_size: int, modules: int) -> tuple[int, ...]:
    """Units of each module, fastest first; what does not divide goes one unit each to the faster modules."""
    if positive_int("hidden_size", hidden_size) < modules:
        raise InvalidInput(f"hidden_size must be at least the number of modules, {modules}; got {hidden_size}.")
    share, rest = divmod(hidden_size, modules)
    return tuple(share + (i < rest) for i in range(modules))


def count_faster(level_sizes: Sequence[int]) -> int:
    """Weights of an [H, H] matrix with which units would read faster modules than their own."""
    return (sum(level_sizes) ** 2 - sum(n * n for n in level_sizes)) // 2


def module_of_unit(level_sizes: Sequence[int]) -> Tensor:
    """[H] int64: the module, counted from 0, that each unit belongs to."""
    repeats = torch.tensor(level_sizes)
    return torch.repeat_interleave(torch.arange(len(level_sizes)), repeats, output_size=sum(level_sizes))


class ClockworkRNN(Backbone):
    """Modules of recurrent cells, each updated only at the ticks of its own fixed clock and held exactly in between.

    At t mod T_i = 0: h_i = tanh(W_I x_t + W_H h_{t-1} + b) on module i's rows, where W_H is block upper
    triangular: a module reads itself and slower modules. Elsewhere h_i keeps its value (Eq. 1 with the paper's
    section 3 masking). With ``cell`` lstm or gru the same holds of every gate, and c_i is kept with h_i.

    Other ``links`` than slow_to_fast, ``input_to`` fastest and ``clock`` random are not in the paper; but for
    fast_to_slow they come from an earlier variant of pranv/clockwork_rnn on GitHub. With ``links`` learned, the block
    of W_H with which module i reads module j is multiplied by a gate S_ij, :class:`multiscale.nn.links.LinkGates`.

    Args:
        input_size: D, units of the input.
        hidden_size: H, units of all modules together, of which extra ones go to the faster modules; or the units of
            each module, in the order of ``periods``.
        periods: T_i in steps, one a module, in any order; they are sorted, fastest first.
        origin: the step counter's value at the first step.
        cell: ``tanh`` (the paper's), ``lstm`` or ``gru``.
        layer_norm: normalise the argument of each gate over the units of each module, before gain and bias.
        links: which modules a module reads beside itself, see :func:`multiscale.nn.links.link_mask`; or ``learned``:
            all, as far as gates let them through, half open at first, so that the network starts as with ``full``.
        link_cost: what the loss has of learned links if all are fully open, in nats; of each, in proportion to the
            H_i H_j / T_i multiplications that it takes a step.
        input_to: ``all`` modules, or the ``fastest`` alone, through which the others then learn of the input.
        clock: ``tick``; or ``random``: in training each module is updated with probability 1 / T_i, drawn for each
            sample and step. In evaluation, which draws nothing, it ticks.
        zoneout: probability with which a unit keeps its h at a tick (Krueger et al. 2016, arXiv 1606.01305, Eq. 4), and
        zoneout_c: its c, of lstm; in evaluation both are the expectation. Neither is in the paper.
        kernel: ``auto``, ``cascade`` (each module over its own ticks only), ``native`` (the same, of tanh units, with
            the loop over ticks in C++), ``skipping`` (at each step the rows of the modules that tick), ``hoisted`` (the
            input's product before the loop) or ``reference``. The first three know no zoneout.

    Raises:
        InvalidInput: for sizes or periods below 1, no periods, fewer units than modules, a layer norm over single
            units, an input that links keep from slower modules, learned links of one module, a cost below 0 or of
            links that are not learned, rates outside [0, 1], a zoneout_c of other cells than lstm, an unknown word, or
            a kernel that cannot run.
    """

    periods: Tensor
    mask: Tensor
    input_mask: Tensor | None
    unit_module: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        periods: Sequence[int],
        origin: int = 0,
        cell: str = "tanh",
        layer_norm: bool = False,
        links: str = "slow_to_fast",
        link_cost: float = 0.0,
        input_to: str = "all",
        clock: str = "tick",
        zoneout: float = 0.0,
        zoneout_c: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        periods, level_sizes = modules_by_period(periods, hidden_size)
        if isinstance(origin, bool) or not isinstance(origin, int) or origin < 0:
            raise InvalidInput(f"origin must be a whole number of steps, at least 0; got {origin!r}.")
        self.links = one_of("links", links, LINKS)
        if in_range("link_cost", link_cost, 0) and links != "learned":
            raise InvalidInput(f"link_cost must be 0 unless links is learned; got {link_cost} with links {links}.")
        self.clock = one_of("clock", clock, CLOCKS)
        if one_of("input_to", input_to, INPUT_TO) == "fastest" and links == "slow_to_fast" and len(periods) > 1:
            raise InvalidInput(
                "input_to must be all with links slow_to_fast, or no slower module would ever learn of the input;"
                f" got {input_to!r}."
            )
        self.cell = one_of("cell", cell, tuple(CELLS))
        self.layer_norm = layer_norm
        self.zoneout = zoneout_rates(zoneout, zoneout_c, cell)
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        if layer_norm and min(level_sizes) == 1:
            raise InvalidInput(f"layer_norm needs at least 2 units in every module; got modules of {level_sizes}.")
        self.origin = origin
        gates, hidden = GATES[cell], sum(level_sizes)
        self.register_buffer("periods", torch.tensor(periods), persistent=False)
        module = module_of_unit(level_sizes)
        mask = link_mask(links, len(periods))[module][:, module].float()
        self.register_buffer("mask", mask.repeat(gates, 1), persistent=False)
        input_mask = (module == 0).float()[:, None].repeat(gates, 1) if input_to == "fastest" else None
        self.register_buffer("input_mask", input_mask, persistent=False)
        self.register_buffer("unit_module", module, persistent=False)
        self.input = nn.Parameter(torch.empty(gates * hidden, input_size))
        self.recurrent = nn.Parameter(torch.empty(gates * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(gates * hidden))
        # The part of torch.nn.GRU's second bias that the first cannot stand for: of the candidate, inside the reset.
        self.reset_bias = nn.Parameter(torch.zeros(hidden)) if cell == "gru" else None
        self.gain = nn.Parameter(torch.ones(gates, hidden)) if layer_norm else None
        self.link_gates = LinkGates(level_sizes, link_cost, periods) if links == "learned" else None
        self._period_list = periods  # on the host, so that the kernel need not wait for the device
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Normal weights of variance 1 / (number of units read), so that each unit's input starts with unit scale;
        biases 0, but 1 for the forget gate of lstm, which thus starts to remember."""
        nn.init.normal_(self.input, std=self.input_size**-0.5)
        if self.input_mask is not None:
            self.input.mul_(self.input_mask)
        reads = self.mask.sum(1, keepdim=True)
        self.recurrent.normal_().mul_(self.mask * reads.rsqrt())
        if self.link_gates is not None:
            self.recurrent.div_(self.link_gates().repeat(GATES[self.cell], 1))
        self.bias.zero_()
        if self.cell == "lstm":
            self.bias.chunk(4)[1].fill_(1.0)

    @property
    def level_names(self) -> tuple[str, ...]:
        return tuple(f"period {p}" for p in self._period_list)

    def penalty(self) -> Tensor:
        return self.bias.new_zeros(()) if self.link_gates is None else self.link_gates.penalty()

    def measures(self) -> dict[str, Tensor]:
        """Mean strength of each module's links to the others, where links are learned."""
        return {} if self.link_gates is None else {"reads": self.link_gates.reads()}

    def matrices(self) -> dict[str, Tensor]:
        """S [L, L] of learned links."""
        return {} if self.link_gates is None else {"links": self.link_gates.strengths().detach()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All parameters; those of gates without weight decay, which would pull links to half open."""
        if self.link_gates is None:
            return super().parameter_groups()
        scores = self.link_gates.scores
        rest = [p for p in self.parameters() if p is not scores]
        return [{"params": rest}, {"params": [scores], "weight_decay": 0.0}]

    def idle_weights(self) -> int:
        idle = self.input.numel() + self.recurrent.numel() - int(self._reads().sum())
        return idle + (0 if self.link_gates is None else len(self.level_sizes))

    def products(self) -> tuple[Product, ...]:
        """Each module's rows at its ticks, on the input and on what it may read."""
        reads = self._reads().view(GATES[self.cell], -1).sum(0)
        return tuple(Product(m, int(rows.sum())) for m, rows in enumerate(reads.split(self.level_sizes)))

    def _reads(self) -> Tensor:
        """[G H] int64: how many numbers, of the input and of the states, each row of the weights is multiplied with."""
        inputs = torch.ones_like(self.mask[:, :1]) if self.input_mask is None else self.input_mask
        return (self.mask.sum(1) + self.input_size * inputs[:, 0]).long()

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, t), or (h, c, t) for lstm: zeros, and the counter at ``origin``."""
        h = torch.zeros(batch_size, sum(self.level_sizes), device=device, dtype=dtype)
        return *(h.clone() for _ in range(STATES[self.cell])), torch.full((batch_size,), self.origin, device=device)

    def weights(self) -> cascades.ModuleWeights:
        """The parameters as the kernels take them; the bias is the norm's where there is one."""
        hidden_bias = None if self.reset_bias is None else F.pad(self.reset_bias, (2 * len(self.reset_bias), 0))
        norm = None if self.gain is None else GateNorm(self.gain, self.bias.view_as(self.gain), self.level_sizes)
        bias = self.bias if norm is None else None
        weight = self.input if self.input_mask is None else self.input * self.input_mask
        return cascades.ModuleWeights(weight, self.recurrent, bias, hidden_bias, norm)

    def connected(self) -> Tensor:
        """W_H [G H, H] with zeros where a unit may not read another; with learned links, times their gates."""
        if self.link_gates is None:
            return self.recurrent * self.mask
        return self.recurrent * self.link_gates().repeat(GATES[self.cell], 1)

    def ticks(self, t: Int[Tensor, "B *T"]) -> Bool[Tensor, "B *T L"]:
        """Which modules are updated at these values of the step counter."""
        if self.clock == "random" and self.training:
            return torch.rand(*t.shape, len(self.periods), device=t.device) * self.periods < 1
        return t[..., None] % self.periods == 0

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """Eq. 1 of the paper for the modules with t mod T_i = 0; the others, whose rows of W_H and W_I are zero in its
        Section 3, keep their state. The output of Eq. 2 is the head's."""
        w = self.weights()
        u = F.linear(x_t, w.input, w.bias)
        return self._advance(u, state, w._replace(recurrent=self.connected()))

    def _advance(self, u: Tensor, state: State, w: cascades.ModuleWeights) -> tuple[Levels, State, StepTrace]:
        """The step after u = W_I x_t + b [B, G H], with weights that are masked or gated."""
        *previous, t = tensors(state)
        ticks = self.ticks(t)
        active = ticks.index_select(1, self.unit_module)
        v = F.linear(previous[0], w.recurrent, w.hidden_bias)
        new = CELLS[self.cell](u, v, tuple(previous), w.norm or no_norm)
        zoned = zone_out_each(new, previous, self.zoneout, self.training)
        kept = tuple(torch.where(active, n, old) for n, old in zip(zoned, previous, strict=True))
        return kept[0].split(self.level_sizes, 1), (*kept, t + 1), StepTrace(ticks.to(previous[0].dtype))

    def stepper(self) -> Step:
        """Multiplies the rows of modules that tick, with what they may read; with zoneout, whatever they are."""
        if any(self.zoneout):
            return self.step
        w, phases = self.weights()._replace(recurrent=self.connected()), [0] * len(self._period_list)
        modules = clockwork_stream.split_modules(w, self.level_sizes, self._period_list, phases)
        return clockwork_stream.stepper(modules, self.cell)

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        random = "when a random clock will tick is not known ahead" if self.clock == "random" else None
        cyclic = self.links in ("neighbours", "full", "learned") and len(self.level_sizes) > 1
        plain = self.cell == "tanh" and not self.layer_norm
        unknown = None if plain else "it knows no cell but tanh, and no layer norm"
        zoned = "it knows no zoneout" if any(self.zoneout) else None
        waits = f"with links {self.links} no module is without others to wait for" if cyclic else None
        missing = recurrence.unavailable(x, self)
        return {
            "native": random or zoned or waits or unknown or missing,
            "cascade": random or zoned or waits,
            "skipping": random or zoned or unknown,
            "hoisted": None,
            "reference": None,
        }

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        *first, t = tensors(state)
        w = self.weights()
        if kernel not in ("native", "cascade"):  # which read the blocks that it needs
            w = w._replace(recurrent=self.connected())
        if kernel == "hoisted":
            inputs = F.linear(x, w.input, w.bias).unbind(1)
            return fold_steps(lambda u, before: self._advance(u, before, w), inputs, state, trace)
        clocks = (self.level_sizes, self._period_list, (0,) * len(self._period_list))
        levels: Levels
        last: Sequence[Tensor]
        if kernel == "skipping":
            states, *last = clocked.skipping(x, first[0], t, w.input, w.recurrent, self.bias, *clocks)
            levels = states.split(self.level_sizes, 2)
        else:
            fast_first = self.links == "fast_to_slow"
            native = kernel == "native"
            levels, last = cascades.cascade(
                x, tuple(first), t, w, self.cell, *clocks, fast_first=fast_first, native=native
            )
        steps = None
        if trace:
            steps = StepTrace(self.ticks(t[:, None] + torch.arange(x.size(1), device=t.device)).to(x.dtype))
        return levels, (*last, t + x.size(1)), steps


def modules_by_period(periods: Sequence[int], hidden_size: int | Sequence[int]) -> tuple[list[int], tuple[int, ...]]:
    """Periods and units of the modules, fastest first; raises :class:`InvalidInput` if they cannot be that."""
    if isinstance(periods, (str, int)) or not len(periods):
        raise InvalidInput(f"periods must be a list of at least one whole number of steps; got {periods!r}.")
    periods = [positive_int(f"periods[{i}]", p) for i, p in enumerate(periods)]
    if isinstance(hidden_size, int) or not isinstance(hidden_size, Sequence):
        return sorted(periods), split_units(hidden_size, len(periods))
    modules = sorted(zip(periods, sizes("hidden_size", hidden_size, len(periods)), strict=True), key=lambda m: m[0])
    return [period for period, _ in modules], tuple(size for _, size in modules)
