"""A sequence of all layers of an HM-LSTM as one Triton kernel, backward, but for the gradients of the weights.

It leaves those of the pre-activations, as ``gates.h`` does.
"""

import triton
import triton.language as tl

from multiscale.kernels.hmlstm.triton_forward import HOLD, NESTED, ROWS, ZERO, load, operation, store, tanh


@triton.jit
def _through_boundary(layer, b, row, inside, batch, z_prev, z_below, rewritten, copy, RULE: tl.constexpr):
    """From the gradient of z_t^l to that of what it was decided from, and to those of how much is rewritten and copied,
    of z_{t-1}^l and of z_t^{l-1} that the rule for COPY steps adds."""
    dz = tl.load(layer.dz + b, mask=inside, other=0.0)
    if layer.dboundary is not None:
        dz += tl.load(layer.dboundary + row + batch, mask=inside, other=0.0)
    to_decided = dz * tl.load(layer.decided + row, mask=inside, other=0.0)
    to_rewritten = tl.zeros((ROWS,), tl.float32)
    to_copy, dz_prev, dz_below = to_rewritten, to_rewritten, to_rewritten
    if RULE == NESTED:
        dz_below = to_decided
        dz = dz * z_below
    if RULE == ZERO:
        to_rewritten = to_decided
        dz = dz * rewritten
    if RULE == HOLD:
        to_rewritten = to_decided
        to_copy = dz * z_prev
        dz_prev = copy * dz
        dz = dz * rewritten
    through = dz * tl.load(layer.surrogate + row, mask=inside, other=0.0)
    tl.store(layer.pre_boundary + row, through, mask=inside)
    return through, to_rewritten, to_copy, dz_prev, dz_below


