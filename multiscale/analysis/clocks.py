"""How well learned clocks recover true ones: pure functions of periods, phases and waves, in steps."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from multiscale.checks import InvalidInput

WITHIN = 0.05
"""How far a period may be from the true one, relative to it, and still count as found."""

HARMONICS = 4
"""The highest multiple that counts as a harmonic; without a limit, a period of 1 would be one of everything."""


class PeriodScores(NamedTuple):
    """Learned against true periods, matched one to one."""

    pairs: tuple[tuple[int, int], ...]  # (number of the learned, number of the true), in the order of the true
    exact: float  # share of the true periods that a learned one equals
    within: float  # share found to 5 per cent
    harmonic: float  # share found to 5 per cent up to a factor of n or 1/n, n = 1 .. 4
    octaves: float  # mean |log2(learned / true)| over the pairs


def match_periods(learned: Sequence[float], true: Sequence[float]) -> tuple[tuple[int, int], ...]:
    """Pairs (learned, true), one to one, of least total |log2(learned / true)| (Hungarian method); what is in excess on
    either side stays alone.

    Raises:
        InvalidInput: for an empty list, or a period that is not a finite number above 0.
    """
    for name, periods in (("learned", learned), ("true", true)):
        bad = [p for p in periods if not (math.isfinite(p) and p > 0)]
        if bad or not len(periods):
            raise InvalidInput(f"{name} must be periods above 0 in steps, at least one; got {list(periods)!r}.")
    cost = np.abs(np.log2(np.asarray(learned, float))[:, None] - np.log2(np.asarray(true, float))[None, :])
    rows, columns = linear_sum_assignment(cost)
    return tuple(sorted(zip(rows.tolist(), columns.tolist(), strict=True), key=lambda pair: pair[1]))


def score_periods(learned: Sequence[float], true: Sequence[float]) -> PeriodScores:
    """The scores after matching; a true period without a partner counts as not found."""
    pairs = match_periods(learned, true)
    matched = [(learned[i], true[j]) for i, j in pairs]
    return PeriodScores(
        pairs,
        exact=sum(math.isclose(p, q, rel_tol=1e-6) for p, q in matched) / len(true),
        within=sum(is_within(p, q) for p, q in matched) / len(true),
        harmonic=sum(is_harmonic(p, q) for p, q in matched) / len(true),
        octaves=sum(abs(math.log2(p / q)) for p, q in matched) / len(matched),
    )


def is_within(learned: float, true: float) -> bool:
    """Is the learned period at most 5 per cent from the true one?"""
    # 1 + 1e-9: a period of exactly 5 per cent more counts, whatever the rounding.
    return abs(learned - true) <= WITHIN * true * (1 + 1e-9)


def is_harmonic(learned: float, true: float) -> bool:
    """Is the learned period, to 5 per cent, n times or 1/n of the true one, n = 1 .. 4?"""
    return any(is_within(learned, true * n) or is_within(learned, true / n) for n in range(1, HARMONICS + 1))


def phase_error(learned: float, true: float, period: float) -> float:
    """Circular distance of two phases in steps, as a share of the period: 0 in step, 1/2 opposite."""
    turn = (learned - true) / period % 1.0
    return min(turn, 1.0 - turn)


def wave_phase(wave: Sequence[float] | np.ndarray, period: float) -> float:
    """The phase in [0, period) steps at which a wave [T] has the crest of its component of this period:
    -arg(sum_t a(t) e^{-2 pi i t / period}), in steps. For a train of pulses, the first pulse.

    Only whole periods enter, as many as the wave holds, for a rest would shift the crest.
    """
    whole = math.floor(round(len(wave) / period, 9)) * period
    used = np.asarray(wave, float)[: max(1, round(whole))]
    used = used - used.mean()
    component = np.sum(used * np.exp(-2j * np.pi * np.arange(len(used)) / period))
    turn = -np.angle(component) / (2 * np.pi) % 1.0
    # Rounding may leave a phase of nothing a hair below a whole turn.
    return 0.0 if math.isclose(turn, 1.0, abs_tol=1e-9) else float(turn * period)
