"""One layer of an HM-LSTM at one time step, without its products: forward, backward, and the scatter between layers.

The equations are those of :mod:`multiscale.backbones.hmlstm`; here they are written over buffers of a whole sequence,
with their derivatives by hand. Time is the first index, slot t of a state is the state before step t.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multiscale.kernels.hmlstm.operations import Options, after_copy, operation

EPSILON = 1e-5  # of torch.nn.LayerNorm


@dataclass
class Layer:
    """The buffers of one layer; K = H + H_below (+ H_above where it reads the layer above)."""

    size: int
    below: int
    above: int
    options: Options
    slope: Tensor  # []
    choice_share: Tensor  # [], of the gradient through the choice of operation
    bias: Tensor  # [4H + 1], the boundary's last
    boundary_weight: Tensor  # [K]
    norm_gain: Tensor | None  # [H], of the cell
    norm_offset: Tensor | None
    operands: Tensor  # [T + 1, B, K]: h_{t-1}, z_t^{l-1} h_t^{l-1}, z_{t-1}^l h_{t-1}^{l+1} side by side
    cell: Tensor  # [T + 1, B, H]
    keep: bool  # for a backward pass; if not, gates, decided and surrogate have one slot
    gates: Tensor  # [T, B, 4H], f, i, o, g
    z: Tensor | None  # [T + 1, B]; None at the top
    decided: Tensor | None  # [T, B], the boundary before a COPY step's own rule
    surrogate: Tensor | None  # [T, B], the slope of the straight-through gradient
    threshold: Tensor | None  # [T, B]; None if soft
    z_under: Tensor | None  # [T, B], the boundaries of the layer below; None at the bottom, where they count as 1

    def z_prev(self, t: int) -> Tensor:
        """[B, 1], z_{t-1}^l."""
        return self.cell.new_zeros(self.cell.size(1), 1) if self.z is None else self.z[t, :, None]

    def z_below(self, t: int) -> Tensor:
        """[B, 1], z_t^{l-1}."""
        return self.cell.new_ones(self.cell.size(1), 1) if self.z_under is None else self.z_under[t, :, None]

    def h(self, t: int) -> Tensor:
        """[B, H], the hidden state before step t."""
        return self.operands[t, :, : self.size]

    @property
    def reads_hidden(self) -> bool:
        """Whether boundaries are decided from the new hidden state instead of the operand."""
        return self.options.source == "hidden"


@dataclass
class Gradients:
    """What a backward pass carries and leaves for one layer."""

    h: Tensor  # [B, H], of the state that the next step to be processed left
    c: Tensor  # [B, H]
    z: Tensor | None  # [B]
    pre: Tensor  # [T, B, 4H]
    pre_boundary: Tensor | None  # [T, B]
    scratch: Tensor  # [B, 2, H]
    norm_gain: Tensor | None  # [B, H]
    norm_offset: Tensor | None
    input: Tensor | None  # [T, B, D], of the first layer
    gated: bool  # whether the gradient of the operands holds that of the boundaries that gate them


@dataclass
class NormBuffers:
    """The buffers of one product's normalisation, N = 4H columns, see :mod:`multiscale.kernels.hmlstm.norms`."""

    gain: Tensor  # [N]
    offset: Tensor
    gate: Tensor | None  # [T, B]; None where there is none
    keep: bool  # for a backward pass; if not, raw has one slot
    raw: Tensor  # [T, B, N], the product
    draw: Tensor | None = None  # [T, B, N], its gradient before the gate
    dgate: Tensor | None = None  # [B], added to
    dgain: Tensor | None = None  # [B, N], added to
    doffset: Tensor | None = None


