"""Zoneout (Krueger et al. 2016, arXiv 1606.01305): units that keep their value at random.

The update that a trace tells is what it would be without zoneout.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from multiscale.checks import InvalidInput, in_range
from multiscale.nn.cells import STATES


def zone_out(
    new: Float[Tensor, "*shape"], old: Float[Tensor, "*shape"], rate: float, training: bool
) -> Float[Tensor, "*shape"]:
    """The new value, but in training with probability ``rate``, unit by unit, the old one, and in evaluation what that
    comes to on average: (1 - rate) new + rate old."""
    if not rate:
        return new
    if training:
        return torch.where(torch.rand_like(new) < rate, old, new)
    return torch.lerp(new, old, rate)


def zone_steps(
    active: Float[Tensor, "_ T H"], like: Float[Tensor, "B H"], rate: float, training: bool
) -> Float[Tensor, "_ T H"]:
    """The same for T steps before they are made, as a share of how far each unit moves to its new value, ``active``
    [B or 1, T, H]; on the CPU with the draws of as many calls, one a step, for tensors ``like`` one of them."""
    if not rate:
        return active
    if not training:
        return active * (1 - rate)
    keeps = torch.rand(active.size(1), *like.shape, dtype=like.dtype, device=like.device) < rate
    return active.masked_fill(keeps.transpose(0, 1), 0)


def zone_out_each(
    new: Sequence[Tensor], old: Sequence[Tensor], rates: Sequence[float], training: bool
) -> tuple[Tensor, ...]:
    """:func:`zone_out` of each part of a cell's state, (h,) or (h, c), at its own rate and in the old one's type."""
    parts = zip(new, old, rates, strict=True)
    return tuple(zone_out(n.to(o.dtype), o, rate, training) for n, o, rate in parts)


def kept_share(like: Float[Tensor, "*shape"], rate: float, training: bool) -> Float[Tensor, "*shape"]:
    """How much of its old value each unit keeps: in training 1 with probability ``rate``, else 0; in evaluation
    ``rate``. For recurrences that are not computed step by step."""
    return (torch.rand_like(like) < rate).to(like.dtype) if training else torch.full_like(like, rate)


def zoneout_rates(zoneout: float, zoneout_c: float, cell: str = "lstm") -> tuple[float, ...]:
    """The rates of what a cell carries, (h,) or (h, c); raises :class:`InvalidInput` if they are not in [0, 1], or for
    a ``zoneout_c`` of a cell that has no c."""
    rates = in_range("zoneout", zoneout, 0, 1), in_range("zoneout_c", zoneout_c, 0, 1)
    if zoneout_c and STATES[cell] == 1:
        raise InvalidInput(f"zoneout_c must be 0 for cell {cell}, which has no c; got {zoneout_c}.")
    return rates[: STATES[cell]]
