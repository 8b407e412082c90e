"""A sequence of all layers of an HM-LSTM as one Triton kernel, forward, and what the backward one shares with it.

The arithmetic of ``gates.h`` over the same buffers (:mod:`multiscale.kernels.hmlstm.gates`), of which
:class:`multiscale.kernels.hmlstm.triton_loop.Fields` holds a layer's. A program has ROWS rows of the batch and goes
through all steps and layers of them; rows do not meet, so programs do not either. What it writes for itself to read
stands in global memory, behind a barrier. No product is left out. What Triton's interpreter does not know (the tanh of
libdevice, inline assembly) is not used.
"""

import triton
import triton.language as tl

ROWS = tl.constexpr(16)  # of a product's left side, the fewest that a GPU multiplies
HOLD, ZERO, NESTED = (tl.constexpr(i) for i in (1, 2, 3))  # native.COPY_BOUNDARY


@triton.jit
def sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def tanh(x):
    """Near 0 an odd polynomial, which keeps the relative error of small values."""
    size, u = tl.abs(x), x * x
    q = 2.296215535e-03
    q = q * u - 8.347086597e-03
    q = q * u + 2.176985763e-02
    q = q * u - 5.395935637e-02
    q = q * u + 1.333330363e-01
    q = q * u - 3.333333316e-01
    large = 1 - 2 / (1 + tl.exp(2 * size))
    return tl.where(size > 0.625, tl.where(x < 0, -large, large), q * u * x + x)


@triton.jit
def load(start, rows, inside, width, columns, within):
    """Some columns of some rows, each of ``width`` numbers; 0 beyond them."""
    return tl.load(start + rows[:, None] * width + columns, mask=inside[:, None] & within, other=0.0)


@triton.jit
def store(start, rows, inside, width, columns, within, values):
    tl.store(start + rows[:, None] * width + columns, values, mask=inside[:, None] & within)


@triton.jit
def operation(
    layers, l: tl.constexpr, row, inside, batch, COUNT: tl.constexpr, FLUSH: tl.constexpr, COPY: tl.constexpr
):
    """z_{t-1}^l, z_t^{l-1}, and how much of FLUSH, UPDATE and COPY each row does."""
    z_prev = tl.zeros((ROWS,), tl.float32)
    z_below = z_prev + 1
    if l + 1 < COUNT:
        z_prev = tl.load(layers[l].z + row, mask=inside, other=0.0)
    if l > 0:
        z_below = tl.load(layers[l - 1].z + row + batch, mask=inside, other=0.0)
    copy = (1 - z_prev) * (1 - z_below) if COPY else z_prev * 0
    flush = z_prev if FLUSH else z_prev * 0
    return z_prev, z_below, flush, 1 - copy - flush, copy


@triton.jit
def _gates(layer, row, inside, n, within, PRODUCT: tl.constexpr, BLOCK: tl.constexpr):
    """f, i, o and g of the units n."""
    size, width = layer.size, layer.columns
    f = tl.zeros((ROWS, BLOCK), tl.float32)
    i, o, g = f, f, f
    for first in range(0, width, BLOCK):
        k = first + tl.arange(0, BLOCK)
        x = load(layer.operands, row, inside, width, k, k < width).to(PRODUCT)
        matrix = layer.joint + n[None, :] * width + k[:, None]
        both = within[None, :] & (k < width)[:, None]
        gate = size * width
        f = tl.dot(x, tl.load(matrix, mask=both, other=0.0), f, input_precision="ieee")
        i = tl.dot(x, tl.load(matrix + gate, mask=both, other=0.0), i, input_precision="ieee")
        o = tl.dot(x, tl.load(matrix + 2 * gate, mask=both, other=0.0), o, input_precision="ieee")
        g = tl.dot(x, tl.load(matrix + 3 * gate, mask=both, other=0.0), g, input_precision="ieee")
    bias = layer.bias + n
    f = sigmoid(f + tl.load(bias, mask=within, other=0.0))
    i = sigmoid(i + tl.load(bias + size, mask=within, other=0.0))
    o = sigmoid(o + tl.load(bias + 2 * size, mask=within, other=0.0))
    g = tanh(g + tl.load(bias + 3 * size, mask=within, other=0.0))
    return f, i, o, g


