"""Stacks of Elman, LSTM or GRU layers: the baselines of a single time scale.

| symbol       | variable                         | shape                                                        |
|--------------|----------------------------------|--------------------------------------------------------------|
| h_t^l, c_t^l | state[0][l], state[1][l]         | [B, H_l], hidden state of layer l, and for lstm its cell     |
| W^l, U^l     | layer.weight_ih_l0, weight_hh_l0 | [G H_l, H_{l-1}], [G H_l, H_l], G gates in torch's order     |
| b^l          | layer.bias_ih_l0, bias_hh_l0     | [G H_l] each                                                 |
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, Step, StepTrace, groups
from multiscale.checks import InvalidInput, in_range, one_of, positive_int, stack_sizes
from multiscale.kernels import layer_norm_lstm
from multiscale.kernels.product import cpu_has_lstm
from multiscale.nn.cells import CELLS, GATES, STATES, CellState
from multiscale.nn.layout import lay_by_columns
from multiscale.nn.zoneout import zone_out_each, zoneout_rates

LAYERS: dict[str, Callable[..., nn.RNNBase]] = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
"""torch's whole-sequence layer of each cell, which also holds its parameters."""

STARTS = ("torch", "chrono", "inverse_gamma")
SHAPE = 0.56  # alpha of the inverse gamma distribution, of scale 1, that Mahto et al. 2021 fit to English


