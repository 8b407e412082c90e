"""A whole sequence of an HM-LSTM as one function with a backward pass by hand.

Time-major buffers hold every layer's operand [h_{t-1}, z_t^{l-1} h_t^{l-1}, z_{t-1}^l h_{t-1}^{l+1}]; what follows its
product is elementwise (:mod:`multiscale.kernels.hmlstm.gates`, or the same in C++), and writes straight into the
operands of the next step and of the layers beside. The backward pass leaves the gradients of the pre-activations, and
each weight matrix gets its gradient in one product at the end. The boundary's column is a dot product apart, always in
the state's own precision. The loop over time is in C++ too (:mod:`multiscale.kernels.hmlstm.looped`), but in Python
(:mod:`multiscale.kernels.hmlstm.stepped`) for torch's gates, and in a short precision that the processor does not
multiply. In Triton it is one kernel each way (:mod:`multiscale.kernels.hmlstm.triton_loop`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from multiscale.checks import InvalidInput
from multiscale.kernels.hmlstm import native
from multiscale.kernels.hmlstm.gates import Gradients, Layer
from multiscale.kernels.hmlstm.looped import Looped
from multiscale.kernels.hmlstm.operations import Options, operation
from multiscale.kernels.hmlstm.products import LayerWeights, Plan
from multiscale.kernels.hmlstm.stepped import Stepped
from multiscale.kernels.hmlstm.triton_loop import Launched
from multiscale.kernels.workspace import Workspace

FORMAT = torch.contiguous_format


class Output(NamedTuple):
    levels: tuple[Float[Tensor, "B T _"], ...]  # L of [B, T, H_l]
    h: tuple[Float[Tensor, "B _"], ...]  # L of [B, H_l], after the last step
    c: tuple[Float[Tensor, "B _"], ...]
    z: tuple[Float[Tensor, "B 1"], ...]  # L - 1 of them
    boundaries: tuple[Float[Tensor, "_ B"], ...]  # L - 1 of [T + 1, B], slot t before step t


def plan(options: Options, x: Tensor, dtype: torch.dtype, kernel: str, skip: bool = True) -> Plan:
    """What of the ``kernel`` runs on x, for parameters of ``dtype``: whose gates, and in what precision the products.

    Raises:
        InvalidInput: if x is not of that type.
    """
    if x.dtype != dtype:
        raise InvalidInput(f"x must be of the parameters' type, {dtype}; got {x.dtype}.")
    short = torch.is_autocast_enabled(x.device.type)
    product_dtype = torch.get_autocast_dtype(x.device.type) if short else dtype
    return Plan(options, product_dtype, kernel == "native", skip, kernel == "triton")


def trace(
    boundaries: Sequence[Float[Tensor, "_ B"]], x: Float[Tensor, "B T D"], options: Options
) -> tuple[Float[Tensor, "B T L"], Float[Tensor, "B T L"]]:
    """How much each layer rewrote and where it ended a segment, [B, T, L], from z [T + 1, B] of all but the top one."""
    zero, one = x.new_zeros(x.size(1) + 1, x.size(0)), x.new_ones(x.size(1), x.size(0))
    zs, below = (*boundaries, zero), (one, *(z[1:] for z in boundaries))
    updates = [1 - operation(z[:-1], b, options)[2] for z, b in zip(zs, below, strict=True)]
    ended = torch.stack([z[1:] for z in zs], -1) > 0.5
    return torch.stack(updates, -1).transpose(0, 1), ended.to(x.dtype).transpose(0, 1)


def sequence(
    x: Float[Tensor, "B T D"],
    state: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]],
    weights: Sequence[LayerWeights],
    slope: Float[Tensor, ""],
    thresholds: Float[Tensor, "_ T B"] | None,
    plan: Plan,
) -> Output:
    """x [B, T, D] and (h, c, z) to the hidden sequences of all layers and the state after them.

    thresholds [L - 1, T, B]: what the hard sigmoid must exceed for a boundary; None for soft boundaries. Differentiable
    once, in x, the state and the weights.
    """
    h, c, z = state
    count = len(weights)
    flat = [*h, *c, *z, *(tensor for layer in weights for tensor in layer)]
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *flat))
    out = _Sequence.apply(plan, keep, count, x, slope, thresholds, *flat)
    ends = [count, 2 * count, 3 * count, 4 * count - 1, 5 * count - 2]
    levels, h, c, z, boundaries = (tuple(out[i:j]) for i, j in zip([0, *ends], ends, strict=False))
    return Output(levels, h, c, z, boundaries)


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, plan: Plan, keep: bool, count: int, x: Tensor, slope: Tensor, thresholds: Any, *flat: Tensor
    ) -> tuple[Tensor, ...]:
        h, c, z, weights = _unflatten(flat, count)
        workspace = Workspace(x)
        with torch.autocast(x.device.type, enabled=False):
            layers = _layers(plan, x, slope, thresholds, (h, c, z), weights, workspace, keep)
            loop: Stepped | Looped | Launched
            if plan.triton:
                loop = Launched(layers, weights, plan, keep)
            elif plan.native and native.multiplies(x.dtype, plan.product_dtype):
                loop = Looped(
                    layers, weights, plan, keep, ctx.needs_input_grad[6 + 2 * count : 5 + 3 * count], workspace
                )
            else:
                loop = Stepped(layers, weights, plan, keep, workspace)
            loop.forward()
        ctx.set_materialize_grads(False)
        if keep:
            ctx.layers, ctx.loop, ctx.workspace = layers, loop, workspace
            # Saved so that autograd notices if a weight is written to before the backward pass reads it.
            ctx.save_for_backward(*flat)
        # The operands are the workspace's, so what leaves is a copy.
        levels = [l.operands[1:, :, : l.size].transpose(0, 1).clone(memory_format=FORMAT) for l in layers]
        boundaries = [l.z.clone() for l in layers if l.z is not None]
        return (
            *levels,
            *(level[:, -1].clone() for level in levels),
            *(l.cell[-1].clone() for l in layers),
            *(b[-1, :, None].clone() for b in boundaries),
            *boundaries,
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        layers, loop, count = ctx.layers, ctx.loop, len(ctx.layers)
        _ = ctx.saved_tensors  # raises if one was written to, or if the graph was freed
        workspace = Workspace(layers[0].cell)
        dlevels, dh, dc = grads[:count], grads[count : 2 * count], grads[2 * count : 3 * count]
        dz, dboundaries = grads[3 * count : 4 * count - 1], (*grads[4 * count - 1 :], None)
        with torch.autocast(layers[0].cell.device.type, enabled=False):
            gradients = _gradients(layers, (dh, dc, dz), workspace)
            loop.backward(gradients, (dlevels, dboundaries), workspace)
            for d, of_first in zip(gradients, dboundaries, strict=True):
                if of_first is not None and d.z is not None:
                    d.z += of_first[0]
            found = loop.weight_gradients(gradients)
        dinput = gradients[0].input
        assert dinput is not None
        dzs = [d.z[:, None] for d in gradients if d.z is not None]
        flat = [t for weights in found for t in weights]
        states = [*(d.h for d in gradients), *(d.c for d in gradients), *dzs]
        return None, None, None, dinput.transpose(0, 1), None, None, *states, *flat


def _unflatten(flat: Sequence[Tensor], count: int) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor], list]:
    h, c, z = flat[:count], flat[count : 2 * count], flat[2 * count : 3 * count - 1]
    rest, width = flat[3 * count - 1 :], len(LayerWeights._fields)
    return h, c, z, [LayerWeights(*rest[i * width : (i + 1) * width]) for i in range(count)]


def _layers(
    plan: Plan,
    x: Tensor,
    slope: Tensor,
    thresholds: Tensor | None,
    state: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]],
    weights: Sequence[LayerWeights],
    workspace: Workspace,
    keep: bool,
) -> list[Layer]:
    """The buffers of all layers, with the inputs and the first state in their places."""
    batch, steps, _ = x.shape
    h, c, z = state
    layers: list[Layer] = []
    share = x.new_tensor(plan.options.choice_share)
    for i, w in enumerate(weights):
        size, below = w.recurrent.size(1), w.bottom_up.size(1)
        above = 0 if w.top_down is None else w.top_down.size(1)
        kept = steps if keep else 1
        top = i == len(weights) - 1
        under = layers[-1].z if layers else None
        layer = Layer(
            size, below, above, plan.options, slope.to(x.dtype), share, *_boundary_weights(w, size),
            norm_gain=w.cell_gain,
            norm_offset=w.cell_offset,
            operands=workspace.empty(steps + 1, batch, size + below + above),
            cell=workspace.empty(steps + 1, batch, size),
            keep=keep,
            gates=workspace.empty(kept, batch, 4 * size),
            z=None if top else x.new_empty(steps + 1, batch),
            decided=None if top else x.new_empty(kept, batch),
            surrogate=None if top else x.new_empty(kept, batch),
            threshold=None if top or thresholds is None else thresholds[i].contiguous(),
            z_under=None if under is None else under[1:],
        )  # fmt: skip
        layer.operands[0, :, :size] = h[i]
        layer.cell[0] = c[i]
        if layer.z is not None:
            layer.z[0] = z[i][:, 0]
        if above:
            torch.mul(z[i], h[i + 1], out=layer.operands[0, :, -above:])
        layers.append(layer)
    layers[0].operands[:-1, :, layers[0].size : layers[0].size + layers[0].below] = x.transpose(0, 1)
    return layers


def _boundary_weights(w: LayerWeights, size: int) -> tuple[Tensor, Tensor]:
    """The bias [4H + 1], and the boundary's weights [K] on the whole operand; zeros where the layer lacks them."""
    matrices = [m for m in (w.recurrent, w.bottom_up, w.top_down) if m is not None]
    bias = w.bias if len(w.bias) > 4 * size else torch.cat((w.bias, w.bias.new_zeros(1)))
    return bias, torch.cat([m[-1] if len(m) > 4 * size else m.new_zeros(m.size(1)) for m in matrices])


