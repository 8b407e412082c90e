"""The products of one layer of an HM-LSTM over a sequence: forward, to the operands, and to the weights.

Without layer norm the three products of a step are one, of the operand side by side. With it each is normalised apart,
before its gate, so there are three (:mod:`multiscale.kernels.hmlstm.norms`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from multiscale.kernels.hmlstm.gates import Gradients, Layer
from multiscale.kernels.hmlstm.operations import Options
from multiscale.kernels.hmlstm.rows import OpenRows
from multiscale.kernels.product import Multiply, outer, product, rows_product
from multiscale.kernels.workspace import Workspace

Given = tuple[Sequence[Tensor | None], Sequence[Tensor | None]]
"""The gradients of the levels [B, T, H] and of the boundaries [T + 1, B], none of them of the top layer."""


class Plan(NamedTuple):
    """What is not a tensor: the options, in what precision to multiply, and whose gates to use."""

    options: Options
    product_dtype: torch.dtype
    native: bool
    skip: bool = True  # leave out products that a closed gate hides; false to measure what that saves
    triton: bool = False  # the whole loop in Triton


class LayerWeights(NamedTuple):
    """The parameters of one layer, in the layout of ``backbones.hmlstm_layer.HMLSTMLayer``; norms are gain, offset."""

    recurrent: Tensor
    bottom_up: Tensor
    top_down: Tensor | None
    bias: Tensor
    recurrent_gain: Tensor | None
    recurrent_offset: Tensor | None
    bottom_up_gain: Tensor | None
    bottom_up_offset: Tensor | None
    top_down_gain: Tensor | None
    top_down_offset: Tensor | None
    cell_gain: Tensor | None
    cell_offset: Tensor | None

    def product_norms(self) -> list[tuple[Tensor, Tensor]]:
        """Gain and offset of each product that is normalised, in their order."""
        gains = (self.recurrent_gain, self.bottom_up_gain, self.top_down_gain)
        offsets = (self.recurrent_offset, self.bottom_up_offset, self.top_down_offset)
        pairs = zip(gains, offsets, strict=True)
        return [(gain, offset) for gain, offset in pairs if gain is not None and offset is not None]

    def rescaled(self, scale: Tensor, offset: Tensor) -> "LayerWeights":
        """The same with the boundary's row times ``scale`` [] and its bias ``offset`` []."""
        rows = torch.cat((scale.new_ones(len(self.recurrent) - 1), scale[None]))[:, None]
        # Matrices without the boundary's row are one row shorter.
        below = self.bottom_up * rows[: len(self.bottom_up)]
        above = None if self.top_down is None else self.top_down * rows[: len(self.top_down)]
        bias = torch.cat((self.bias[: len(rows) - 1], offset[None]))
        return self._replace(recurrent=self.recurrent * rows, bottom_up=below, top_down=above, bias=bias)


class LayerProducts(ABC):
    """The gates' share of Eq. 4 for layer l, with its derivatives; the boundary's column is no part of it.

    ``keep``: whether a backward pass will follow.
    """

    def __init__(self, layers: Sequence[Layer], l: int, weights: LayerWeights, plan: Plan, keep: bool) -> None:
        self.layers, self.l, self.layer = layers, l, layers[l]
        self.weights, self.dtype = weights, plan.product_dtype
        self.batch, self.columns = self.layer.cell.size(1), 4 * self.layer.size
        matrices = (weights.recurrent, weights.bottom_up, weights.top_down)
        self.matrices = [m[: self.columns] for m in matrices if m is not None]
        self.widths = [m.size(1) for m in self.matrices]
        self.operands = self.layer.operands[:-1].unbind(0)
        self.rows = OpenRows(self.layer, self.widths, plan.skip, every_gate=keep)

    @abstractmethod
    def pre_activations(self, t: int) -> Tensor:
        """[B, 4H], the sum of the gated products of step t; the next call may overwrite it."""

    @abstractmethod
    def operand_gradient(self, gradients: Sequence[Gradients], workspace: Workspace) -> Callable[[int], Tensor]:
        """For one backward pass: t -> the gradient [B, K] of step t's operand, not yet gated; the next call may
        overwrite it."""

    @abstractmethod
    def weight_gradients(self, d: Gradients) -> tuple[Tensor | None, ...]:
        """The gradients of all fields of ``LayerWeights``, in their order, once every step's are known."""

    def matrix_gradients(self, d: Gradients, dproducts: Sequence[Tensor]) -> list[Tensor | None]:
        """The gradients of the three matrices from those of their products, each [T, B, 4H], before its gate."""
        operands = self.layer.operands[:-1].flatten(0, 1)
        parts = operands.split(self.widths, 1)
        found = [
            outer(dproduct.flatten(0, 1), part, self.dtype, rows, rows)
            for dproduct, part, rows in zip(dproducts, parts, self.rows.of_sequence(), strict=True)
        ]
        return with_boundary(self.layer, d, torch.cat(found, 1))

    def bias_gradient(self, d: Gradients) -> Tensor:
        return bias_gradient(d, d.pre.view(-1, self.columns), len(self.weights.bias))


