"""Sines: the periods, times and labels that were asked for."""

import numpy as np
import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.data.frequency import Frequency


def make(**changes) -> Frequency:
    data = Frequency(**{"batch_size": 8, "sequences": [400, 4, 4], **changes})
    data.setup()
    return data


def period(values: np.ndarray, times: np.ndarray) -> float:
    """The period with which a sine and a cosine fit best, in ms."""
    tried = np.concatenate([np.linspace(1.02, 8, 1500), np.geomspace(8, 100, 300)])
    left = []
    for one in tried:
        waves = np.stack([np.sin(2 * np.pi * times / one), np.cos(2 * np.pi * times / one)], 1)
        left.append(np.square(values - waves @ np.linalg.lstsq(waves, values, rcond=None)[0]).sum())
    return tried[int(np.argmin(left))]


@pytest.mark.parametrize("irregular", [False, True])
def test_class_1_are_the_sines_of_5_to_6_ms(irregular):
    samples = make(interval=0.4, irregular=irregular, with_time=True, sequences=[40, 4, 4]).samples["train"]
    for i in range(40):
        x, label = samples[i]
        values, times = x.double().numpy().T
        found = period(values, times)
        if min(abs(found - 5), abs(found - 6)) > 0.02:
            assert (5 < found < 6) == bool(label)


def test_half_are_of_either_class_and_the_others_are_even_over_what_is_left():
    data = make(sequences=[20000, 4, 4], duration=4)
    assert abs(float(data.samples["train"].targets.double().mean()) - 0.5) < 0.02
    rng = np.random.default_rng(0)
    drawn = np.array([data._other(rng) for _ in range(20000)])
    assert not ((drawn > 5) & (drawn < 6)).any()
    assert abs((drawn < 5).mean() - 4 / 98) < 0.01
    data.others = "log"
    drawn = np.array([data._other(rng) for _ in range(20000)])
    assert not ((drawn > 5) & (drawn < 6)).any()
    assert abs((drawn < 5).mean() - np.log(5) / (np.log(5) + np.log(100 / 6))) < 0.02
    assert 1 < drawn.min() < drawn.max() < 100


def test_regular_samples_are_an_interval_apart_and_lengths_follow_durations():
    samples = make(duration=[15, 125], interval=0.5, with_time=True).samples["train"]
    lengths = [len(x) for x in samples.inputs]
    assert 30 <= min(lengths) < 40
    assert 240 < max(lengths) <= 250
    assert torch.equal(samples[0][0][:, 1], 0.5 * torch.arange(lengths[0]))


def test_irregular_samples_are_in_order_and_as_many():
    x, _ = make(duration=50, interval=1, irregular=True, with_time=True).samples["train"][0]
    assert x.shape == (50, 2)
    assert (x[1:, 1] >= x[:-1, 1]).all()
    assert x[0, 1] >= 0
    assert x[-1, 1] <= 50


def test_samples_that_are_numbered_by_themselves_lie_in_their_window():
    options = {"duration": [15, 125], "irregular": True, "with_time": True}
    samples = make(points=[15, 40], window=200, **options).samples["train"]
    lengths = [len(x) for x in samples.inputs]
    assert (min(lengths), max(lengths)) == (15, 40)
    starts, ends = (torch.stack([x[at, 1] for x in samples.inputs]) for at in (0, -1))
    assert 60 < starts.max() < ends.max() <= 200
    assert starts.min() >= 0


def test_the_same_seed_gives_the_same_data_and_another_split_others():
    one, other = make(), make()
    assert one.facts == other.facts
    assert not torch.equal(one.samples["val"][0][0], one.samples["test"][0][0])
    assert make(seed=1).facts.sha256 != one.facts.sha256


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"duration": 1.5}, "duration must be .* of at least two intervals, 2; got 1.5"),
        ({"duration": [9, 3]}, r"duration must be .*got \[9, 3\]"),
        ({"points": [15, 9], "irregular": True}, r"points must be .*; got \[15, 9\] with irregular=True"),
        ({"points": [15, 90]}, r"points .* for irregular=true alone; got .* with irregular=False"),
        ({"window": 99}, "window must be a number at least 100; got 99"),
        ({"interval": 0}, "interval must be a number above 0; got 0"),
        ({"others": "even"}, "others must be one of uniform, log; got 'even'"),
        ({"irregular": 1}, "irregular must be true or false; got 1"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        make(**wrong)
