"""The loop over time and layers in C++: each product is of the rows alone that need it (``sequence.h``).

What a closed gate hides is not multiplied. A row that copies has no gradient of its gates, and its gates themselves
matter to the gradient of the choice of operation alone; they are left out where that ends in boundaries whose surrogate
is 0, and with ``choice="select"`` or ``choice_share=0`` always. With layer norm a product behind a closed gate is what
the gate's gradient is made of, and is multiplied where that is passed on. Nothing is approximated.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from multiscale.kernels.hmlstm import native
from multiscale.kernels.hmlstm.gates import Gradients, Layer
from multiscale.kernels.hmlstm.products import Given, LayerWeights, Plan, bias_gradient, with_boundary
from multiscale.kernels.product import outer, worth_gathering
from multiscale.kernels.workspace import Workspace

_LARGE = 1 << 20  # numbers of a layer's matrices from which torch's products for their gradients are quicker


class Looped:
    """One sequence over the buffers of its layers.

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
        self.steps_back: list[native.LoopStep] = []
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
            norms=self._norms(layer, w, keep, workspace),
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

    def _norms(self, layer: Layer, w: LayerWeights, keep: bool, workspace: Workspace) -> list[native.NormStep]:
        columns, rows = native.padded(4 * layer.size, layer.cell.dtype), (self.length if keep else 1) * self.batch
        return [
            native.NormStep(gain, offset, workspace.empty(rows, columns), workspace.empty(rows))
            for gain, offset in w.product_norms()
        ]

    def _room(self, layer: Layer) -> int:
        """How many numbers the packed matrices are, in either direction."""
        columns, pad = 4 * layer.size, lambda n: native.padded(n, layer.cell.dtype)
        # In bfloat16 two numbers are one, and an odd depth is filled up.
        widths = (layer.size, layer.below, layer.above)
        return sum(max(pad(columns) * (width + 1), pad(width) * columns) for width in widths if width)

    def forward(self) -> None:
        native.Loop("forward", self.layers, self.steps)(self.length)

    def backward(self, gradients: Sequence[Gradients], given: Given, workspace: Workspace) -> None:
        self.steps_back = []
        for layer, w, step, dlevel, dboundary in zip(self.layers, self.weights, self.steps, *given, strict=True):
            if dlevel is not None and dlevel.stride(2) != 1:
                dlevel = dlevel.contiguous()
            columns = sum(native.padded(n, layer.cell.dtype) for n in (layer.size, layer.below, layer.above))
            room = workspace.empty(self.batch, columns)
            dboundary = None if dboundary is None else dboundary.contiguous()
            norms = self._norm_gradients(layer, step, workspace)
            step = step._replace(operand_gradients=room, dlevel=dlevel, dboundary=dboundary, norms=norms)
            if not step.shortened and 4 * layer.size * layer.operands.size(2) < _LARGE:
                recurrent, bottom_up, top_down = (m if m is None else torch.empty_like(m) for m in w[:3])
                step = step._replace(drecurrent=recurrent, dbottom_up=bottom_up, dtop_down=top_down)
            self.steps_back.append(step)
        native.Loop("backward", self.layers, self.steps_back, gradients)(self.length)

    def _norm_gradients(self, layer: Layer, step: native.LoopStep, workspace: Workspace) -> list[native.NormStep]:
        shape, found = (self.batch, 4 * layer.size), []
        for norm in step.norms:
            draw, (dgain, doffset) = workspace.empty(self.length, *shape), layer.cell.new_zeros(2, *shape)
            found.append(norm._replace(draw=draw, dgain=dgain, doffset=doffset))
        return found

    def weight_gradients(self, gradients: Sequence[Gradients]) -> list[tuple[Tensor | None, ...]]:
        return [self._weight_gradients(l, d) for l, d in enumerate(gradients)]

    def _weight_gradients(self, l: int, d: Gradients) -> tuple[Tensor | None, ...]:
        step, count = self.steps_back[l], int(self.steps[l].written[-1])
        sums = [None if rows is None else rows.sum(0) for n in step.norms for rows in (n.dgain, n.doffset)]
        cell = [None if rows is None else rows.sum(0) for rows in (d.norm_gain, d.norm_offset)]
        bias = bias_gradient(d, d.pre.flatten(0, 1)[:count], len(self.weights[l].bias))
        matrices = [step.drecurrent, step.dbottom_up, step.dtop_down]
        if step.drecurrent is None:
            matrices = self._large_products(l, d, step.written_rows[:count])
        return *matrices, bias, *sums, *(None,) * (6 - len(sums)), *cell

    def _large_products(self, l: int, d: Gradients, rows: Tensor) -> list[Tensor | None]:
        """The gradients of the matrices by torch, of these rows of [T B]."""
        layer, norms = self.layers[l], self.steps_back[l].norms
        right = None if len(rows) == self.length * self.batch else rows
        parts = layer.operands[:-1].flatten(0, 1).split([n for n in (layer.size, layer.below, layer.above) if n], 1)
        found = []
        for i, (part, gate) in enumerate(zip(parts, (None, layer.z_under, layer.z), strict=False)):
            full = norms[i].draw if norms else d.pre
            assert full is not None
            dproduct = full.flatten(0, 1)[: len(rows)]
            some = self._opened(gate, rows, *dproduct.shape[1:], *part.shape[1:])
            these = right if some is None else rows[some]
            found.append(outer(dproduct, part, self.plan.product_dtype, some, these))
        return with_boundary(layer, d, torch.cat(found, 1))

    def _opened(self, gate: Tensor | None, rows: Tensor, columns: int, width: int) -> Tensor | None:
        """Those of these rows, by number, that a gate [T, B] or [T + 1, B] is open in; None where all are as quick."""
        if gate is None or not self.plan.skip:
            return None
        found = (gate.flatten()[rows] != 0).nonzero()[:, 0]
        return found if worth_gathering(len(found), len(rows), columns, width) else None
