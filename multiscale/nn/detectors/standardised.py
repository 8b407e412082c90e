"""Scores that stay within reach of the gradient: standardised by what they were of late."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multiscale.checks import InvalidInput, in_range, one_of
from multiscale.nn.detectors.base import Detector, Seen

SMALLEST = 1e-3  # deviation that is told from none
THIRD = 1 / 3  # of a level's rate has the one above, if only the first is given


class Standardised(Detector):
    """s' = (s - centre) / deviation + offset, with running figures: not the paper's.

    Left alone, the score of an upper level of an HM-LSTM leaves the band -1 <= a s <= 1 of the hard sigmoid in
    twenty optimiser steps, by an offset that grows; outside of it the straight-through gradient is 0, so that the
    level fires never, or always, from then on. Here it cannot leave as a whole. Without ``rates`` the centre is the
    running mean and the offset is the level's own learned bias, as in batch normalisation (Ioffe & Szegedy 2015). With
    them and ``control="quantile"`` the centre is the running quantile at 1 - rate, moved without a gradient, as are
    the biases of Wang et al. 2024 (arXiv 2408.15664) that balance experts. With ``control="ratio"`` the centre is the
    mean, and the loss of H-Net (Hwang, Wang, Gu 2025, arXiv 2507.07955) draws the rate: of each level, with N = 1/rate,
    F the share of boundaries and G the mean of sigmoid(2 a s'),
    N / (N - 1) ((N - 1) F G + (1 - F) (1 - G)). (The hard sigmoid in place of G would pass no gradient where it is
    needed.)

    The running figures are buffers, those of all processes, updated by training sequences alone; padding counts.

    Args:
        rates: the share of steps at which each level is to fire, fastest first, one for each level but the top one; or
            one number, that of the first level; each level above then has a third of the one below.
        control: ``quantile`` or ``ratio``, how the rates come about.
        open_rate: the rate of all levels at the start of the training, which goes linearly to that of ``rates`` over
            ``open_epochs``, so that upper levels are fed before they are starved, as the start of Skip RNN (Campos et
            al. 2018, footnote 2) and of H-Net; None: the rates hold from the start.
        open_epochs: epochs, possibly a fraction.
        momentum: of the running figures, a training sequence.
        ratio_weight: of the loss of ``control="ratio"``.
        surprisal_weight, surprisal_reach, decision: as for :class:`Detector`.
        row_gain: the same; as a standardised score is the same for rows of any size, this sets only how quickly they
            turn under an optimizer such as Adam. At 1 they turn so quickly that the running figures do not keep up.

    Raises:
        InvalidInput: for a rate outside of (0, 1), an unknown word, or as many rates as do not fit the backbone.
    """

    observes = True
    operand: Tensor  # [sum of K_l], the mean of what the rows read, side by side
    deviation: Tensor
    quantile: Tensor
    sequences: Tensor
    rate: Tensor

    def __init__(
        self,
        rates: Sequence[float] | float | None = None,
        control: str = "quantile",
        open_rate: float | None = None,
        open_epochs: float = 1.0,
        momentum: float = 0.7,
        ratio_weight: float = 0.03,
        surprisal_weight: float = 0.0,
        surprisal_reach: float = 0.0,
        row_gain: float = 8.0,
        decision: str = "step",
    ) -> None:
        super().__init__(decision, surprisal_weight, row_gain, surprisal_reach)
        if isinstance(rates, Sequence) and not isinstance(rates, str):
            self.rates: list[float] | float | None = [_rate(f"rates[{i}]", rate) for i, rate in enumerate(rates)]
        else:
            self.rates = None if rates is None else _rate("rates", rates)
        self.control = one_of("control", control, ("quantile", "ratio"))
        self.open_rate = None if open_rate is None else _rate("open_rate", open_rate)
        if open_rate is not None and rates is None:
            raise InvalidInput(f"open_rate must be null without rates to go to; got {open_rate}.")
        self.open_epochs = in_range("open_epochs", open_epochs, 0, open_low=True)
        self.momentum = in_range("momentum", momentum, 0, 1)
        self.ratio_weight = in_range("ratio_weight", ratio_weight, 0)

    def start(self, widths: Sequence[int]) -> None:
        levels = len(widths)
        if isinstance(self.rates, float):
            self.rates = [self.rates * THIRD**level for level in range(levels)]
        if self.rates is not None and len(self.rates) != levels:
            raise InvalidInput(
                f"boundary.rates must be one number, or {levels}, for all levels but the top one; got {self.rates}."
            )
        self.register_buffer("operand", torch.zeros(sum(widths)))
        self.widths = list(widths)
        self.register_buffer("deviation", torch.ones(levels))
        self.register_buffer("quantile", torch.zeros(levels))
        self.register_buffer("sequences", torch.zeros((), dtype=torch.int64))
        self.register_buffer("rate", torch.tensor(self.rates or [0.5] * levels))
        self.anneal(0.0)

    def anneal(self, epoch: float) -> None:
        if self.open_rate is not None:
            gone = min(1.0, epoch / self.open_epochs)
            goal = torch.tensor(self.rates, dtype=self.rate.dtype)
            self.rate.copy_(self.open_rate + gone * (goal - self.open_rate))

    def affine(self, rows: Sequence[Tensor], bias: Tensor) -> tuple[Tensor, Tensor]:
        scale = (1 / self.deviation).to(bias.dtype)
        mean = self._means(rows)
        if self.rates is not None and self.control == "quantile":
            return scale, 0 * bias - scale * (mean + self.quantile.to(bias.dtype))
        return scale, bias - scale * mean

    def _means(self, rows: Sequence[Tensor]) -> Tensor:
        """The mean score [N] at the running mean of the operands."""
        means = self.operand.clone().split(self.widths)  # the buffer is written to before the backward pass
        pairs = zip(rows, means, strict=True)
        return torch.stack([row @ mean.to(row.dtype) for row, mean in pairs]) if rows else self.deviation

    def observe(self, seen: Seen) -> Tensor | None:
        with torch.no_grad():
            self._follow(seen)
        if self.rates is None or self.control == "quantile":
            return None
        n = 1 / self.rate
        fired = seen.boundary.mean((0, 1))
        likely = torch.sigmoid(2 * seen.slope * seen.line).mean((0, 1))
        ratio = n / (n - 1) * ((n - 1) * fired * likely + (1 - fired) * (1 - likely))
        return self.ratio_weight * ratio.sum()

    def _follow(self, seen: Seen) -> None:
        """Move the running figures towards those of a sequence, counted where boundaries were decided."""
        score = seen.score.detach().to(self.deviation.dtype).flatten(0, 1).T  # [N, M]
        counted = seen.open.flatten(0, 1).T > 0
        weight = counted.to(score.dtype)
        total = weight.sum(1)
        about = (weight * score).sum(1) / total.clamp(min=1)  # squares are summed near the mean, where they are exact
        apart = weight * (score - about[:, None])
        rank = ((1 - self.rate) * score.size(1)).long().clamp(max=score.size(1) - 1)
        highest = score.masked_fill(~counted, -math.inf).sort(1).values.gather(1, rank[:, None])[:, 0]
        lowest = score.masked_fill(~counted, math.inf).amin(1)
        quantile = torch.where(total > 0, torch.maximum(highest, lowest), 0)  # where nothing is decided nothing fires
        sums = (total, total * about, apart.square().sum(1) + total * about.square(), total * quantile)
        operands = [mean * n for mean, n in zip(seen.operands, total, strict=True)]
        n = len(score)
        shared = sum_over_processes(torch.cat((*sums, *operands)))
        total, *parts = shared[: 4 * n].split(n)
        mean, square, quantile = (part / total.clamp(min=1) for part in parts)
        operand = [o / t.clamp(min=1) for o, t in zip(shared[4 * n :].split(self.widths), total, strict=True)]
        deviation = (square - mean.square()).clamp(min=SMALLEST**2).sqrt()
        finite = torch.stack([o.isfinite().all() for o in operand]) if operand else total > 0
        known = (total > 0) & finite & square.isfinite() & quantile.isfinite()  # a step that is skipped leaves no trace
        followed = [(self.deviation, deviation, known), (self.quantile, quantile - mean, known)]
        followed += zip(self.operand.split(self.widths), operand, known, strict=True)
        for old, new, told in followed:
            blend = torch.where(self.sequences > 0, self.momentum * old + (1 - self.momentum) * new, new)
            old.copy_(torch.where(told, blend, old))
        self.sequences += 1


def _rate(name: str, value: float) -> float:
    found = in_range(name, value, 0, 1, open_low=True)
    if found == 1:
        raise InvalidInput(f"{name} must be below 1; got {value!r}.")
    return found


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of all processes that train together; of this one if it is alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
    return values
