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
