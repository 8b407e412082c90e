"""The products of one layer of an HM-LSTM over a sequence: forward, to the operands, and to the weights.

Without layer norm the three products of a step are one, of the operand side by side. With it each is normalised apart,
before its gate, so there are three.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from multiscale.kernels.hmlstm_gates import EPSILON, Gradients, Layer
from multiscale.kernels.product import outer, product, rows_product, worth_gathering, worth_skipping
from multiscale.kernels.workspace import Workspace


class Needed:
    """The rows of a sequence in which a layer's products matter, as hard boundaries decide; None for all of them.

    A COPY step has no gradient but the boundary's, and a closed gate's operand is zero.
    """

    def __init__(self, layer: Layer, copies: bool) -> None:
        self.steps, self.batch, _ = layer.gates.shape
        opened_below = None if layer.z_under is None else layer.z_under != 0
        opened_above = layer.cell.new_zeros(self.steps, self.batch).bool() if layer.z is None else layer.z[:-1] != 0
        self.active = opened_below | opened_above if copies and opened_below is not None else None
        self.opened_below, self.opened_above = opened_below, opened_above

    def active_by_step(self, multiplications: int) -> tuple[Tensor, ...] | None:
        """For each step the rows that are not copied; None if to gather them is not worth it.

        ``multiplications`` of one row's product.
        """
        if self.active is None:
            return None
        counts = self.active.sum(1).tolist()
        saved = self.batch - sum(counts) / self.steps
        if not worth_skipping(saved * multiplications):
            return None
        return self.active.nonzero()[:, 1].split(counts)

    def by_matrix(self, operands: Sequence[Tensor], n: int) -> list[Tensor | None]:
        """For the outer product of n columns with each operand [T B, .] the rows of all steps; None if all of them."""
        rows: list[Tensor | None] = []
        for mask, operand in zip((self.active, self.opened_below, self.opened_above), operands, strict=False):
            found = None if mask is None else mask.flatten().nonzero()[:, 0]
            worth = found is not None and worth_gathering(len(found), len(operand), n, operand.size(1))
            rows.append(found if worth else None)
        return rows


class Products(ABC):
    """The gates' share of Eq. 4 for one layer, with its derivatives; the boundary's column is no part of it."""

    def __init__(self, layers: Sequence[Layer], l: int, weights: Any, dtype: torch.dtype) -> None:
        self.layer = layer = layers[l]
        self.weights, self.dtype = weights, dtype
        self.rows = layer.cell.size(1)
        n = layer.size
        matrices = (weights.recurrent, weights.bottom_up, weights.top_down)
        self.matrices = [m[: 4 * n] for m in matrices if m is not None]
        self.operands = layer.operands[:-1].unbind(0)

    @abstractmethod
    def pre_activations(self, t: int) -> Tensor:
        """[B, 4H], the sum of the gated products of step t; the next call may overwrite it."""

    @abstractmethod
    def operand_gradient(self, gradients: Sequence[Gradients], workspace: Workspace) -> Callable[[int], Tensor]:
        """For one backward pass: t -> the gradient [B, K] of step t's operand, not yet gated."""

    @abstractmethod
    def weight_gradients(self, d: Gradients) -> tuple[Tensor | None, ...]:
        """The gradients of all fields of ``Weights``, in their order, once every step's are known."""

    def _needed(self) -> "Needed | None":
        """Which rows need a product at all; None where they are not looked for."""
        if self.layer.options.boundary == "soft" or self.layer.cell.device.type != "cpu":
            return None
        return Needed(self.layer, self.layer.options.copy)

    def _boundary_row(self, d: Gradients, operands: Tensor) -> Tensor | None:
        """[1, K]: the gradient of the boundary's weights."""
        return None if d.pre_boundary is None else d.pre_boundary.view(1, -1) @ operands

    def _bias_gradient(self, d: Gradients) -> Tensor:
        gates = d.pre.view(-1, 4 * self.layer.size).sum(0)
        if d.pre_boundary is None or len(self.weights.bias) == len(gates):
            return gates
        return torch.cat((gates, d.pre_boundary.sum()[None]))

    def _split(self, full: Tensor) -> tuple[Tensor | None, ...]:
        """[4H (+ 1), K] -> the gradients of the three matrices."""
        sizes = [m.size(1) for m in self.matrices]
        parts = full.split(sizes, 1)
        return parts if len(parts) == 3 else (*parts, None)


class Joint(Products):
    """One product of the whole operand."""

    def __init__(self, layers: Sequence[Layer], l: int, weights: Any, dtype: torch.dtype) -> None:
        super().__init__(layers, l, weights, dtype)
        self.l = l
        self.joint = torch.cat(self.matrices, 1)
        self.multiply = product(self.joint, self.rows, dtype)

    def pre_activations(self, t: int) -> Tensor:
        return self.multiply(self.operands[t])

    def operand_gradient(self, gradients: Sequence[Gradients], workspace: Workspace) -> Callable[[int], Tensor]:
        multiply, dpre = product(self.joint.t(), self.rows, self.dtype), gradients[self.l].pre.unbind(0)
        needed = self._needed()
        rows = None if needed is None else needed.active_by_step(self.joint.numel())
        if rows is None:
            return lambda t: multiply(dpre[t])
        out = self.joint.new_empty(self.rows, self.joint.size(1))
        return lambda t: rows_product(multiply, dpre[t], rows[t], out)

    def weight_gradients(self, d: Gradients) -> tuple[Tensor | None, ...]:
        operands, dpre, needed = self.layer.operands[:-1].flatten(0, 1), d.pre.flatten(0, 1), self._needed()
        parts = operands.split([m.size(1) for m in self.matrices], 1)
        rows = [None for _ in parts] if needed is None else needed.by_matrix(parts, dpre.size(1))
        if all(r is None for r in rows):
            full = outer(dpre, operands, self.dtype)
        else:
            full = torch.cat([outer(dpre, part, self.dtype, r) for part, r in zip(parts, rows, strict=True)], 1)
        row = self._boundary_row(d, operands)
        if row is not None:
            full = torch.cat((full, row))
        return *self._split(full), self._bias_gradient(d), *(None,) * 8


