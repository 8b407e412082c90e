"""Dropout with one mask a sequence (Gal, Ghahramani 2016, arXiv 1512.05287)."""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.checks import InvalidInput, in_range

Rates: TypeAlias = float | Sequence[float]
"""Of what goes into a backbone and of what comes out of it: one number for both or two."""


class Locked(nn.Module):
    """In training sets each unit of a sequence to 0 with probability ``rate``, the same units at all of its steps, and
    divides the others by 1 - rate; in evaluation, and at a rate of 0, changes and draws nothing.

    The mask is one for each call: of a stream that is read in parts, a new one for each part. Of the paper these are
    the masks on what a recurrent network reads and gives; those on its recurrent connections and between its layers,
    which lie within a backbone, and the dropping of whole words are left out, as is the averaging over many masks in
    evaluation.

    Raises:
        InvalidInput: for a rate outside [0, 1].
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = in_range("rate", rate, 0, 1)

    def forward(self, x: Float[Tensor, "B T H"]) -> Float[Tensor, "B T H"]:
        if not (self.training and self.rate):
            return x
        return x * F.dropout(torch.ones_like(x[:, :1]), self.rate)


def rate_pair(argument: str, value: Rates) -> tuple[float, float]:
    """The two rates; raises :class:`InvalidInput` if they are not in [0, 1], or not two."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        rate = in_range(argument, value, 0, 1)
        return rate, rate
    if len(value) != 2:
        raise InvalidInput(f"{argument} must be one number or 2 of them; got {list(value)!r}.")
    into, out = (in_range(f"{argument}[{i}]", rate, 0, 1) for i, rate in enumerate(value))
    return into, out