def _gradients(
    layers: Sequence[Layer], state: tuple[Sequence[Any], Sequence[Any], Sequence[Any]], workspace: Workspace
) -> list[Gradients]:
    """What the backward pass starts from: the gradients of the last state."""
    dh, dc, dz = state
    steps, batch, _ = layers[0].gates.shape
    gradients: list[Gradients] = []
    for i, layer in enumerate(layers):
        like, size, top = layer.cell, layer.size, layer.z is None
        normed = layer.norm_gain is not None
        gradients.append(
            Gradients(
                h=like.new_zeros(batch, size) if dh[i] is None else dh[i].contiguous().clone(),
                c=like.new_zeros(batch, size) if dc[i] is None else dc[i].contiguous().clone(),
                z=None if top else like.new_zeros(batch) if dz[i] is None else dz[i][:, 0].contiguous().clone(),
                pre=workspace.empty(steps, batch, 4 * size),
                pre_boundary=None if top else like.new_empty(steps, batch),
                scratch=like.new_empty(batch, 2, size),
                norm_gain=like.new_zeros(batch, size) if normed else None,
                norm_offset=like.new_zeros(batch, size) if normed else None,
                input=like.new_empty(steps, batch, layer.below) if i == 0 else None,
                gated=not normed,
            )
        )
    return gradients
