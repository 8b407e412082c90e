"""Boundary scores against hand counts, brute force and their baselines."""

import itertools

import pytest
import torch

from multiscale.analysis.boundaries import Score, count_by_symbol, learn_rule, score, score_baselines, segments
from multiscale.data.text import segmentations


def at(*steps: int, length: int = 12) -> torch.Tensor:
    marks = torch.zeros(length)
    marks[list(steps)] = 1
    return marks


def test_counts_of_a_small_case_by_hand():
    result = score(found=at(1, 4, 5, 9), true=at(1, 5, 8))
    assert (result.hits, result.found, result.true) == (2, 4, 3)
    assert result.precision == 2 / 4
    assert result.recall == 2 / 3
    assert result.f1 == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))


def test_a_detector_that_is_late_by_the_offset_is_right():
    assert score(at(2, 6, 10), at(1, 5, 9), offset=1).f1 == 1
    assert score(at(2, 6, 10), at(1, 5, 9)).hits == 0


def test_within_the_tolerance_each_reference_serves_once():
    assert score(at(3, 4, 5), at(4), tolerance=1).hits == 1
    assert score(at(3), at(2, 4), tolerance=1).hits == 1
    assert score(at(3, 5), at(4, 6), tolerance=1).hits == 2


@pytest.mark.parametrize("tolerance", [0, 1, 2])
def test_hits_are_the_largest_one_to_one_matching(tolerance):
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        found, true = (torch.rand(2, 9, generator=generator) > 0.6).float()
        a, b = found.nonzero()[:, 0].tolist(), true.nonzero()[:, 0].tolist()
        few, many = sorted((a, b), key=len)
        best = max(
            (
                sum(abs(x - y) <= tolerance for x, y in zip(few, pick, strict=True))
                for pick in itertools.permutations(many, len(few))
            ),
            default=0,
        )
        assert score(found, true, tolerance=tolerance).hits == best


def test_nothing_found_or_nothing_true_scores_zero_without_dividing():
    for found, true in ((at(), at(1)), (at(1), at()), (at(), at())):
        result = score(found, true)
        assert (result.precision, result.recall, result.f1) == (0, 0, 0)


def test_baselines_have_their_closed_forms():
    true = at(*range(0, 1000, 5), length=1000)
    known = score_baselines(at(*range(0, 1000, 4), length=1000), true)
    assert known["always"].precision == 0.2
    assert known["always"].recall == 1
    assert known["shifted"].hits == 0
    assert known["random"].precision == pytest.approx(0.2, abs=0.02)
    assert known["random"].recall == pytest.approx(0.25, abs=0.02)


def test_a_rule_by_the_symbol_says_yes_where_more_than_half_are_boundaries():
    symbols = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2], dtype=torch.uint8)
    marks = torch.tensor([1, 1, 0, 1, 0, 0, 0, 1])
    assert learn_rule(symbols, marks, 4).tolist() == [True, False, False, False]
    assert count_by_symbol(symbols, marks, 4).tolist() == [[1, 1, 2, 0], [2, 1, 1, 0]]


def test_a_text_is_cut_at_spaces_word_ends_and_sentence_ends():
    text = "Hi, old 3.5 cat.\nNo! "
    vocabulary = sorted(set(text))
    symbols = torch.tensor([vocabulary.index(c) for c in text])
    cuts = segmentations(symbols, vocabulary)
    marked = {name: "".join(text[i] for i in cut.nonzero()[:, 0].tolist()) for name, cut in cuts.items()}
    assert marked == {"spaces": "   \n", "word_ends": "id35to", "sentence_ends": ".!"}


@pytest.mark.parametrize("wrong", [(at(), at(length=3)), (at()[None], at()[None])])
def test_shapes_that_do_not_fit_are_named(wrong):
    with pytest.raises(ValueError, match=r"found and true must both be \[N\]"):
        score(*wrong)


def test_the_r_value_is_one_for_perfect_boundaries_and_more_of_them_do_not_help():
    true = torch.zeros(1000)
    true[::10] = 1
    assert score(true, true).r_value == pytest.approx(1)
    every = score(torch.ones(1000), true)  # HR 1, OS 9: r1 = 9, r2 = -9 / sqrt 2
    assert every.r_value == pytest.approx(1 - (9 + 9 / 2**0.5) / 2)
    assert every.r_value < score(torch.zeros(1000), true).r_value  # HR 0, OS -1: r1 = sqrt 2, r2 = 0
    assert score(torch.zeros(1000), true).r_value == pytest.approx(1 - 2**0.5 / 2)
    assert score(true, torch.zeros(1000)).r_value == 0


def test_segments_are_told_by_the_variation_of_their_length_nesting_and_what_follows_them():
    found = torch.zeros(100, dtype=torch.bool)
    found[[10, 20, 30, 50]] = True
    below = torch.zeros(100, dtype=torch.bool)
    below[[10, 20, 70]] = True
    bits = torch.ones(100)
    bits[[10, 20, 30, 50]] = 4.0
    part = segments(found, below, bits)
    lengths = torch.tensor([10.0, 10.0, 20.0])
    assert part.variation == pytest.approx(lengths.std(correction=0).item() / lengths.mean().item())
    assert part.nesting == 0.5
    assert part.enrichment == pytest.approx(4.0)
    nothing = segments(torch.zeros(100))
    assert (nothing.variation, nothing.nesting, nothing.enrichment) == (0, 0, 0)


def test_a_signal_at_the_same_rate_is_a_baseline():
    true, found, bits = torch.zeros(50), torch.zeros(50), torch.rand(50)
    true[[5, 15, 25]] = 1
    found[[5, 7, 25]] = 1
    bits[[5, 15, 40]] += 2
    assert score_baselines(found, true, signals={"surprisal": bits})["surprisal"] == Score(hits=2, found=3, true=3)
    assert "surprisal" not in score_baselines(found, true)
