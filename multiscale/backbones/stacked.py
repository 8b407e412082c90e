"""Stacked LSTM (Hochreiter and Schmidhuber 1997; Gers et al. 2000), the single-time-scale baseline.

| symbol       | variable                       | shape                                          |
|--------------|--------------------------------|------------------------------------------------|
| h_t^l, c_t^l | h[l], c[l]                     | [B, H_l], hidden and cell state of layer l     |
| W^l, U^l     | layer.weight_ih_l0, weight_hh_l0 | [4 H_l, H_{l-1}], [4 H_l, H_l]               |
| b^l          | layer.bias_ih_l0 + bias_hh_l0  | [4 H_l]                                        |
| i, f, g, o   | columns of the gates in torch's order | [B, H_l]                                |
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, StepTrace, groups
from multiscale.checks import positive_int, sizes


class StackedLSTM(Backbone):
    """Layers of LSTM, each reading the hidden sequence of the one below; all are levels, all update at every step.

    c_t = f c_{t-1} + i g, h_t = o tanh(c_t), with the parameters and the initialisation of ``torch.nn.LSTM``.

    Args:
        input_size: D, units of the input.
        hidden_size: H_l, one number for all layers or one for each, from the input upwards.
        num_layers: L.
        layer_norm: normalise the two products of each layer over their 4 H_l columns, and c inside the tanh (Ba,
            Kiros, Hinton 2016, arXiv 1607.06450, Eq. 20-22); gains start at 1 and offsets at 0.
        kernel: ``auto``, ``fused`` (torch's whole-sequence LSTM, which knows no layer norm) or ``reference``.

    Raises:
        InvalidInput: for sizes below 1, an unknown kernel, or ``fused`` with layer norm.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 3,
        layer_norm: bool = False,
        kernel: str = "auto",
    ) -> None:
        positive_int("input_size", input_size)
        self.layer_norm = layer_norm
        level_sizes = sizes("hidden_size", hidden_size, positive_int("num_layers", num_layers))
        super().__init__(input_size, level_sizes, kernel)
        below = (input_size, *self.level_sizes[:-1])
        self.layers = nn.ModuleList(
            nn.LSTM(size_below, size, batch_first=True)
            for size_below, size in zip(below, self.level_sizes, strict=True)
        )

        self.norms = nn.ModuleList(
            nn.ModuleList(nn.LayerNorm(n) if layer_norm else nn.Identity() for n in (4 * size, 4 * size, size))
            for size in self.level_sizes
        )

    def products(self) -> tuple[Product, ...]:
        """4 H_l (H_{l-1} + H_l) of each layer, at every step."""
        below = (self.input_size, *self.level_sizes[:-1])
        return tuple(Product(l, 4 * n * (d + n)) for l, (d, n) in enumerate(zip(below, self.level_sizes, strict=True)))

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, c): L tensors of zeros each."""

        def zeros() -> tuple[Tensor, ...]:
            return tuple(torch.zeros(batch_size, n, device=device, dtype=dtype) for n in self.level_sizes)

        return zeros(), zeros()

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """One step of every layer, from the input upwards: f of Gers et al. 2000, i, o and the rest of Hochreiter and
        Schmidhuber 1997, as ``torch.nn.LSTM`` writes them; with ``layer_norm`` Eq. 20-22 of Ba et al. 2016."""
        h_prev, c_prev = groups(state)
        below, hs, cs = x_t, [], []
        for layer, norms, h, c in zip(self.layers, self.norms, h_prev, c_prev, strict=True):
            weight_ih, weight_hh, bias_ih, bias_hh = layer.parameters()
            norm_ih, norm_hh, norm_c = norms.children()
            gates = norm_ih(F.linear(below, weight_ih)) + norm_hh(F.linear(h, weight_hh)) + bias_ih + bias_hh
            i, f, g, o = gates.chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            below = torch.sigmoid(o) * torch.tanh(norm_c(c))
            hs.append(below)
            cs.append(c)
        return tuple(hs), (tuple(hs), tuple(cs)), StepTrace(x_t.new_ones(len(x_t), len(hs)))

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {
            "fused": "torch's fused LSTM has no layer normalisation" if self.layer_norm else None,
            "reference": None,
        }

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        h_first, c_first = groups(state)
        kind = h_first[0].dtype  # under autocast the fused kernel would return the carried state in half precision
        below, levels, hs, cs = x, [], [], []
        for layer, h, c in zip(self.layers, h_first, c_first, strict=True):
            below, (h, c) = layer(below, (h[None], c[None]))
            levels.append(below)
            hs.append(h[0].to(kind))
            cs.append(c[0].to(kind))
        steps = StepTrace(x.new_ones(*x.shape[:2], len(levels))) if trace else None
        return tuple(levels), (tuple(hs), tuple(cs)), steps
