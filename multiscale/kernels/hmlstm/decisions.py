"""What the boundaries of an HM-LSTM were decided from, read off a sequence that has run.

No kernel tells the scores that its boundaries came from; the hidden states of all levels and the boundaries do.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from multiscale.kernels.hmlstm.operations import Options
from multiscale.nn.straight_through import scale_gradient

Rows = tuple[Tensor, ...]
"""The boundary's row of a layer's weights: on h_{t-1}^l [H_l], h_t^{l-1} and, unless it reads none, h_{t-1}^{l+1}; or
on h_t^l alone."""


class Reading(NamedTuple):
    """A sequence and what came of it; N of the L levels detect boundaries."""

    x: Float[Tensor, "B T D"]
    h: Sequence[Float[Tensor, "B _"]]  # L, before the first step
    z: Sequence[Float[Tensor, "B 1"]]  # N, before the first step
    levels: Sequence[Float[Tensor, "B T _"]]  # L
    boundaries: Float[Tensor, "B T N"]
    kept: Float[Tensor, "B T"] | None = None  # in {0, 1}: 0 where the state before a step was put back to zeros

    def passing(self, share: float) -> "Reading":
        """The same, of whose gradient a ``share`` is passed on, and of the boundaries' none."""
        h, levels = ([scale_gradient(part, share) for part in several] for several in (self.h, self.levels))
        boundaries, z = self.boundaries.detach(), [part.detach() for part in self.z]
        return Reading(scale_gradient(self.x, share), h, z, levels, boundaries)

    def beside(self) -> tuple[Float[Tensor, "B T N"], Float[Tensor, "B T N"]]:
        """z_{t-1}^l and z_t^{l-1} of each level, the latter 1 for the first."""
        z = self.boundaries
        before = torch.cat((torch.cat([*self.z, z[:, 0, :0]], 1)[:, None], z[:, :-1]), 1)
        before = before if self.kept is None else before * self.kept[..., None]
        return before, torch.cat((torch.ones_like(z[..., :1]), z), 2)[..., : z.size(2)]


def scores(reading: Reading, rows: Sequence[Rows], source: str) -> Float[Tensor, "B T N"]:
    """What each level that detects decides from, without its bias: the last row of Eq. 4, or one of its own h_t."""
    before, under = reading.beside()
    found: list[Tensor] = []
    for l, (recurrent, *beside) in enumerate(rows):
        if source == "hidden":
            found.append(reading.levels[l] @ recurrent)
            continue
        below = reading.levels[l - 1] if l else reading.x
        score = _before(reading.levels[l], reading.h[l], recurrent) + under[..., l] * (below @ beside[0])
        if beside[1:]:
            score = score + before[..., l] * _before(reading.levels[l + 1], reading.h[l + 1], beside[1])
        found.append(score)
    return torch.stack(found, -1) if found else reading.boundaries


@torch.no_grad()
def mean_operands(
    reading: Reading, counted: Float[Tensor, "B T N"], score: Float[Tensor, "B T N"], options: Options
) -> list[Tensor]:
    """What the rows of each level read, side by side [K_l], on average over the steps that are ``counted``; of a
    ``change``, which no row makes, the score itself [1]."""
    before, under = reading.beside()
    found = []
    for l in range(counted.size(2)):
        weight = counted[..., l] / counted[..., l].sum().clamp(min=1)
        if options.source == "change":
            found.append((weight * score[..., l]).sum()[None])
            continue
        if options.source == "hidden":
            found.append(_sum(reading.levels[l], weight))
            continue
        below = reading.levels[l - 1] if l else reading.x
        kept = weight if reading.kept is None else weight * reading.kept
        parts = [_sum_before(reading.levels[l], reading.h[l], kept), _sum(below, weight * under[..., l])]
        if options.top_down:
            parts.append(_sum_before(reading.levels[l + 1], reading.h[l + 1], weight * before[..., l]))
        found.append(torch.cat(parts))
    return found


def _before(level: Tensor, first: Tensor, row: Tensor) -> Tensor:
    """The product [B, T] of a row [H] with the state before each step: ``first`` [B, H], then level [B, T, H]."""
    return torch.cat(((first @ row)[:, None], (level @ row)[:, :-1]), 1)


def _sum(level: Tensor, weight: Tensor) -> Tensor:
    """The sum [H] over all steps of level [B, T, H], with the weights [B, T]."""
    return weight.reshape(-1) @ level.flatten(0, 1)


def _sum_before(level: Tensor, first: Tensor, weight: Tensor) -> Tensor:
    """The same of the state before each step."""
    later = torch.cat((weight[:, 1:], torch.zeros_like(weight[:, :1])), 1)
    return _sum(level, later) + weight[:, 0] @ first
