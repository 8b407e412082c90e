"""The loop over time and layers in C++: each product is of the rows alone that need it (``sequence.h``).

What a closed gate hides is not multiplied. A row that copies has no gradient of its gates, and its gates themselves
matter to the gradient of the choice of operation alone; they are left out where that ends in boundaries whose surrogate
is 0, and with ``choice="select"`` or ``choice_share=0`` always. Nothing is approximated.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from multiscale.kernels.hmlstm import native
from multiscale.kernels.hmlstm.gates import Gradients, Layer
from multiscale.kernels.hmlstm.products import Given, LayerWeights, Plan, bias_gradient, with_boundary
from multiscale.kernels.product import outer, worth_gathering
from multiscale.kernels.workspace import Workspace


class Looped:
    """One sequence over the buffers of its layers, without layer norm.

    ``keep``: whether a backward pass will follow; ``first_z``: for which boundaries before the first step it is asked.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        weights: Sequence[LayerWeights],
        plan: Plan,
        keep: bool,
        first_z: Sequence[bool],
        workspace: Workspace,
    ) -> None:
        self.layers, self.weights, self.plan = layers, weights, plan
        self.length, self.batch = len(layers[0].operands) - 1, layers[0].cell.size(1)
        self.steps: list[native.LoopStep] = []
        for layer, w, asked in zip(layers, weights, (*first_z, False), strict=True):
            self.steps.append(self._step(layer, w, asked, keep, workspace))

    def _step(self, layer: Layer, w: LayerWeights, asked: bool, keep: bool, workspace: Workspace) -> native.LoopStep:
        like, rows = layer.cell, self.length * self.batch

        def whole(n: int) -> Tensor:
            return torch.empty(n, dtype=torch.int64)

        marks = keep and layer.z is not None
        return native.LoopStep(
            skip=self.plan.skip,
            shortened=self.plan.product_dtype != like.dtype,
            first_z_matters=asked,
            recurrent=w.recurrent.contiguous(),
            bottom_up=w.bottom_up.contiguous(),
            top_down=None if w.top_down is None else w.top_down.contiguous(),
            packed=workspace.empty(self._room(layer)),
            products=workspace.empty(self.batch, native.padded(4 * layer.size, like.dtype)),
            operand_gradients=None,
            alive=torch.empty(self.length + 1, self.batch, dtype=torch.bool) if marks else None,
            alive_below=self.steps[-1].alive if self.steps else None,
            written=whole(self.length + 1),
            written_rows=whole(rows),
            compared=whole(self.length + 1),
            compared_rows=whole(rows),
            slots=whole(self.batch),
        )

    def _room(self, layer: Layer) -> int:
        """How many numbers the packed matrices are, in either direction."""
        columns, pad = 4 * layer.size, lambda n: native.padded(n, layer.cell.dtype)
        # In bfloat16 two numbers are one, and an odd depth is filled up.
        widths = (layer.size, layer.below, layer.above)
        return sum(max(pad(columns) * (width + 1), pad(width) * columns) for width in widths if width)

    def forward(self) -> None:
        native.Loop("forward", self.layers, self.steps)(self.length)

    def backward(self, gradients: Sequence[Gradients], given: Given, workspace: Workspace) -> None:
        steps = []
        for layer, step, dlevel, dboundary in zip(self.layers, self.steps, *given, strict=True):
            if dlevel is not None and dlevel.stride(2) != 1:
                dlevel = dlevel.contiguous()
            columns = sum(native.padded(n, layer.cell.dtype) for n in (layer.size, layer.below, layer.above))
            room = workspace.empty(self.batch, columns)
            dboundary = None if dboundary is None else dboundary.contiguous()
            steps.append(step._replace(operand_gradients=room, dlevel=dlevel, dboundary=dboundary))
        native.Loop("backward", self.layers, steps, gradients)(self.length)

    def weight_gradients(self, gradients: Sequence[Gradients]) -> list[tuple[Tensor | None, ...]]:
        return [self._weight_gradients(l, d) for l, d in enumerate(gradients)]

    def _weight_gradients(self, l: int, d: Gradients) -> tuple[Tensor | None, ...]:
        layer, weights, dtype = self.layers[l], self.weights[l], self.plan.product_dtype
        rows = self.steps[l].written_rows[: int(self.steps[l].written[-1])]
        dpre, operands = d.pre.flatten(0, 1)[: len(rows)], layer.operands[:-1].flatten(0, 1)
        right = None if len(rows) == len(operands) else rows
        gates = ((layer.z_under, layer.below), (layer.z, layer.above))
        opened = [self._opened(gate, rows, dpre.size(1), width) for gate, width in gates]
        if all(some is None for some in opened):
            full = outer(dpre, operands, dtype, None, right)
        else:
            parts = operands.split([n for n in (layer.size, layer.below, layer.above) if n], 1)
            found = [
                outer(dpre, part, dtype, some, right if some is None else rows[some])
                for part, some in zip(parts, (None, *opened), strict=False)
            ]
            full = torch.cat(found, 1)
        return *with_boundary(layer, d, full), bias_gradient(d, dpre, len(weights.bias)), *(None,) * 8

    def _opened(self, gate: Tensor | None, rows: Tensor, columns: int, width: int) -> Tensor | None:
        """Those of these rows, by number, that a gate [T, B] or [T + 1, B] is open in; None where all are as quick."""
        if gate is None or not width or not self.plan.skip:
            return None
        found = (gate.flatten()[rows] != 0).nonzero()[:, 0]
        return found if worth_gathering(len(found), len(rows), columns, width) else None
