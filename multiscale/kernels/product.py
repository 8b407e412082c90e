"""Products by a matrix that stays the same over a sequence, prepared once in the layout that multiplies fastest."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Product = Callable[[Tensor], Tensor]

# Multiplications below which the call costs more than the product saves.
_WORTH_PACKING = 1 << 20
_ROWS_AT_ONCE = 1024


def _packs(work: int, *tensors: Tensor) -> bool:
    """Whether oneDNN's products may be used: on some CPUs they are twice as fast in float32 as ``torch.mm``."""
    return (
        work >= _WORTH_PACKING
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
    )


def product(weight: Tensor, rows: int, dtype: torch.dtype) -> Product:
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
    return lambda x: torch.mm(x, transposed, out=out)


def outer(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """left^T right: [R, N] and [R, K] -> [N, K], multiplied in ``dtype``."""
    if dtype != left.dtype:
        return torch.mm(left.to(dtype).t(), right.to(dtype)).to(left.dtype)
    if not _packs(left.numel() * right.size(1), left, right):
        return torch.mm(left.t(), right)
    # A few rows at a time, whose transposed copies stay in cache.
    total = left.new_zeros(left.size(1), right.size(1))
    for some, others in zip(left.split(_ROWS_AT_ONCE), right.split(_ROWS_AT_ONCE), strict=True):
        total += torch.ops.mkldnn._linear_pointwise(some.t(), others.t(), None, "none", [], "")
    return total
