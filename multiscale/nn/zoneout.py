"""Zoneout (Krueger et al. 2016, arXiv 1606.01305): units that keep their value at random."""

import torch
from jaxtyping import Float
from torch import Tensor


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