@triton.jit
def _through_gates(
    layer, b, row, inside, batch, of_level, on_hidden, update, rewritten, copy,
    READS_HIDDEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """From the gradients of h_t and c_t to those of the pre-activations and, but for the products, of h_{t-1} and
    c_{t-1}; returns those of how much is rewritten, updated and copied.

    ``of_level``: the rows in the gradient of the level; ``on_hidden``: how much of the boundary's weights h_t gets.
    """
    size = layer.size
    to_rewritten = tl.zeros((ROWS,), tl.float32)
    to_update, to_copy = to_rewritten, to_rewritten
    u, w, same = update[:, None], rewritten[:, None], copy[:, None]
    for first in range(0, size, BLOCK):
        n = first + tl.arange(0, BLOCK)
        within = n < size
        f = load(layer.gates, row, inside, 4 * size, n, within)
        i = load(layer.gates, row, inside, 4 * size, n + size, within)
        o = load(layer.gates, row, inside, 4 * size, n + 2 * size, within)
        g = load(layer.gates, row, inside, 4 * size, n + 3 * size, within)
        c_prev = load(layer.cell, row, inside, size, n, within)
        h_prev = load(layer.operands, row, inside, layer.columns, n, within)
        tanh_c = tanh(load(layer.cell, row + batch, inside, size, n, within))
        dh = load(layer.dh, b, inside, size, n, within)
        if layer.dlevel is not None:
            dh += load(layer.dlevel, of_level, inside, size, n, within)
        if READS_HIDDEN:
            dh += on_hidden[:, None] * tl.load(layer.boundary_weight + n, mask=within, other=0.0)
        dc = load(layer.dc, b, inside, size, n, within) + dh * w * o * (1 - tanh_c * tanh_c)
        kept, written = dc * c_prev, w * dc
        to_rewritten += tl.sum(dh * o * tanh_c + dc * i * g, 1)
        to_update += tl.sum(kept * f, 1)
        to_copy += tl.sum(dh * h_prev + kept, 1)
        store(layer.pre, row, inside, 4 * size, n, within, u * kept * f * (1 - f))
        store(layer.pre, row, inside, 4 * size, n + size, within, written * g * i * (1 - i))
        store(layer.pre, row, inside, 4 * size, n + 2 * size, within, w * dh * tanh_c * o * (1 - o))
        store(layer.pre, row, inside, 4 * size, n + 3 * size, within, written * i * (1 - g * g))
        store(layer.dc, b, inside, size, n, within, dc * (u * f + same))
        store(layer.dh, b, inside, size, n, within, dh * same)
    return to_rewritten, to_update, to_copy


@triton.jit
def _of_operand(layer, row, inside, k, within, on_operand, PRODUCT: tl.constexpr, BLOCK: tl.constexpr):
    """The gradient of the operand's columns k; ``on_operand``: how much of the boundary's weights they get."""
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    for first in range(0, 4 * layer.size, BLOCK):
        n = first + tl.arange(0, BLOCK)
        known = n < 4 * layer.size
        d = load(layer.pre, row, inside, 4 * layer.size, n, known).to(PRODUCT)
        matrix = layer.joint + n[:, None] * layer.columns + k[None, :]
        part = tl.load(matrix, mask=known[:, None] & within[None, :], other=0.0)
        total = tl.dot(d, part, total, input_precision="ieee")
    return total + on_operand[:, None] * tl.load(layer.boundary_weight + k, mask=within, other=0.0)


@triton.jit
def _add_to_state(
    layer, start, beside, b, row, source, inside, gate, on_operand, PRODUCT: tl.constexpr, BLOCK: tl.constexpr
):
    """Add the gradient of the operand's columns from ``start``, through their gate, to that of the state ``beside``,
    which stands in its operand's rows ``source``; returns the gate's own."""
    dgate = tl.zeros((ROWS,), tl.float32)
    for first in range(0, beside.size, BLOCK):
        n = first + tl.arange(0, BLOCK)
        within = n < beside.size
        d = _of_operand(layer, row, inside, start + n, within, on_operand, PRODUCT, BLOCK)
        dgate += tl.sum(d * load(beside.operands, source, inside, beside.columns, n, within), 1)
        dh = load(beside.dh, b, inside, beside.size, n, within) + gate[:, None] * d
        store(beside.dh, b, inside, beside.size, n, within, dh)
    return dgate


@triton.jit(do_not_specialize=("steps", "batch"))  # or each length would be compiled anew
def backward(
    layers, share, steps, batch,
    COUNT: tl.constexpr, RULE: tl.constexpr, FLUSH: tl.constexpr, COPY: tl.constexpr, HIDDEN: tl.constexpr,
    TOP_DOWN: tl.constexpr, MIX: tl.constexpr, PRODUCT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = b < batch
    zero = tl.zeros((ROWS,), tl.float32)
    for back in range(steps):
        t = steps - 1 - back
        row = b + t * batch
        for l in tl.static_range(COUNT - 1, -1, -1):
            layer = layers[l]
            z_prev, z_below, flush, update, copy = operation(layers, l, row, inside, batch, COUNT, FLUSH, COPY)
            rewritten = flush + update
            through, more_rewritten, more_copy, dz_prev, dz_below = zero, zero, zero, zero, zero
            if l + 1 < COUNT:
                through, more_rewritten, more_copy, dz_prev, dz_below = _through_boundary(
                    layer, b, row, inside, batch, z_prev, z_below, rewritten, copy, RULE
                )
            to_rewritten, to_update, to_copy = _through_gates(
                layer, b, row, inside, batch, b * steps + t, through, update, rewritten, copy,
                HIDDEN and l + 1 < COUNT, BLOCK,
            )  # fmt: skip
            if MIX:
                to_update = share * to_update
                against_copy = share * (to_rewritten + more_rewritten - to_copy - more_copy) + to_update
                if FLUSH:
                    dz_prev -= to_update
                if COPY:
                    dz_prev += (1 - z_below) * against_copy
                    dz_below += (1 - z_prev) * against_copy
            on_operand = zero if HIDDEN else through
            tl.debug_barrier()
            _add_to_state(layer, 0, layer, b, row, row, inside, zero + 1, on_operand, PRODUCT, BLOCK)
            if l == 0:
                for first in range(0, layer.below, BLOCK):
                    n = first + tl.arange(0, BLOCK)
                    within = n < layer.below
                    d = _of_operand(layer, row, inside, layer.size + n, within, on_operand, PRODUCT, BLOCK)
                    store(layer.dinput, row, inside, layer.below, n, within, d)
            if l > 0:
                lower = layers[l - 1]
                dz_below += _add_to_state(
                    layer, layer.size, lower, b, row, row + batch, inside, z_below, on_operand, PRODUCT, BLOCK
                )
                dz_below += tl.load(lower.dz + b, mask=inside, other=0.0)
                tl.store(lower.dz + b, dz_below, mask=inside)
            if l + 1 < COUNT:
                if TOP_DOWN:
                    dz_prev += _add_to_state(
                        layer, layer.size + layer.below, layers[l + 1], b, row, row, inside, z_prev, on_operand,
                        PRODUCT, BLOCK,
                    )  # fmt: skip
                tl.store(layer.dz + b, dz_prev, mask=inside)
            tl.debug_barrier()