class StackedRNN(Backbone):
    """Layers of one cell, each reading the hidden sequence of the one below; all are levels, all update at every step.

    h_t^l = cell(W^l h_t^{l-1} + b, U^l h_{t-1}^l + b') with h^0 = x: ``tanh`` (Elman 1990), ``lstm`` (Hochreiter,
    Schmidhuber 1997; Gers et al. 2000) or ``gru`` (Cho et al. 2014), with the parameters of ``torch.nn``'s layers and,
    but for ``start`` and ``orthogonal``, their initialisation.

    Args:
        input_size: D, units of the input.
        hidden_size: H_l, one number for all layers or one for each, from the input upwards.
        num_layers: L; by default as many as ``hidden_size`` lists, or 3.
        cell: ``tanh``, ``lstm`` or ``gru``.
        layer_norm: normalise the two products of each layer over their G H_l columns, and c inside the tanh (Ba,
            Kiros, Hinton 2016, arXiv 1607.06450, Eq. 20-22, written there for lstm); gains start at 1, offsets at 0.
        start: of the gates' biases of lstm: ``torch``; ``chrono``, b_f = log U(1, max_time - 1), b_i = -b_f (Tallec,
            Ollivier 2018, arXiv 1804.11188, Eq. 16); ``inverse_gamma``, b_f = -log(exp(1 / T) - 1), b_i = -b_f with T
            of an inverse gamma distribution (Mahto et al. 2021, arXiv 2009.12727, who then hold them fixed; here they
            are learned from there, in every layer).
        max_time: T_max of ``chrono``, in steps.
        orthogonal: the recurrent weights U^l, of each gate, start orthogonal (Saxe, McClelland, Ganguli 2014, arXiv
            1312.6120), so that what a layer of tanh holds turns, and does not fade, before anything is learned.
        zoneout: probability with which a unit keeps its h (Krueger et al. 2016, arXiv 1606.01305, Eq. 4), and
        zoneout_c: its c, of lstm; in evaluation both are the expectation.
        kernel: ``auto``, ``fused`` (torch's whole-sequence layers, which know no layer norm and no zoneout),
            ``native`` (lstm with layer norm, in C++) or ``reference``.

    Raises:
        InvalidInput: for sizes below 1, an unknown cell, start or kernel, a start or a zoneout_c of other cells
            than lstm, rates outside [0, 1], or a kernel with what it does not know.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int | None = None,
        cell: str = "lstm",
        layer_norm: bool = False,
        start: str = "torch",
        max_time: float = 100.0,
        orthogonal: bool = False,
        zoneout: float = 0.0,
        zoneout_c: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        positive_int("input_size", input_size)
        self.layer_norm = layer_norm
        self.cell = one_of("cell", cell, tuple(CELLS))
        self.zoneout = zoneout_rates(zoneout, zoneout_c, cell)
        level_sizes = stack_sizes("hidden_size", hidden_size, "num_layers", num_layers, 3)
        super().__init__(input_size, level_sizes, kernel)
        self.layers = make_layers(cell, input_size, level_sizes)
        widths = [(GATES[cell] * n, GATES[cell] * n, n if cell == "lstm" else 0) for n in level_sizes]
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.LayerNorm(n) if layer_norm and n else nn.Identity() for n in width) for width in widths
        )
        if one_of("start", start, STARTS) != "torch":
            if cell != "lstm":
                raise InvalidInput(f"start must be torch for cell {cell}; got {start!r}.")
            self._set_time_scales(start, in_range("max_time", max_time, 2, open_low=True))
        if orthogonal:
            for layer, n in zip(self.layers, level_sizes, strict=True):
                _, recurrent, *_ = layer.parameters()
                for weight in recurrent.detach().split(n):
                    nn.init.orthogonal_(weight)

    @torch.no_grad()
    def _set_time_scales(self, start: str, max_time: float) -> None:
        """Biases with which units begin to forget on the time scales of ``start``."""
        for layer, n in zip(self.layers, self.level_sizes, strict=True):
            if start == "chrono":
                forget = torch.empty(n).uniform_(1, max_time - 1).log()
            else:  # T = 1 / g with g of the gamma distribution
                g = torch._standard_gamma(torch.full((n,), SHAPE))
                forget = -torch.expm1(g.clamp(1e-6, 50.0)).log()
            *_, bias_ih, bias_hh = layer.parameters()
            for bias, part in ((bias_ih, forget), (bias_hh, torch.zeros(n))):
                bias[:n], bias[n : 2 * n] = -part, part

    def products(self) -> tuple[Product, ...]:
        """G H_l (H_{l-1} + H_l) of each layer, at every step."""
        return layer_products(self.layers)

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h,), or (h, c) for lstm: L tensors of zeros each."""

        def zeros() -> tuple[Tensor, ...]:
            return tuple(torch.zeros(batch_size, n, device=device, dtype=dtype) for n in self.level_sizes)

        return tuple(zeros() for _ in range(STATES[self.cell]))

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """One step of every layer, from the input upwards, as ``torch.nn`` writes it; with ``layer_norm`` Eq. 20-22 of
        Ba et al. 2016."""
        below, after = x_t, []
        for layer, norms, *previous in zip(self.layers, self.norms, *groups(state), strict=True):
            new = step_layer(self.cell, layer, below, tuple(previous), *norms.children())
            after.append(zone_out_each(new, previous, self.zoneout, self.training))
            below = after[-1][0]
        by_kind = tuple(zip(*after, strict=True))
        return by_kind[0], by_kind, StepTrace(x_t.new_ones(len(x_t), len(after)))

    def stepper(self) -> Step:
        """The step, of weights that lie as it reads them."""
        lay_by_columns(self.layers)
        return self.step

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        unknown = "layer normalisation" if self.layer_norm else "zoneout" if any(self.zoneout) else None
        fused = unknown and f"torch's fused layers have no {unknown}"
        native = "the loop in C++ is of cell lstm with layer normalisation and without zoneout"
        knows = self.cell == "lstm" and self.layer_norm and not any(self.zoneout)
        return {"fused": fused, "native": layer_norm_lstm.unavailable(x, self) if knows else native, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        below, levels, after = x, [], []
        for layer, norms, *first in zip(self.layers, self.norms, *groups(state), strict=True):
            if kernel == "native":
                weights = [*layer.parameters()], [*norms.parameters()]
                below, last = layer_norm_lstm.run(below, (first[0], first[1]), *weights)
            else:
                below, last = run_layer(layer, below, tuple(first))
            levels.append(below)
            after.append(last)
        steps = StepTrace(x.new_ones(*x.shape[:2], len(levels))) if trace else None
        return tuple(levels), tuple(zip(*after, strict=True)), steps


def make_layers(cell: str, input_size: int, level_sizes: Sequence[int]) -> nn.ModuleList:
    """A layer of torch a level, each for the width of the one below."""
    below = (input_size, *level_sizes[:-1])
    return nn.ModuleList(LAYERS[cell](d, n, batch_first=True) for d, n in zip(below, level_sizes, strict=True))


def layer_products(layers: nn.ModuleList) -> tuple[Product, ...]:
    """The products of layers of which each is due at every step."""
    amounts = [sum(p.numel() for p in layer.parameters() if p.dim() == 2) for layer in layers]
    return tuple(Product(level, amount) for level, amount in enumerate(amounts))


def step_layer(
    cell: str,
    layer: nn.Module,
    below: Float[Tensor, "B _"],
    state: CellState,
    norm_ih: nn.Module | None = None,
    norm_hh: nn.Module | None = None,
    norm_c: nn.Module | None = None,
) -> CellState:
    """One step of one layer: its next state, (h,) or (h, c), from what it reads, [B, H_{l-1}], and its state."""
    weight_ih, weight_hh, bias_ih, bias_hh = layer.parameters()
    u, v = F.linear(below, weight_ih), F.linear(state[0], weight_hh)
    u, v = (u if norm_ih is None else norm_ih(u)), (v if norm_hh is None else norm_hh(v))
    inner = {"norm_c": norm_c} if cell == "lstm" and norm_c is not None else {}
    new = CELLS[cell](u + bias_ih, v + bias_hh, state, **inner)
    return tuple(part.to(old.dtype) for part, old in zip(new, state, strict=True))


def run_layer(layer: nn.Module, below: Float[Tensor, "B T _"], state: CellState) -> tuple[Tensor, CellState]:
    """A whole sequence through one layer of torch: hidden states [B, T, H_l], and the state after the last."""
    first = tuple(part[None].contiguous() for part in state)
    short = below.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if short and isinstance(layer, nn.LSTM) and not cpu_has_lstm(torch.get_autocast_dtype("cpu")):
        kind = next(layer.parameters()).dtype
        with torch.autocast("cpu", enabled=False):
            hidden, last = layer(below.to(kind), tuple(part.to(kind) for part in first))
        hidden = hidden.to(torch.get_autocast_dtype("cpu"))
    else:
        hidden, last = layer(below, first if len(first) > 1 else first[0])
    parts = last if isinstance(last, tuple) else (last,)
    # Under autocast the fused kernel would return the carried state in half precision.
    return hidden, tuple(part[0].to(old.dtype) for part, old in zip(parts, state, strict=True))
