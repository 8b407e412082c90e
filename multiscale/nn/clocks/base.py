"""Learned clocks: what all have in common.

A clock maps step counters t to the activations a_m(t) of M modules, each in [0, 1]. K basis functions, Q periods.
The waves go on for ever: nothing ends with the training sequence.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from multiscale.checks import InvalidInput, in_range, one_of, positive_int
from multiscale.nn.straight_through import clip


@dataclass(frozen=True)
class ClockOptions:
    """What every clock can do.

    Args:
        initialisation: ``spread`` (module m starts near period 2^(m-1)), ``zeros`` or ``random``.
        hard_from: epoch from which decisions are hard, with straight-through gradient; never if None.
        normalisation: ``none``, or ``minmax``: each module's wave is stretched to fill [0, 1].
        update_cost: lambda_R, what a mean activation of 1 adds to the loss.
        l1: what the mean absolute sum of a module's free weights is multiplied with, where selection is by l1.

    Raises:
        InvalidInput: for an unknown word or a negative number.
    """

    initialisation: str = "spread"
    hard_from: float | None = None
    normalisation: str = "none"
    update_cost: float = 0.0
    l1: float = 1e-4

    def __post_init__(self) -> None:
        one_of("initialisation", self.initialisation, ("spread", "zeros", "random"))
        one_of("normalisation", self.normalisation, ("none", "minmax"))
        in_range("update_cost", self.update_cost, 0)
        in_range("l1", self.l1, 0)
        if self.hard_from is not None:
            in_range("hard_from", self.hard_from, 0)


class Readout(NamedTuple):
    """What M clocks have learned, for tables and figures."""

    period: Tensor  # [M], steps: of the largest weight, summed over phases
    entropy: Tensor  # [M], bits: of the weights over the periods
    duty: Tensor  # [M] in [0, 1]: mean activation
    gap: Tensor  # [M] in [0, 1]: how far the largest weight is above the second, as shares of all
    wave: Tensor  # [M, horizon] in [0, 1]


class Clock(nn.Module, ABC):
    """a_m(t) of M modules.

    A subclass defines ``activation`` and how its weights spread over periods. The ``horizon`` is the number of steps
    over which a wave is read out, normalised and averaged.
    """

    hard: Tensor
    basis_size: int = 0  # terms of the weighted sum that is a module's activation; 0: it is no such sum

    def __init__(self, num_modules: int, horizon: int, options: ClockOptions) -> None:
        super().__init__()
        self.num_modules = positive_int("num_modules", num_modules)
        self.horizon = horizon
        self.options = options
        self.register_buffer("hard", torch.tensor(False))
        self._harden_at(0.0)

    @abstractmethod
    def activation(self, t: Tensor) -> Tensor:
        """a [..., M] in [0, 1] at step counters t [...], before normalisation."""

    @abstractmethod
    def weights_by_period(self) -> tuple[Tensor, Tensor]:
        """Periods [Q], or [M, Q], in steps, and the share [M, Q] of each in a module's weights, rows summing to 1."""

    @abstractmethod
    def anneal(self, epoch: float) -> None:
        """Set temperature or slope, and hardness, for this epoch."""

    def forward(self, t: Tensor) -> Tensor:
        """Activations [..., M] at step counters t [...], in the parameters' own precision, also under autocast."""
        with torch.autocast(t.device.type, enabled=False):
            a = self.activation(t)
            if self.options.normalisation == "none":
                return a
            wave = self.activation(torch.arange(self.horizon, device=t.device))
            low, high = wave.amin(0), wave.amax(0)
            # A wave without relief has nothing to stretch and stays as it is.
            flat = high - low < 1e-6
            return torch.where(flat, a, clip((a - low) / torch.where(flat, 1.0, high - low)))

    def wave(self, length: int | None = None) -> Tensor:
        """a [M, length] at the first steps, as many as the horizon if no length is given."""
        return self(torch.arange(length or self.horizon, device=self.hard.device)).T

    def periods(self) -> Tensor:
        """The period [M] of the largest weight of each module, in steps; not differentiable."""
        periods, shares = self.weights_by_period()
        best = shares.argmax(1, keepdim=True)
        return periods.expand_as(shares).gather(1, best)[:, 0].float()

    def penalty(self) -> Tensor:
        """lambda_R mean_m mean_t a_m(t), a scalar >= 0; a subclass adds what its selection costs."""
        if self.options.update_cost:
            return self.options.update_cost * self.wave().mean()
        return next(self.parameters()).new_zeros(())

    @torch.no_grad()
    def readout(self) -> Readout:
        """Period, entropy, duty cycle, top-two gap and wave of each module."""
        _, shares = self.weights_by_period()
        top = shares.topk(min(2, shares.size(1)), 1).values
        gap = top[:, 0] - top[:, 1] if top.size(1) > 1 else torch.ones_like(top[:, 0])
        wave = self.wave()
        # 0 log 0 = 0, and no -0 for a single period.
        return Readout(
            self.periods(), -torch.special.xlogy(shares, shares).sum(1) / math.log(2) + 0.0, wave.mean(1), gap, wave
        )

    def _harden_at(self, epoch: float) -> None:
        start = self.options.hard_from
        self.hard.fill_(start is not None and epoch >= start)


def spread_periods(num_modules: int, max_period: int) -> list[int]:
    """1, 2, 4, ...: a starting period for each module; raises :class:`InvalidInput` if the last exceeds max_period."""
    slowest = 2 ** (positive_int("num_modules", num_modules) - 1)
    if positive_int("max_period", max_period) < slowest:
        raise InvalidInput(
            f"max_period must be at least 2^(num_modules - 1) = {slowest} steps, where module {num_modules} starts; "
            f"got {max_period}. Or use initialisation=zeros or random."
        )
    return [2**m for m in range(num_modules)]


def candidate_periods(candidates: str | Sequence[int], max_period: int) -> list[int]:
    """Periods to choose from, ascending: ``all`` 1 .. max_period, its ``powers`` of two, ``log``: about four to the
    octave; or given ones, none longer than max_period, else :class:`InvalidInput`."""
    positive_int("max_period", max_period)
    if not isinstance(candidates, str):
        return _given_periods(candidates, max_period)
    one_of("candidates", candidates, ("all", "powers", "log"))
    if candidates == "all":
        return list(range(1, max_period + 1))
    per_octave = 1 if candidates == "powers" else 4
    count = 1 + math.floor(math.log2(max_period) * per_octave + 1e-9)
    return sorted({round(2 ** (i / per_octave)) for i in range(count)})


def _given_periods(candidates: Sequence[int], max_period: int) -> list[int]:
    if not len(candidates):
        raise InvalidInput("candidates must be a word or a list of at least one period in steps; got an empty list.")
    for i, period in enumerate(candidates):
        if positive_int(f"candidates[{i}]", period) > max_period:
            raise InvalidInput(f"candidates[{i}] must be at most max_period = {max_period} steps; got {period}.")
    return sorted(set(candidates))