def forward(layers: Sequence[Layer], l: int, t: int, pre: Tensor) -> None:
    """From the products pre [B, 4H] to layer l's state after step t, and into the operands of the layers beside."""
    layer, n = layers[l], layers[l].size
    z_prev, z_below = layer.z_prev(t), layer.z_below(t)
    flush, update, copy = operation(z_prev, z_below, layer.options)
    rewritten = flush + update
    gates = layer.gates[t if layer.keep else 0]
    torch.add(pre, layer.bias[: 4 * n], out=gates)
    gates[:, : 3 * n].sigmoid_()
    gates[:, 3 * n :].tanh_()
    f, i, o, g = gates.split(n, 1)
    c = rewritten * (i * g) + update * f * layer.cell[t] + copy * layer.cell[t]
    layer.cell[t + 1] = c
    h = rewritten * o * torch.tanh(_normalised(layer, c)[0]) + copy * layer.h(t)
    layer.operands[t + 1, :, :n] = h
    _boundary(layer, t, z_prev[:, 0], z_below[:, 0], (flush[:, 0], update[:, 0], copy[:, 0]))
    if layer.z is not None:
        start = layers[l + 1].size
        torch.mul(h, layer.z[t + 1, :, None], out=layers[l + 1].operands[t, :, start : start + n])
    if l and layers[l - 1].above:
        torch.mul(h, z_below, out=layers[l - 1].operands[t + 1, :, -n:])


