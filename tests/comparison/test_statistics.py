"""Means, intervals and paired differences over seeds."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from multiscale.checks import InvalidInput
from multiscale.comparison.statistics import bootstrap_interval, estimate, estimate_difference


def exact(values) -> tuple[float, float]:
    """The bootstrap interval from all n^n resamples, with nothing drawn at random."""
    means = sorted(np.mean(drawn) for drawn in product(values, repeat=len(values)))
    return tuple(np.quantile(means, [0.025, 0.975], method="inverted_cdf"))


def test_fewer_than_five_seeds_have_a_range_and_more_an_interval_inside_it():
    found = estimate({0: 1.0, 1: 3.0, 2: 2.0, 3: 2.0})
    assert (found.mean, found.spread, found.kind) == (2.0, (1.0, 3.0), "range")
    assert (found.values, found.seeds, found.n) == ((1.0, 3.0, 2.0, 2.0), (0, 1, 2, 3), 4)
    more = estimate({0: 1.0, 1: 3.0, 2: 2.0, 3: 2.0, 4: 2.0})
    assert (more.spread, more.kind) == (bootstrap_interval(more.values), "95% interval")
    assert 1 < more.spread[0] < more.spread[1] < 3


@pytest.mark.parametrize(
    "values", [[1.0, 2.0, 4.0], [1.70, 1.72, 1.75, 1.69], [0.0, 5.0, 1.0, 1.0, 3.0], [9, 1, 2, 3, 4, 7]]
)
def test_the_interval_is_that_of_all_resamples(values):
    spread = max(values) - min(values)
    np.testing.assert_allclose(bootstrap_interval(values), exact(values), atol=0.05 * spread)


def test_the_interval_covers_the_mean_of_a_population_nineteen_times_in_twenty():
    """Ten seeds are few: the nominal 95% are somewhat fewer, as the tables say."""
    draws = np.random.default_rng(1).normal(5, 2, size=(60, 10))
    covered = np.mean([low <= 5 <= high for low, high in map(bootstrap_interval, draws)])
    assert 0.8 < covered < 0.99


def test_equal_values_are_certain():
    assert bootstrap_interval([0.25, 0.25, 0.25]) == (0.25, 0.25)


def test_one_seed_has_no_spread():
    found = estimate({7: 1.5})
    assert (found.spread, found.kind) == (None, "one seed")
    assert (found.mean, found.iqm) == (1.5, 1.5)


def test_the_same_values_always_give_the_same_interval():
    values = np.random.default_rng(3).normal(size=12).tolist()
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_the_order_of_seeds_is_theirs_and_not_that_of_reading():
    assert estimate({2: 9.0, 0: 1.0, 10: 4.0}).seeds == (0, 2, 10)
    assert estimate({2: 9.0, 0: 1.0, 10: 4.0}) == estimate({10: 4.0, 0: 1.0, 2: 9.0})


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 1000], 4.5),  # without 1, 2 and 7, 1000
        ([1, 2, 3, 4, 1000], 3.0),  # a quarter of five is one whole seed
        ([1, 2, 9], 4.0),  # nothing can be left out of three
        ([0, 1, 3, 100], 2.0),
    ],
)
def test_the_interquartile_mean_leaves_out_whole_seeds_at_both_ends(values, mean):
    found = estimate(dict(enumerate(values)))
    assert found.iqm == pytest.approx(mean)
    assert found.iqm == pytest.approx(stats.trim_mean(values, 0.25))


def test_a_difference_is_taken_seed_by_seed_over_the_seeds_that_both_have():
    ours, theirs = {0: 1.0, 1: 5.0, 2: 2.0, 9: 100.0}, {2: 1.0, 1: 3.0, 0: 1.0, 8: -100.0}
    found = estimate_difference(ours, theirs)
    assert found is not None
    assert (found.seeds, found.values, found.mean) == ((0, 1, 2), (0.0, 2.0, 1.0), 1.0)
    assert found.spread == (0.0, 2.0)


def test_pairing_takes_away_what_the_seeds_share():
    baseline = {seed: float(10 * seed) for seed in range(5)}
    found = estimate_difference({seed: value - 0.5 for seed, value in baseline.items()}, baseline)
    assert found is not None
    assert found.spread == (-0.5, -0.5)


def test_nothing_is_paired_without_a_shared_seed():
    assert estimate_difference({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize("values", [{}, {0: float("nan")}, {0: 1.0, 1: float("inf")}])
def test_there_is_no_mean_of_nothing_or_of_what_is_not_finite(values):
    with pytest.raises(InvalidInput, match="values must be"):
        estimate(values)
