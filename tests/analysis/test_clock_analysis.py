"""Scores of learned periods, against answers known by hand."""

import math

import numpy as np
import pytest

from multiscale.analysis.clocks import is_harmonic, is_within, match_periods, phase_error, score_periods, wave_phase
from multiscale.checks import InvalidInput


def test_each_true_period_is_matched_with_the_learned_one_that_makes_the_whole_best():
    # Nearest first would pair 5 with 4 and leave 3 for 10.
    assert match_periods([3.0, 5.0], [4.0, 10.0]) == ((0, 0), (1, 1))
    assert match_periods([40.0, 5.0, 4.0], [4.0, 5.0, 40.0]) == ((2, 0), (1, 1), (0, 2))


def test_matching_counts_in_octaves_not_in_steps():
    # 1 is two steps from 3 and 6 is three; but 1 is a factor of 3 away and 6 only of 2.
    assert match_periods([1.0, 6.0], [3.0]) == ((1, 0),)


def test_a_perfect_recovery_in_another_order_scores_one():
    scores = score_periods([8.0, 2.0, 5.0], [2, 5, 8])
    assert (scores.exact, scores.within, scores.harmonic, scores.octaves) == (1.0, 1.0, 1.0, 0.0)


def test_each_score_forgives_what_its_name_says():
    scores = score_periods([2.0, 10.4, 64.0, 100.0], [2, 10, 32, 700])
    assert scores.exact == 1 / 4
    assert scores.within == 2 / 4
    assert scores.harmonic == 3 / 4
    assert scores.octaves == pytest.approx((math.log2(1.04) + 1 + math.log2(7)) / 4)


def test_a_true_period_without_a_partner_is_not_found_and_an_extra_learned_one_is_no_fault():
    assert score_periods([4.0], [4, 9]).exact == 1 / 2
    assert score_periods([4.0, 9.0, 33.0], [4, 9]).exact == 1.0


@pytest.mark.parametrize(("learned", "yes"), [(9.5, True), (10.5, True), (9.49, False), (10.51, False)])
def test_within_five_per_cent_includes_its_ends(learned, yes):
    assert is_within(learned, 10.0) is yes


@pytest.mark.parametrize(
    ("learned", "yes"),
    [(12, True), (24, True), (36, True), (48, True), (60, False), (6, True), (3, True), (2.4, False), (18, False)],
)
def test_harmonics_are_multiples_and_fractions_up_to_four(learned, yes):
    assert is_harmonic(learned, 12) is yes


def test_phases_are_compared_around_the_circle():
    assert phase_error(0.5, 7.5, 8.0) == phase_error(7.5, 0.5, 8.0) == pytest.approx(1 / 8)
    assert phase_error(0.0, 4.0, 8.0) == 0.5
    assert phase_error(3.0, 19.0, 8.0) == 0.0


@pytest.mark.parametrize("period", [2, 3, 5, 12])
def test_the_phase_of_a_pulse_train_is_its_first_pulse(period):
    for phase in range(period):
        pulses = (np.arange(64) - phase) % period == 0
        assert wave_phase(pulses, period) == pytest.approx(phase, abs=1e-9)


def test_the_phase_of_a_cosine_between_steps_is_found():
    t = np.arange(60)
    assert wave_phase(0.5 + 0.4 * np.cos(2 * np.pi * (t - 1.3) / 7.5), 7.5) == pytest.approx(1.3)


@pytest.mark.parametrize(
    ("learned", "true", "named"),
    [
        ([], [1], "learned"),
        ([1.0], [], "true"),
        ([0.0], [1], "learned"),
        ([math.inf], [1], "learned"),
        ([1.0], [-2], "true"),
    ],
)
def test_bad_periods_are_refused_by_name(learned, true, named):
    with pytest.raises(InvalidInput, match=named):
        score_periods(learned, true)
