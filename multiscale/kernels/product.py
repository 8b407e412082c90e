"""Products by a matrix that stays the same over a sequence, prepared once in the layout that multiplies fastest.

Here alone torch's private operations are called, those of oneDNN: also to ask what it can do on this CPU.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Multiply: TypeAlias = Callable[[Tensor], Tensor]
"""x [rows, K] -> x weight^T [rows, N], for one weight [N, K]."""

# Multiplications below which the call costs more than the product saves.
_WORTH_PACKING = 1 << 20
_WORTH_SKIPPING = 1 << 22
_ROWS_AT_ONCE = 1024
_GATHERING = 100  # multiplications in the time that it takes to copy one number


def worth_gathering(rows: int, of: int, n: int, k: int) -> bool:
    """Whether left^T right, [of, n] by [of, k], is quicker with the ``rows`` gathered that it needs."""
    return of * n * k >= _WORTH_PACKING and rows * (1 + _GATHERING * (n + k) / (n * k)) < of


def worth_skipping(saved: float) -> bool:
    """Whether as many multiplications saved repay the gathering of one step's rows."""
    return saved >= _WORTH_SKIPPING


def cpu_has_lstm(dtype: torch.dtype) -> bool:
    """Whether torch has an LSTM in this half precision here: oneDNN's, which needs AVX-512 for bfloat16.

    Elsewhere it raises an error under autocast, where its other layers multiply in float32 and round.
    """
    supported = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    return bool(supported[dtype]())


def _packs(work: int, *tensors: Tensor) -> bool:
    """Whether oneDNN's products may be used: on some CPUs they are twice as fast in float32 as ``torch.mm``."""
    return (
        work >= _WORTH_PACKING
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
    )


def product(weight: Tensor, rows: int, dtype: torch.dtype) -> Multiply:
    """x [rows, K] -> x weight^T [rows, N], for one weight [N, K]; multiplied in ``dtype``, returned in x's own.

    The result may be overwritten by the next call.
    """
    if dtype != weight.dtype:
        short = weight.to(dtype)
        return lambda x: F.linear(x.to(dtype), short).to(x.dtype)
    if _packs(rows * weight.numel(), weight):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
        linear = torch.ops.mkldnn._linear_pointwise
        return lambda x: linear(x, packed, None, "none", [], "")
    transposed = weight.t().contiguous()
    out = weight.new_empty(rows, len(weight))
    return lambda x: torch.mm(x, transposed, out=out[: len(x)])


def rows_product(multiply: Multiply, x: Tensor, rows: Tensor, out: Tensor) -> Tensor:
    """``out`` with the product of x in the ``rows`` named and zeros in the others, where x is zero."""
    out.zero_()
    if len(rows):
        out.index_copy_(0, rows, multiply(x.index_select(0, rows)))
    return out


def outer(
    left: Tensor,
    right: Tensor,
    dtype: torch.dtype,
    left_rows: Tensor | None = None,
    right_rows: Tensor | None = None,
) -> Tensor:
    """left^T right: [R, N] and [R, K] -> [N, K], multiplied in ``dtype``; of these rows each, None for all of them."""
    packs = dtype == left.dtype and _packs(left.numel() * right.size(1), left, right)
    if left_rows is None and right_rows is None and not packs:
        return torch.mm(left.to(dtype).t(), right.to(dtype)).to(left.dtype)
    # A few rows at a time, whose transposed copies stay in cache.
    total = left.new_zeros(left.size(1), right.size(1))
    for start in range(0, len(left) if left_rows is None else len(left_rows), _ROWS_AT_ONCE):
        these = slice(start, start + _ROWS_AT_ONCE)
        a = left[these] if left_rows is None else left[left_rows[these]]
        b = right[these] if right_rows is None else right[right_rows[these]]
        if packs:
            # oneDNN has no fast product by a matrix with gaps between its rows.
            total += torch.ops.mkldnn._linear_pointwise(a.t(), b.contiguous().t(), None, "none", [], "")
        else:
            total += torch.mm(a.to(dtype).t(), b.to(dtype))
    return total
