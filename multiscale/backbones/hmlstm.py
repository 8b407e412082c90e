"""Hierarchical multiscale LSTM (Chung, Ahn, Bengio 2016, arXiv 1609.01704).

| symbol          | variable              | shape                                                        |
|-----------------|-----------------------|--------------------------------------------------------------|
| h_t^l, c_t^l    | h[l], c[l]            | [B, H_l], hidden and cell state of layer l                   |
| z_t^l           | z[l]                  | [B, 1], boundary: 1 where layer l ends a segment; none at the top |
| U_l^l           | layer.recurrent       | [4 H_l + 1, H_l], on h_{t-1}^l; top layer [4 H_l, H_l]       |
| U_{l+1}^l       | layer.top_down        | [4 H_l + 1, H_{l+1}], on z_{t-1}^l h_{t-1}^{l+1}; none at the top |
| W_{l-1}^l       | layer.bottom_up       | [4 H_l + 1, H_{l-1}], on z_t^{l-1} h_t^{l-1}; z^0 = 1, h^0 = x |
| b^l             | layer.bias            | [4 H_l + 1]                                                  |
| f, i, o, g      | forget, input_gate, output_gate, candidate | [B, H_l], the first 4 H_l columns in this order |
| a               | slope                 | [], of the hard sigmoid                                      |
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, State, StepTrace, choose_kernel
from multiscale.checks import positive_int, sizes
from multiscale.nn.schedules import Linear, Schedule
from multiscale.nn.straight_through import hard_sigmoid, step_boundary


class HMLSTM(Backbone):
    """Layers that update, copy or flush their cell by the boundaries that they and the layer below detect.

    With (z_{t-1}^l, z_t^{l-1}) and the gates of layer l (Eq. 2-7):
    UPDATE (0, 1): c = f c_{t-1} + i g; COPY (0, 0): c = c_{t-1}, h = h_{t-1}; FLUSH (1, .): c = i g;
    h = o tanh(c) unless copied. The three are mixed arithmetically, so that the boundaries get gradient through the
    choice as well as through the products they gate.

    Args:
        input_size: D, units of the input.
        hidden_size: H_l, one number for all layers or one for each, fastest first.
        num_layers: L.
        slope: slope a of the boundary's hard sigmoid at an epoch; the paper's is min(5, 1 + 0.04 epoch).
        kernel: ``auto`` or ``reference``.

    Raises:
        InvalidInput: for sizes below 1 or an unknown kernel.
    """

    slope: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 3,
        slope: Schedule | None = None,
        kernel: str = "auto",
    ) -> None:
        positive_int("input_size", input_size)
        super().__init__(input_size, sizes("hidden_size", hidden_size, positive_int("num_layers", num_layers)))
        self.kernel = choose_kernel("HMLSTM", kernel, {"reference": None})
        below = (input_size, *self.level_sizes[:-1])
        above = (*self.level_sizes[1:], None)
        self.layers = nn.ModuleList(
            HMLSTMLayer(below_size, size, above_size)
            for below_size, size, above_size in zip(below, self.level_sizes, above, strict=True)
        )
        self.slope_schedule = slope or Linear()
        self.register_buffer("slope", torch.tensor(float(self.slope_schedule(0.0))))

    def anneal(self, epoch: float) -> None:
        self.slope.fill_(self.slope_schedule(epoch))

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, c, z): L, L and L - 1 tensors of zeros."""
        h, c = (tuple(torch.zeros(batch_size, n, device=device, dtype=dtype) for n in self.level_sizes) for _ in "hc")
        z = tuple(torch.zeros(batch_size, 1, device=device, dtype=dtype) for _ in self.level_sizes[:-1])
        return h, c, z

    def step(self, x_t: Tensor, state: State) -> tuple[tuple[Tensor, ...], State, StepTrace]:
        h_prev, c_prev, z_prev = state
        one, zero = x_t.new_ones(len(x_t), 1), x_t.new_zeros(len(x_t), 1)
        below, z_below = x_t, one
        hs, cs, zs, updates = [], [], [], []
        for l, layer in enumerate(self.layers):
            top = l == len(self.layers) - 1
            z_last = zero if top else z_prev[l]
            above = None if top else h_prev[l + 1]
            h, c, z, update = layer(below, z_below, h_prev[l], c_prev[l], z_last, above, self.slope)
            below, z_below = h, zero if z is None else z
            hs.append(h)
            cs.append(c)
            zs.append(z_below)
            updates.append(update)
        trace = StepTrace(torch.cat(updates, 1).detach(), torch.cat(zs, 1).detach())
        return tuple(hs), (tuple(hs), tuple(cs), tuple(zs[:-1])), trace


class HMLSTMLayer(nn.Module):
    """One layer of an :class:`HMLSTM`; ``above_size`` is None for the top one, which has no boundary to detect.

    The recurrent weights of each gate start orthogonal, the others Glorot-uniform, biases at 0 and the forget
    gate's at 1.
    """

    def __init__(self, below_size: int, size: int, above_size: int | None) -> None:
        super().__init__()
        self.size = size
        rows = 4 * size + (above_size is not None)
        self.recurrent = nn.Parameter(torch.empty(rows, size))
        self.bottom_up = nn.Parameter(torch.empty(rows, below_size))
        self.top_down = None if above_size is None else nn.Parameter(torch.empty(rows, above_size))
        self.bias = nn.Parameter(torch.zeros(rows))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for gate in self.recurrent.split(self.size):
            nn.init.orthogonal_(gate) if len(gate) > 1 else nn.init.xavier_uniform_(gate)
        for weight in (self.bottom_up, self.top_down):
            for gate in () if weight is None else weight.split(self.size):
                nn.init.xavier_uniform_(gate)
        self.bias.zero_()[: self.size].fill_(1.0)

    def forward(
        self,
        below: Tensor,
        z_below: Tensor,
        h_prev: Tensor,
        c_prev: Tensor,
        z_prev: Tensor,
        above: Tensor | None,
        slope: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """h, c [B, H], z [B, 1] (None at the top) and how much was rewritten [B, 1]."""
        pre = F.linear(h_prev, self.recurrent, self.bias) + z_below * F.linear(below, self.bottom_up)
        if self.top_down is not None and above is not None:
            pre = pre + z_prev * F.linear(above, self.top_down)
        gates, boundary = pre[:, : 4 * self.size], pre[:, 4 * self.size :]
        forget, input_gate, output_gate = torch.sigmoid(gates[:, : 3 * self.size]).chunk(3, 1)
        candidate = torch.tanh(gates[:, 3 * self.size :])

        flush, update = z_prev, (1 - z_prev) * z_below
        copy = (1 - z_prev) * (1 - z_below)
        new = input_gate * candidate
        c = flush * new + update * (forget * c_prev + new) + copy * c_prev
        h = (flush + update) * output_gate * torch.tanh(c) + copy * h_prev
        z = None if self.top_down is None else step_boundary(hard_sigmoid(boundary, slope))
        return h, c, z, flush + update
