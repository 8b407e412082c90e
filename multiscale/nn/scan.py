"""The first-order linear recurrence over a whole sequence, without a loop over its steps."""

import torch
from jaxtyping import Float
from torch import Tensor


def scan(a: Float[Tensor, "B T H"], b: Float[Tensor, "B T H"], h: Float[Tensor, "B H"]) -> Float[Tensor, "B T H"]:
    """h_t = a_t h_{t-1} + b_t from ``h`` before the first step, for all steps t, by recursive doubling.

    Two neighbouring steps are one of a recurrence of the same form over half as many, which gives the state after each
    pair; from these come the states within the pairs, all at once. So log2 T levels deep, with work that grows as T
    (odd-even reduction; Blelloch 1990). No division and no logarithm: a_t may be 0.
    """
    pairs = a.size(1) // 2
    first = torch.cat([h[:, None], _after_pairs(a, b, h, pairs)], 1) if pairs else h[:, None]
    # first: the states before steps 1, 3, 5, ..., and, of an even number of steps, after the last
    odd = torch.addcmul(b[:, ::2], a[:, ::2], first[:, : a.size(1) - pairs])
    if not pairs:
        return odd
    both = torch.stack([odd[:, :pairs], first[:, 1:]], 2).flatten(1, 2)
    return both if a.size(1) == 2 * pairs else torch.cat([both, odd[:, -1:]], 1)


def _after_pairs(
    a: Float[Tensor, "B T H"], b: Float[Tensor, "B T H"], h: Float[Tensor, "B H"], pairs: int
) -> Float[Tensor, "B P H"]:
    """The states after steps 2, 4, ...: a_2 (a_1 h + b_1) + b_2 of each pair."""
    second = a[:, 1::2]
    return scan(second * a[:, : 2 * pairs : 2], torch.addcmul(b[:, 1::2], second, b[:, : 2 * pairs : 2]), h)