def _normalised(layer: Layer, c: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What the tanh reads, and with layer norm the normalised cell and its inverse deviation."""
    if layer.norm_gain is None or layer.norm_offset is None:
        return c, None, None
    centred = c - c.mean(1, keepdim=True)
    inverse = torch.rsqrt(centred.square().mean(1, keepdim=True) + EPSILON)
    x = centred * inverse
    return x * layer.norm_gain + layer.norm_offset, x, inverse


def _boundary(layer: Layer, t: int, z_prev: Tensor, z_below: Tensor, operations: tuple[Tensor, Tensor, Tensor]) -> None:
    if layer.z is None or layer.decided is None or layer.surrogate is None:
        return
    read = layer.h(t + 1) if layer.reads_hidden else layer.operands[t]
    score = read @ layer.boundary_weight[: read.size(1)]
    line = (layer.slope * (score + layer.bias[-1]) + 1) / 2
    z = line.clamp(0, 1)
    if layer.threshold is not None:
        z = (z > layer.threshold[t]).to(z.dtype) + (z - z)  # a boundary of NaN must not pass for a 0
    kept = t if layer.keep else 0
    layer.surrogate[kept] = ((line >= 0) & (line <= 1)) * (layer.slope / 2)
    layer.decided[kept] = z
    layer.z[t + 1] = after_copy(z, z_prev, z_below, operations, layer.options)


def backward(layers: Sequence[Layer], gradients: Sequence[Gradients], l: int, t: int) -> None:
    """From the gradients of layer l's state after step t to those of its pre-activations and, but for the products,
    of the state before."""
    layer, d = layers[l], gradients[l]
    z_prev, z_below = layer.z_prev(t), layer.z_below(t)
    flush, update, copy = operation(z_prev, z_below, layer.options)
    rewritten = flush + update
    f, i, o, g = layer.gates[t].split(layer.size, 1)
    c_prev, dh = layer.cell[t], d.h
    dz_below = gradients[l - 1].z if l else None
    of_boundary = _backward_boundary(layer, d, dz_below, t)
    read, x, inverse = _normalised(layer, layer.cell[t + 1])
    tanh_c = torch.tanh(read)
    dread = dh * rewritten * o * (1 - tanh_c * tanh_c)
    dc = d.c + _through_norm(layer, d, dread, x, inverse)
    kept, written = dc * c_prev, rewritten * dc
    to_rewritten = (dh * o * tanh_c + dc * i * g).sum(1)
    to_update = (kept * f).sum(1)
    to_copy = (dh * layer.h(t) + kept).sum(1)
    df, di, do, dg = d.pre[t].split(layer.size, 1)
    torch.mul(update * kept, f * (1 - f), out=df)
    torch.mul(written * g, i * (1 - i), out=di)
    torch.mul(rewritten * dh * tanh_c, o * (1 - o), out=do)
    torch.mul(written * i, 1 - g * g, out=dg)
    torch.mul(dc, update * f + copy, out=d.c)
    dh.mul_(copy)
    _backward_choice(layer, d, dz_below, t, (to_rewritten, to_update, to_copy), of_boundary)


def _through_norm(layer: Layer, d: Gradients, dread: Tensor, x: Tensor | None, inverse: Tensor | None) -> Tensor:
    """The gradient of the cell from that of what the tanh reads."""
    if layer.norm_gain is None or x is None or inverse is None or d.norm_gain is None or d.norm_offset is None:
        return dread
    d.norm_gain += dread * x
    d.norm_offset += dread
    dx = dread * layer.norm_gain
    return inverse * (dx - dx.mean(1, keepdim=True) - x * (dx * x).mean(1, keepdim=True))


def _backward_boundary(layer: Layer, d: Gradients, dz_below: Tensor | None, t: int) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of what the boundary was decided from; returns [B] those that its rule for COPY steps sends to how
    much is rewritten, to how much is copied, and to z_{t-1}^l."""
    none = d.h.new_zeros(len(d.h))
    if layer.decided is None or layer.surrogate is None or d.z is None or d.pre_boundary is None:
        return none, none, none
    dz, found = d.z, (none, none, none)
    if layer.options.copy_boundary == "nested":
        if dz_below is not None:
            dz_below += dz * layer.decided[t]
        dz = dz * layer.z_below(t)[:, 0]
    elif layer.options.copy_boundary != "recompute":
        z_prev = layer.z_prev(t)[:, 0]
        flush, update, copy = operation(z_prev, layer.z_below(t)[:, 0], layer.options)
        hold = layer.options.copy_boundary == "hold"
        found = (dz * layer.decided[t], dz * z_prev if hold else none, copy * dz if hold else none)
        dz = dz * (flush + update)
    d.pre_boundary[t] = dz * layer.surrogate[t]
    if layer.reads_hidden:
        d.h += d.pre_boundary[t, :, None] * layer.boundary_weight[: layer.size]
    return found


def _backward_choice(
    layer: Layer,
    d: Gradients,
    dz_below: Tensor | None,
    t: int,
    through: tuple[Tensor, Tensor, Tensor],
    of_boundary: tuple[Tensor, Tensor, Tensor],
) -> None:
    """What reaches z_{t-1}^l and z_t^{l-1} through the choice of operation.

    ``through`` holds the gradients [B] of how much is rewritten, updated and copied; ``of_boundary`` what the boundary
    adds to the first, the last and that of z_{t-1}^l.
    """
    to_rewritten, to_update, to_copy = through
    more_rewritten, more_copy, dz_prev = of_boundary
    if layer.options.choice == "mix":
        z_prev, z_below = layer.z_prev(t)[:, 0], layer.z_below(t)[:, 0]
        to_update = layer.choice_share * to_update
        against_copy = layer.choice_share * (to_rewritten + more_rewritten - to_copy - more_copy) + to_update
        if layer.options.flush:
            dz_prev = dz_prev - to_update
        if layer.options.copy:
            dz_prev = dz_prev + (1 - z_below) * against_copy
            if dz_below is not None:
                dz_below += (1 - z_prev) * against_copy
    if d.z is not None:
        d.z.copy_(dz_prev)


def scatter(layers: Sequence[Layer], gradients: Sequence[Gradients], l: int, t: int, doperand: Tensor) -> None:
    """From the gradient of layer l's operand [B, K] of step t to those of the states that it was made of."""
    layer, d = layers[l], gradients[l]
    n, below = layer.size, layer.below
    if d.pre_boundary is None or layer.reads_hidden:
        raw = torch.zeros_like(doperand)
    else:
        raw = d.pre_boundary[t, :, None] * layer.boundary_weight
    full = doperand + raw
    through_gate = full if d.gated else raw
    d.h += full[:, :n]
    if d.input is not None:
        d.input[t] = full[:, n : n + below]
    elif (dz_below := gradients[l - 1].z) is not None:
        gradients[l - 1].h += layer.z_below(t) * full[:, n : n + below]
        dz_below += (through_gate[:, n : n + below] * layers[l - 1].h(t + 1)).sum(1)
    if layer.above and d.z is not None:
        gradients[l + 1].h += layer.z_prev(t) * full[:, n + below :]
        d.z += (through_gate[:, n + below :] * layers[l + 1].h(t)).sum(1)
