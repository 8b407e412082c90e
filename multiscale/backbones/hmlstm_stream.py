"""An HM-LSTM that reads one sequence a step at a time, without gradient, and computes of a layer what is due.

The letters are those of :mod:`multiscale.backbones.hmlstm`. Boundaries are hard, so that the operation of a layer is
known before any product of it is made: z_{t-1}^l asks for that with the layer above, z_t^{l-1} for that with the one
below, one of them for that with itself; COPY for none, and FLUSH for no forget gate.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from multiscale.backbones.base import Levels, State, Step, StepTrace, groups
from multiscale.backbones.hmlstm_layer import HMLSTMLayer
from multiscale.nn.layout import by_columns


class Decision(NamedTuple):
    """How a layer came to its boundary."""

    boundary: bool
    probability: float
    open: bool


class LayerStep:
    """One layer's step, from weights that are read once.

    Args:
        layer: the layer, of hard boundaries.
        affine: scale and offset of the score; None at the top, which has none.
        slope: a.
    """

    def __init__(self, layer: HMLSTMLayer, affine: tuple[float, float] | None, slope: float) -> None:
        self.size, self.options, self.affine, self.slope = layer.size, layer.options, affine, slope
        gates, self.cell_norm = 4 * layer.size, layer.cell_norm
        matrices = (layer.recurrent, layer.bottom_up, layer.top_down)
        self.all = [None if w is None else by_columns(w[:gates]).t() for w in matrices], layer.bias[None, :gates]
        first = 0 if layer.options.layer_norm else layer.size  # normalised over all columns, a product is made whole
        self.but_forget = [None if w is None else w[:, first:] for w in self.all[0]], self.all[1][:, first:]
        self.norms = (layer.recurrent_norm, layer.bottom_up_norm, layer.top_down_norm)
        self.rows = () if affine is None else tuple(row.detach() for row in layer.boundary_rows())
        self.change = layer.score if layer.options.source == "change" else None

    def __call__(
        self, reads: Sequence[Tensor | None], due: tuple[bool, bool, bool], cell: Float[Tensor, "1 H"], flush: bool
    ) -> tuple[Float[Tensor, "1 H"], Float[Tensor, "1 H"]]:
        """h and c after an UPDATE or a FLUSH, from what the layer ``reads``, of itself, below and above, where ``due``
        (Eq. 2-7)."""
        weights, pre = self.but_forget if flush else self.all
        for x, weight, norm, wanted in zip(reads, weights, self.norms, due, strict=True):
            if x is not None and weight is not None and wanted:
                pre = torch.addmm(pre, x, weight) if norm is None else pre + norm(x @ weight)
        pre, n = pre.to(cell.dtype), self.size
        *forget, input_gate, output_gate = torch.sigmoid(pre[:, :-n]).chunk(pre.size(1) // n - 1, 1)
        c = input_gate * torch.tanh(pre[:, -n:])
        if not flush:
            c.addcmul_(forget[0], cell)
        return output_gate * torch.tanh(c if self.cell_norm is None else self.cell_norm(c)), c

    def decide(self, reads: Sequence[Tensor | None], due: tuple[bool, bool, bool], h: Tensor, active: bool) -> Decision:
        """The boundary after a step that came to h (Eq. 4, the last row), if the rule for steps that copy leaves it
        open."""
        rule = self.options.copy_boundary
        opened = rule == "recompute" or (due[1] if rule == "nested" else active)
        if self.affine is None or not opened:
            return Decision(False, 0.0, False)
        scale, offset = self.affine
        line = scale * self.score(reads, due, h) + offset
        probability = min(max((self.slope * line + 1) / 2, 0.0), 1.0)
        return Decision(probability > 0.5, probability, True)

    def score(self, reads: Sequence[Tensor | None], due: tuple[bool, bool, bool], h: Tensor) -> float:
        """What the boundary is decided from, but for its bias, see :meth:`HMLSTMLayer.score`."""
        if self.change is not None:
            h_prev, below, above = cast(Sequence[Tensor], reads)
            one = h.new_ones(1, 1)
            return float(self.change(below, one, h_prev, one, above, h))
        if self.options.source == "hidden":
            return float(torch.dot(h[0], self.rows[0]))
        parts = zip(reads, self.rows, due, strict=False)
        return sum(float(torch.dot(x[0], row)) for x, row, wanted in parts if x is not None and wanted)


def stepper(layers: Sequence[HMLSTMLayer], affine: tuple[Tensor, Tensor], slope: float) -> Step:
    """The step of all layers for B = 1, with the scale and offset [L - 1] of their scores."""
    options = layers[0].options
    pairs = [*zip(*(part.tolist() for part in affine), strict=True), None]
    steps = [LayerStep(layer, pair, slope) for layer, pair in zip(layers, pairs, strict=True)]

    def step(x_t: Float[Tensor, "1 D"], state: State) -> tuple[Levels, State, StepTrace]:
        h_prev, c_prev, z_prev = groups(state)
        below, fired = x_t, True
        hs, cs, updated, decided = [], [], [], []
        before = zip(steps, h_prev, c_prev, [*map(bool, z_prev), False], (*h_prev[1:], None), strict=True)
        for layer, h, c, ended, above in before:
            reads, due = (h, below, above), (True, fired, ended)
            active = fired or ended or not options.copy
            if active:
                h, c = layer(reads, due, c, ended and options.flush)
            found = layer.decide(reads, due, h, active)
            below, fired = h, found.boundary
            hs.append(h)
            cs.append(c)
            updated.append(active)
            decided.append(found)
        trace = x_t.new_tensor([[updated], *([told] for told in zip(*decided, strict=True))])
        update, boundary, probability, opened = trace.unbind(0)
        zs = boundary.chunk(len(hs), 1)[:-1]
        return tuple(hs), (tuple(hs), tuple(cs), zs), StepTrace(update, boundary, probability, None, opened)

    return step
