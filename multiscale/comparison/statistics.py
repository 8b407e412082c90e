"""Statistics over the few seeds of a configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

import numpy as np
from scipy import stats

from multiscale.checks import InvalidInput

LEVEL = 0.95  # of the intervals
ENOUGH = 5  # seeds for an interval: of fewer, a bootstrap finds little more than the lowest and the highest
RESAMPLES = 9999
BOOTSTRAP_SEED = 0  # every interval draws its resamples from a generator of this seed
Draw: TypeAlias = int | tuple[int, int]
"""What runs of one configuration differ in: the seed; with folds of the data, (seed, fold)."""

TRIMMED = 0.25  # share of the seeds left out at either end for the interquartile mean


@dataclass(frozen=True)
class Estimate:
    """What some values, one a seed, say of their mean.

    Args:
        values: in the order of the seeds.
        seeds: of the values, each with its fold if there are any.
        mean: the arithmetic mean.
        spread: from five values on, the 95% percentile bootstrap interval of the mean; of two to four, the range, which
            is the lowest value and the highest and no interval; None for a single value.
        iqm: interquartile mean, ``scipy.stats.trim_mean(values, 0.25)``: the mean without the floor(n / 4) lowest and
            the floor(n / 4) highest values; under four values, the mean.
    """

    values: tuple[float, ...]
    seeds: tuple[Draw, ...]
    mean: float
    spread: tuple[float, float] | None
    iqm: float

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.values)

    @property
    def kind(self) -> str:
        """What the spread is: ``range``, ``95% interval``, or ``one seed``, which has none."""
        return "one seed" if self.n == 1 else "range" if self.n < ENOUGH else f"{LEVEL:.0%} interval"


def estimate(by_seed: Mapping[Draw, float]) -> Estimate:
    """The mean of values given by seed, and how sure it is; raises :class:`InvalidInput` for none or one not finite."""
    seeds = tuple(sorted(by_seed, key=order))
    values = tuple(float(by_seed[seed]) for seed in seeds)
    if not values or not all(isfinite(value) for value in values):
        raise InvalidInput(f"values must be at least one finite number; got {list(values)}.")
    trimmed = stats.trim_mean(np.array(values), TRIMMED)
    few = 1 < len(values) < ENOUGH
    spread = (min(values), max(values)) if few else bootstrap_interval(values)
    return Estimate(values, seeds, float(np.mean(values)), spread, float(trimmed))


def order(draw: Draw) -> tuple[int, ...]:
    """By seed, then by fold."""
    return draw if isinstance(draw, tuple) else (draw,)


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95% percentile bootstrap interval of the mean of ``values``; None for fewer than two."""
    if len(values) < 2:
        return None
    found = stats.bootstrap(
        (np.asarray(values, dtype=float),),
        np.mean,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",  # the correction of a BCa interval is itself a guess from few seeds
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def estimate_difference(by_seed: Mapping[Draw, float], baseline: Mapping[Draw, float]) -> Estimate | None:
    """The mean of value - baseline over the seeds that both have; None if they share none."""
    shared = by_seed.keys() & baseline.keys()
    return estimate({seed: by_seed[seed] - baseline[seed] for seed in shared}) if shared else None
