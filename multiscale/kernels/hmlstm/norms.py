"""The products of a layer with layer norm: each normalised over its 4H columns before its gate (Ba et al. 2016).

The boundary's column is no part of what is normalised.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from multiscale.kernels.hmlstm.gates import EPSILON, Gradients, Layer, NormBuffers
from multiscale.kernels.hmlstm.products import LayerProducts, LayerWeights, Plan
from multiscale.kernels.product import product, rows_product
from multiscale.kernels.workspace import Workspace


def forward(norm: NormBuffers, t: int, raw: Tensor, pre: Tensor) -> None:
    """Keep the product [B, N] of step t, and add it to pre [B, N], normalised and gated."""
    norm.raw[t if norm.keep else 0] = raw
    normed = torch.nn.functional.layer_norm(raw, raw.shape[1:], norm.gain, norm.offset, EPSILON)
    pre += normed if norm.gate is None else norm.gate[t, :, None] * normed


def backward(norm: NormBuffers, t: int, dpre: Tensor) -> None:
    """From the gradient [B, N] of the sum that ``forward`` added to."""
    if norm.draw is None or norm.dgain is None or norm.doffset is None:
        return
    raw = norm.raw[t]
    centred = raw - raw.mean(1, keepdim=True)
    inverse = torch.rsqrt(centred.square().mean(1, keepdim=True) + EPSILON)
    x, dx = centred * inverse, dpre * norm.gain
    norm.draw[t] = inverse * (dx - dx.mean(1, keepdim=True) - x * (dx * x).mean(1, keepdim=True))
    if norm.dgate is not None:
        norm.dgate += (dpre * (x * norm.gain + norm.offset)).sum(1)
    gated = dpre if norm.gate is None else norm.gate[t, :, None] * dpre
    norm.dgain += gated * x
    norm.doffset += gated


class Normalised(LayerProducts):
    """Three products of what the gates have not yet touched."""

    def __init__(
        self, layers: Sequence[Layer], l: int, weights: LayerWeights, plan: Plan, keep: bool, workspace: Workspace
    ) -> None:
        super().__init__(layers, l, weights, plan, keep)
        self.keep = keep
        self.multiply = [product(m, self.batch, self.dtype) for m in self.matrices]
        gates = (None, self.layer.z_under, self.layer.z)
        shape = (len(self.layer.gates), self.batch, self.columns)
        self.norms = [
            NormBuffers(gain, offset, gate, keep, workspace.empty(*shape))
            for (gain, offset), gate in zip(weights.product_norms(), gates, strict=False)
        ]
        self.pre = self.layer.cell.new_empty(self.batch, self.columns)
        self.out = self.layer.cell.new_empty(self.batch, self.columns)

    def _sources(self, t: int) -> list[Tensor]:
        """What the products of step t read, before the gates."""
        l, n = self.l, self.layer.size
        under = self.layers[l - 1].h(t + 1) if l else self.operands[t][:, n : n + self.layer.below]
        over = [self.layers[l + 1].h(t)] if self.layer.above else []
        return [self.layer.h(t), under, *over]

    def pre_activations(self, t: int) -> Tensor:
        # What a closed gate hides still gives the gate its gradient.
        rows = None if self.keep else self.rows.of_step(t)
        self.pre.zero_()
        for i, source in enumerate(self._sources(t)):
            some = None if rows is None else rows[i]
            source, multiply = source.contiguous(), self.multiply[i]
            raw = multiply(source) if some is None else rows_product(multiply, source, some, self.out)
            forward(self.norms[i], t, raw, self.pre)
        return self.pre

    def operand_gradient(self, gradients: Sequence[Gradients], workspace: Workspace) -> Callable[[int], Tensor]:
        d = gradients[self.l]
        for norm, dgate in zip(self.norms, (None, gradients[self.l - 1].z if self.l else None, d.z), strict=False):
            norm.draw, norm.dgate = workspace.empty(len(d.pre), self.batch, self.columns), dgate
            norm.dgain, norm.doffset = d.pre.new_zeros(2, self.batch, self.columns)
        multiply = [product(m.t(), self.batch, self.dtype) for m in self.matrices]
        rows = self.rows.active_by_step()
        out = [d.pre.new_empty(self.batch, width) for width in self.widths]

        def gradient(t: int) -> Tensor:
            parts = []
            for i, norm in enumerate(self.norms):
                backward(norm, t, d.pre[t])
                assert norm.draw is not None
                if rows is None:
                    parts.append(multiply[i](norm.draw[t]))
                else:
                    parts.append(rows_product(multiply[i], norm.draw[t], rows[t], out[i]))
            return torch.cat(parts, 1)

        return gradient

    def weight_gradients(self, d: Gradients) -> tuple[Tensor | None, ...]:
        draws = [norm.draw for norm in self.norms if norm.draw is not None]
        sums = [rows.sum(0) for n in self.norms for rows in (n.dgain, n.doffset) if rows is not None]
        missing = [None] * (6 - len(sums))
        cell = [None if rows is None else rows.sum(0) for rows in (d.norm_gain, d.norm_offset)]
        return *self.matrix_gradients(d, draws), self.bias_gradient(d), *sums, *missing, *cell
