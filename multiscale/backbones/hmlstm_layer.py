"""One layer of an HM-LSTM at one step: Eq. 2-7 of Chung, Ahn, Bengio 2016 (arXiv 1609.01704), in the letters of
:mod:`multiscale.backbones.hmlstm`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.kernels.hmlstm.decisions import Rows
from multiscale.kernels.hmlstm.operations import Options, after_copy, is_open, operation
from multiscale.kernels.hmlstm.products import LayerWeights
from multiscale.nn.straight_through import hard_sigmoid, scale_gradient, step_boundary
from multiscale.nn.zoneout import zone_out_each

SMALLEST = 1e-3  # norm of a state that has a direction


class HMLSTMLayer(nn.Module):
    """One layer of an HM-LSTM; ``above_size`` is None for the top one, which has no boundary to detect."""

    def __init__(
        self,
        below_size: int,
        size: int,
        above_size: int | None,
        options: Options,
        row_gain: float = 1.0,
        reach: float = 0.0,
    ) -> None:
        super().__init__()
        self.row_gain, self.reach = row_gain, reach
        self.size, self.above = size, above_size
        self.options = options
        gates, row = 4 * size, int(above_size is not None)  # one row more detects boundaries
        beside = gates + row * (options.source == "preact")
        self.recurrent = nn.Parameter(torch.empty(gates + row * (options.source != "change"), size))
        self.bottom_up = nn.Parameter(torch.empty(beside, below_size))
        reads_above = above_size is not None and options.top_down
        self.top_down = (
            nn.Parameter(torch.empty(beside, above_size)) if above_size is not None and reads_above else None
        )
        self.bias = nn.Parameter(torch.empty(gates + row * options.boundary_bias))
        compares = row and options.source == "change"
        self.query = nn.Parameter(torch.empty(size, size)) if compares else None
        self.key = nn.Parameter(torch.empty(size, size)) if compares else None
        normed = options.layer_norm
        self.recurrent_norm = nn.LayerNorm(4 * size) if normed else None
        self.bottom_up_norm = nn.LayerNorm(4 * size) if normed else None
        self.top_down_norm = nn.LayerNorm(4 * size) if normed and reads_above else None
        self.cell_norm = nn.LayerNorm(size) if normed else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start the weights as ``init`` says, the boundary's ``row_gain`` times as large, the forget gate's bias at
        ``forget_bias`` and the others at 0."""
        weights = [w for w in (self.recurrent, self.bottom_up, self.top_down) if w is not None]
        for weight in weights:
            for gate in weight.split(self.size):
                if self.options.init == "uniform":
                    nn.init.uniform_(gate, -(self.size**-0.5), self.size**-0.5)
                elif weight is self.recurrent and len(gate) == self.size:
                    nn.init.orthogonal_(gate)
                else:
                    nn.init.xavier_uniform_(gate)
            weight[4 * self.size :] *= self.row_gain
        self.bias.zero_()[: self.size].fill_(self.options.forget_bias)
        if self.query is not None and self.key is not None:
            nn.init.eye_(self.query)
            nn.init.eye_(self.key)

    def extra_repr(self) -> str:
        return f"below={self.bottom_up.size(1)}, size={self.size}, above={self.above}"

    def weights(self) -> LayerWeights:
        """The parameters as the kernel takes them."""
        norms = (self.recurrent_norm, self.bottom_up_norm, self.top_down_norm, self.cell_norm)
        pairs = [(None, None) if norm is None else (norm.weight, norm.bias) for norm in norms]
        matrices = (self.recurrent, self.bottom_up, self.top_down)
        return LayerWeights(*matrices, self.bias, *(tensor for pair in pairs for tensor in pair))

    def boundary_rows(self) -> Rows:
        """The last rows of the weights of a layer that detects; one of [1] on its score if that is a change."""
        if self.options.source == "change":
            return (self.bias.new_ones(1),)
        beside = () if self.options.source == "hidden" else (self.bottom_up, self.top_down)
        return tuple(w[-1] for w in (self.recurrent, *beside) if w is not None)

    def pre_activations(
        self, below: Tensor, z_below: Tensor, h_prev: Tensor, z_prev: Tensor, above: Tensor | None
    ) -> Tensor:
        """[B, 4H], the gates' rows of the sum in Eq. 4: three products, each gated by its boundary (Eq. 5-7)."""
        pre = self.product(h_prev, self.recurrent, self.recurrent_norm)
        pre = pre + z_below * self.product(below, self.bottom_up, self.bottom_up_norm)
        if self.top_down is not None and above is not None:
            pre = pre + z_prev * self.product(above, self.top_down, self.top_down_norm)
        # Under autocast the products are short; what follows is as wide as the state.
        return (pre + self.bias[: 4 * self.size]).to(h_prev.dtype)

    def product(self, x: Tensor, weight: Tensor, norm: nn.Module | None) -> Tensor:
        y = F.linear(x, weight[: 4 * self.size])
        return y if norm is None else norm(y)

    def score(self, below: Tensor, z_below: Tensor, h_prev: Tensor, z_prev: Tensor, above: Tensor, h: Tensor) -> Tensor:
        """[B, 1], what the boundary is decided from, but for its bias, in the state's own precision: the last row of
        Eq. 4, or by ``source`` what is described at :class:`multiscale.backbones.hmlstm.HMLSTM`."""
        with torch.autocast(h.device.type, enabled=False):
            if self.query is not None and self.key is not None:
                queried, key = F.linear(h_prev, self.query), F.linear(h, self.key)
                return -F.cosine_similarity(queried, key, eps=SMALLEST)[:, None]
            rows = [row[None] for row in self.boundary_rows()]
            if self.options.source == "hidden":
                return F.linear(h, rows[0])
            found = F.linear(h_prev, rows[0]) + z_below * F.linear(below, rows[1])
            return found if rows[2:] == [] else found + z_prev * F.linear(above, rows[2])

    def forward(
        self,
        below: Float[Tensor, "B _"],
        z_below: Float[Tensor, "B 1"],
        h_prev: Float[Tensor, "B H"],
        c_prev: Float[Tensor, "B H"],
        z_prev: Float[Tensor, "B 1"],
        above: Float[Tensor, "B _"] | None,
        affine: tuple[Tensor, Tensor],
        slope: Tensor,
        threshold: Tensor | None,
    ) -> tuple[
        Float[Tensor, "B H"],
        Float[Tensor, "B H"],
        Float[Tensor, "B 1"],
        Float[Tensor, "B 1"],
        Float[Tensor, "B 1"],
        Float[Tensor, "B 1"],
        Float[Tensor, "B 1"],
    ]:
        """h, c [B, H], z [B, 1], how much was rewritten [B, 1], z before its threshold, the score that it was decided
        from, which passes on a share of its gradient alone, and whether it was; no z but 0 at the top."""
        pre = self.pre_activations(below, z_below, h_prev, z_prev, above)  # Eq. 5-7, and the sum in Eq. 4
        forget, input_gate, output_gate = torch.sigmoid(pre[:, : 3 * self.size]).chunk(3, 1)  # Eq. 4
        candidate = torch.tanh(pre[:, 3 * self.size :])  # Eq. 4
        flush, update, copy = operation(z_prev, z_below, self.options)  # the cases of Eq. 2 and 3
        rewritten = flush + update

        new = input_gate * candidate
        c = rewritten * new + update * forget * c_prev + copy * c_prev  # Eq. 2
        read = c if self.cell_norm is None else self.cell_norm(c)
        h = rewritten * output_gate * torch.tanh(read) + copy * h_prev  # Eq. 3
        rates = (self.options.zoneout, self.options.zoneout_c)
        h, c = zone_out_each((h, c), (h_prev, c_prev), rates, self.training)
        if above is None:
            zero = torch.zeros_like(z_prev)
            return h, c, zero, rewritten, zero, zero, zero

        score, (scale, offset) = self.score(below, z_below, h_prev, z_prev, above, h), affine
        probability = hard_sigmoid(scale * score + offset, slope)  # Eq. 4, the last row
        z = probability if threshold is None else step_boundary(probability, threshold)  # f_bound
        operations = (flush, update, copy)
        z, probability = (after_copy(p, z_prev, z_below, operations, self.options) for p in (z, probability))
        if torch.is_grad_enabled():
            below, h_prev, above, held = (scale_gradient(part, self.reach) for part in (below, h_prev, above, h))
            score = self.score(below, z_below.detach(), h_prev, z_prev.detach(), above, held)
        return h, c, z, rewritten, probability, score, is_open(z_below, operations, self.options)