class Normalised(Products):
    """Three products, each normalised over its 4H columns before its boundary gates it (Ba et al. 2016)."""

    def __init__(
        self, layers: Sequence[Layer], l: int, weights: Any, dtype: torch.dtype, workspace: Workspace, keep: bool
    ) -> None:
        super().__init__(layers, l, weights, dtype)
        self.layers, self.l = layers, l
        layer = self.layer
        pairs = (
            (weights.recurrent_gain, weights.recurrent_offset),
            (weights.bottom_up_gain, weights.bottom_up_offset),
            (weights.top_down_gain, weights.top_down_offset),
        )
        self.norms = pairs[: len(self.matrices)]
        self.multiply = [product(m, self.rows, dtype) for m in self.matrices]
        steps = len(self.operands) if keep else 1
        width = 4 * layer.size
        self.raw = [workspace.empty(steps, self.rows, width) for _ in self.matrices]
        self.mean = [workspace.empty(steps, self.rows, 1) for _ in self.matrices]
        self.inverse = [workspace.empty(steps, self.rows, 1) for _ in self.matrices]

    def _sources(self, t: int) -> list[Tensor]:
        """What the products of step t read, before the gates."""
        layer, l = self.layer, self.l
        n, below = layer.size, layer.below
        under = self.layers[l - 1].h(t + 1) if l else self.operands[t][:, n : n + below]
        over = [self.layers[l + 1].h(t)] if layer.above else []
        return [layer.h(t), under, *over]

    def _gates(self, t: int) -> list[Tensor | None]:
        return [None, self.layer.z_below(t), self.layer.z_prev(t)][: len(self.matrices)]

    def pre_activations(self, t: int) -> Tensor:
        slot = t if len(self.raw[0]) > 1 else 0
        pre = None
        for i, (source, gate) in enumerate(zip(self._sources(t), self._gates(t), strict=True)):
            raw = self.raw[i][slot].copy_(self.multiply[i](source.contiguous()))
            normed, mean, inverse = torch.native_layer_norm(raw, raw.shape[1:], *self.norms[i], EPSILON)
            self.mean[i][slot], self.inverse[i][slot] = mean, inverse
            pre = normed if pre is None or gate is None else pre.addcmul_(gate, normed)
        assert pre is not None
        return pre

    def operand_gradient(self, gradients: Sequence[Gradients], workspace: Workspace) -> Callable[[int], Tensor]:
        d, dz_below = gradients[self.l], gradients[self.l - 1].z if self.l else None
        to_gates = (None, dz_below, d.z)
        multiply = [product(m.t(), self.rows, self.dtype) for m in self.matrices]
        self.draw = [workspace.empty(*raw.shape) for raw in self.raw]

        def gradient(t: int) -> Tensor:
            parts = []
            for i in range(len(self.matrices)):
                raw, mean, inverse = self.raw[i][t], self.mean[i][t], self.inverse[i][t]
                gain, offset = self.norms[i]
                draw = torch.ops.aten.native_layer_norm_backward(
                    d.pre[t], raw, raw.shape[1:], mean, inverse, gain, offset, [True, False, False]
                )[0]
                self.draw[i][t] = draw
                parts.append(multiply[i](draw).clone())
                if (to_gate := to_gates[i]) is not None:
                    # The gradient of the gated product times the product itself, as it was normalised.
                    normed = torch.addcmul(offset, (raw - mean) * inverse, gain)
                    to_gate += (d.pre[t] * normed).sum(1)
            return torch.cat(parts, 1)

        return gradient

    def weight_gradients(self, d: Gradients) -> tuple[Tensor | None, ...]:
        layer = self.layer
        operands = layer.operands[:-1].flatten(0, 1)
        row = self._boundary_row(d, operands)
        widths = [m.size(1) for m in self.matrices]
        steps = range(len(self.operands))
        matrices, norms = [], []
        for i, part in enumerate(operands.split(widths, 1)):
            full = outer(self.draw[i].flatten(0, 1), part.contiguous(), self.dtype)
            if row is not None:
                full = torch.cat((full, row[:, sum(widths[:i]) : sum(widths[: i + 1])]))
            matrices.append(full)
            dpre = d.pre
            if i:
                dpre = dpre * torch.stack([(layer.z_below, layer.z_prev)[i - 1](t) for t in steps])
            x = (self.raw[i] - self.mean[i]) * self.inverse[i]
            norms += [(dpre * x).sum((0, 1)), dpre.sum((0, 1))]
        missing = [None] * (3 - len(matrices))
        cell = [None if rows is None else rows.sum(0) for rows in (d.norm_gain, d.norm_offset)]
        return *matrices, *missing, self._bias_gradient(d), *norms, *missing, *missing, *cell


def make_products(
    layers: Sequence[Layer], l: int, weights: Any, dtype: torch.dtype, workspace: Workspace, keep: bool
) -> Products:
    """The products of layer l that the options ask for; ``keep`` what a backward pass needs."""
    if layers[l].options.layer_norm:
        return Normalised(layers, l, weights, dtype, workspace, keep)
    return Joint(layers, l, weights, dtype)