@triton.jit
def _boundary(
    layer, row, inside, batch, score, slope, z_prev, z_below, copy,
    RULE: tl.constexpr, SOFT: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """z_t^l of what it is decided from but for the bias, and for the backward pass what it hangs on."""
    line = (slope * (score + tl.load(layer.bias + 4 * layer.size)) + 1) / 2
    soft = tl.where(line < 0, 0.0, tl.where(line > 1, 1.0, line))
    z = soft
    if not SOFT:
        threshold = tl.load(layer.threshold + row, mask=inside, other=1.0)
        z = (soft > threshold).to(tl.float32) + (soft - soft)  # a boundary of NaN must not pass for a 0
    if KEEP:
        tl.store(layer.surrogate + row, tl.where((line >= 0) & (line <= 1), slope / 2, 0.0), mask=inside)
        tl.store(layer.decided + row, z, mask=inside)
    if RULE == HOLD:
        z = (1 - copy) * z + copy * z_prev
    if RULE == ZERO:
        z = (1 - copy) * z
    if RULE == NESTED:
        z = z_below * z
    tl.store(layer.z + row + batch, z, mask=inside)
    return z


@triton.jit
def _pass_on(
    layers, l: tl.constexpr, row, inside, batch, z, z_below,
    COUNT: tl.constexpr, TOP_DOWN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """z_t^l h_t^l as the operand of the layer above, now, and z_t^{l-1} h_t^l of the layer below, at the next step."""
    layer = layers[l]
    for first in range(0, layer.size, BLOCK):
        n = first + tl.arange(0, BLOCK)
        within = n < layer.size
        h = load(layer.operands, row + batch, inside, layer.columns, n, within)
        if l + 1 < COUNT:
            upper = layers[l + 1]
            store(upper.operands, row, inside, upper.columns, upper.size + n, within, z[:, None] * h)
        if l > 0 and TOP_DOWN:
            lower = layers[l - 1]
            start = lower.size + lower.below + n
            store(lower.operands, row + batch, inside, lower.columns, start, within, z_below[:, None] * h)


@triton.jit(do_not_specialize=("steps", "batch"))  # or each length would be compiled anew
def forward(
    layers, slope, steps, batch,
    COUNT: tl.constexpr, RULE: tl.constexpr, FLUSH: tl.constexpr, COPY: tl.constexpr, HIDDEN: tl.constexpr,
    TOP_DOWN: tl.constexpr, SOFT: tl.constexpr, KEEP: tl.constexpr, PRODUCT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = b < batch
    slope = tl.load(slope)
    for t in range(steps):
        row = b + t * batch
        for l in tl.static_range(COUNT):
            layer = layers[l]
            z_prev, z_below, flush, update, copy = operation(layers, l, row, inside, batch, COUNT, FLUSH, COPY)
            u, w, same = update[:, None], (flush + update)[:, None], copy[:, None]
            score = tl.zeros((ROWS,), tl.float32)
            for first in range(0, layer.size, BLOCK):
                n = first + tl.arange(0, BLOCK)
                within = n < layer.size
                f, i, o, g = _gates(layer, row, inside, n, within, PRODUCT, BLOCK)
                if KEEP:
                    kept = 4 * layer.size
                    store(layer.gates, row, inside, kept, n, within, f)
                    store(layer.gates, row, inside, kept, n + layer.size, within, i)
                    store(layer.gates, row, inside, kept, n + 2 * layer.size, within, o)
                    store(layer.gates, row, inside, kept, n + 3 * layer.size, within, g)
                c_prev = load(layer.cell, row, inside, layer.size, n, within)
                c = w * (i * g) + u * f * c_prev + same * c_prev
                h = w * o * tanh(c) + same * load(layer.operands, row, inside, layer.columns, n, within)
                store(layer.cell, row + batch, inside, layer.size, n, within, c)
                store(layer.operands, row + batch, inside, layer.columns, n, within, h)
                if HIDDEN and l + 1 < COUNT:
                    score += tl.sum(h * tl.load(layer.boundary_weight + n, mask=within, other=0.0), 1)
            z = z_prev
            if l + 1 < COUNT:
                if not HIDDEN:
                    for first in range(0, layer.columns, BLOCK):
                        k = first + tl.arange(0, BLOCK)
                        read = load(layer.operands, row, inside, layer.columns, k, k < layer.columns)
                        score += tl.sum(read * tl.load(layer.boundary_weight + k, mask=k < layer.columns, other=0.0), 1)
                z = _boundary(layer, row, inside, batch, score, slope, z_prev, z_below, copy, RULE, SOFT, KEEP)
            tl.debug_barrier()
            _pass_on(layers, l, row, inside, batch, z, z_below, COUNT, TOP_DOWN, BLOCK)
            tl.debug_barrier()