def with_boundary(layer: Layer, d: Gradients, full: Tensor) -> list[Tensor | None]:
    """[4H, K] and the boundary's row below it, apart for the three matrices."""
    operands = layer.operands[:-1].flatten(0, 1)
    if d.pre_boundary is not None and not layer.reads_hidden:
        full = torch.cat((full, d.pre_boundary.view(1, -1) @ operands))
    recurrent, *parts = full.split([n for n in (layer.size, layer.below, layer.above) if n], 1)
    if d.pre_boundary is not None and layer.reads_hidden:
        states = layer.operands[1:, :, : layer.size].flatten(0, 1)
        recurrent = torch.cat((recurrent, d.pre_boundary.view(1, -1) @ states))
    return [recurrent, *parts, None][:3]


def bias_gradient(d: Gradients, dpre: Tensor, size: int) -> Tensor:
    """From dpre [R, 4H], of all rows in which it is not zero."""
    gates = dpre.sum(0)
    if d.pre_boundary is None or size == len(gates):
        return gates
    return torch.cat((gates, d.pre_boundary.sum()[None]))


class Joint(LayerProducts):
    """One product of the whole operand, or, where gates are closed in many rows, one for each gate."""

    def __init__(self, layers: Sequence[Layer], l: int, weights: LayerWeights, plan: Plan, keep: bool) -> None:
        super().__init__(layers, l, weights, plan, keep)
        self.joint = torch.cat(self.matrices, 1)
        self.multiply = product(self.joint, self.batch, self.dtype)
        self.always = 0  # how many of the first matrices are multiplied in every row, if gathering
        self.apart: list[Multiply] = []

    def pre_activations(self, t: int) -> Tensor:
        rows = self.rows.of_step(t)
        if rows is None:
            return self.multiply(self.operands[t])
        if not self.apart:
            self._prepare(rows)
        parts = self.operands[t].split(self.widths, 1)
        if self.always:
            pre = self.apart[0](self.operands[t][:, : sum(self.widths[: self.always])])
        else:
            pre = self.joint.new_zeros(self.batch, self.columns)
        for multiply, part, some in zip(self.apart[1:], parts[self.always :], rows[self.always :], strict=True):
            if some is not None and len(some):
                pre.index_add_(0, some, multiply(part.index_select(0, some)))
        return pre

    def _prepare(self, rows: Sequence[Tensor | None]) -> None:
        self.always = sum(some is None for some in rows)
        first = torch.cat(self.matrices[: max(1, self.always)], 1)
        self.apart = [product(m, self.batch, self.dtype) for m in (first, *self.matrices[self.always :])]

    def operand_gradient(self, gradients: Sequence[Gradients], workspace: Workspace) -> Callable[[int], Tensor]:
        multiply, dpre = product(self.joint.t(), self.batch, self.dtype), gradients[self.l].pre.unbind(0)
        rows = self.rows.active_by_step()
        if rows is None:
            return lambda t: multiply(dpre[t])
        out = self.joint.new_empty(self.batch, self.joint.size(1))
        return lambda t: rows_product(multiply, dpre[t], rows[t], out)

    def weight_gradients(self, d: Gradients) -> tuple[Tensor | None, ...]:
        if any(rows is not None for rows in self.rows.of_sequence()):
            matrices = self.matrix_gradients(d, [d.pre for _ in self.matrices])
        else:
            operands = self.layer.operands[:-1].flatten(0, 1)
            matrices = with_boundary(self.layer, d, outer(d.pre.flatten(0, 1), operands, self.dtype))
        return *matrices, self.bias_gradient(d), *(None,) * 8
