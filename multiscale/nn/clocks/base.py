"""Learned clocks: the contract, and what all have in common.

A clock maps step counters t to the activations a_m(t) of M modules, each in [0, 1]. K basis functions, Q periods.
The waves go on for ever: nothing ends with the training sequence.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from multiscale.checks import InvalidInput, in_range, one_of, positive_int
from multiscale.nn.schedules import Schedule
from multiscale.nn.straight_through import clip

INITIALISATIONS = ("spread", "zeros", "random")
"""Of a clock's weights: module m near period 2^(m-1), no period preferred, or drawn."""


class Readout(NamedTuple):
    """What M clocks have learned, for tables and figures."""

    period: Tensor  # [M], steps: of the largest weight, summed over phases
    entropy: Tensor  # [M], bits: of the weights over the periods
    duty: Tensor  # [M] in [0, 1]: mean activation
    gap: Tensor  # [M] in [0, 1]: how far the largest weight is above the second, as shares of all
    wave: Tensor  # [M, horizon] in [0, 1]


class Clock(nn.Module, ABC):
    """a_m(t) of M modules: what a new clock must define, and what it then has.

    A new clock is one class with arguments of its own, which calls this constructor, creates at least one parameter,
    and defines

    - ``activation``: the wave, hard with a straight-through gradient where ``self.hard`` is true;
    - ``weights_by_period``: how its weights spread over periods, from which the period of a module is read;

    and, where they apply,

    - ``weight_cost``: what its weights add to the loss;
    - ``single_pulses``: the one period and phase of each module, if the hard wave is such a pulse;
    - ``basis_size``: how many products a_m(t) sums, for counts of what is computed;
    - values that follow the training, such as a temperature, declared with ``follow``.

    Args:
        num_modules: M.
        horizon: steps over which a wave is read out, normalised and averaged.
        hard_from: epoch from which decisions are hard, with straight-through gradient; never if None.
        normalisation: ``none``, or ``minmax``: each module's wave is stretched to fill [0, 1].
        update_cost: lambda_R, what a mean activation of 1 adds to the loss.

    Raises:
        InvalidInput: for an unknown word or a number out of range.
    """

    hard: Tensor
    basis_size: int = 0  # terms of the weighted sum that is a module's activation; 0: it is no such sum

    def __init__(
        self,
        num_modules: int,
        horizon: int,
        hard_from: float | None = None,
        normalisation: str = "none",
        update_cost: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_modules = positive_int("num_modules", num_modules)
        self.horizon = positive_int("horizon", horizon)
        self.hard_from = None if hard_from is None else in_range("hard_from", hard_from, 0)
        self.normalisation = one_of("normalisation", normalisation, ("none", "minmax"))
        self.update_cost = in_range("update_cost", update_cost, 0)
        self._schedules: dict[str, Schedule] = {}
        self.register_buffer("hard", torch.tensor(False))
        self.anneal(0.0)

    @abstractmethod
    def activation(self, t: Tensor) -> Tensor:
        """a [..., M] in [0, 1] at step counters t [...], before normalisation."""

    @abstractmethod
    def weights_by_period(self) -> tuple[Tensor, Tensor]:
        """Periods [Q], or [M, Q], in steps, and the share [M, Q] of each in a module's weights, rows summing to 1."""

    def weight_cost(self) -> Tensor:
        """What the weights add to the loss beyond what their wave costs: a scalar >= 0."""
        return next(self.parameters()).new_zeros(())

    def single_pulses(self) -> tuple[list[int], list[int]]:
        """Period and phase of each module, [M] steps each, if the hard wave is 1[(t - phase) mod period = 0].

        Raises:
            InvalidInput: if it is not.
        """
        raise InvalidInput(
            "harden() needs a clock that comes down to one pulse a period, such as a PulseClock of binary pulses "
            f"(duty=null); got a {type(self).__name__}."
        )

    def follow(self, name: str, schedule: Schedule) -> None:
        """Keep the value of ``schedule`` at the current epoch in the buffer ``name``.

        Raises:
            InvalidInput: for what is no function of the epoch.
        """
        if not callable(schedule):
            raise InvalidInput(f"{name} must be a schedule, a function of the epoch; got {schedule!r}.")
        self._schedules[name] = schedule
        self.register_buffer(name, torch.tensor(float(schedule(0.0))))

    def anneal(self, epoch: float) -> None:
        """Set hardness and all that follows a schedule for this (fractional) epoch."""
        self.hard.fill_(self.hard_from is not None and epoch >= self.hard_from)
        for name, schedule in self._schedules.items():
            self.get_buffer(name).fill_(schedule(epoch))

    def forward(self, t: Tensor) -> Tensor:
        """Activations [..., M] at step counters t [...], in the parameters' own precision, also under autocast."""
        with torch.autocast(t.device.type, enabled=False):
            a = self.activation(t)
            if self.normalisation == "none":
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
        """lambda_R mean_m mean_t a_m(t) + ``weight_cost``, a scalar >= 0."""
        cost = self.weight_cost()
        return self.update_cost * self.wave().mean() + cost if self.update_cost else cost

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


def check_clock(value: Any) -> Clock:
    """Return ``value`` if it is a clock, else raise :class:`InvalidInput`."""
    if not isinstance(value, Clock):
        raise InvalidInput(f"clock must be a Clock, such as PulseClock(num_modules=4, max_period=32); got {value!r}.")
    return value


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
