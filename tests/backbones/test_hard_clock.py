"""Clocked layers of fixed periods and phases, and that a learned clock hardens into one."""

from itertools import pairwise, product

import pytest
import torch

from multiscale import ClockworkRNN, DCTClock, LearnedClockRNN, PulseClock
from multiscale.backbones.hard_clock import HardClockRNN
from multiscale.checks import InvalidInput
from tests.helpers.clocks import assert_same, everything, make_one_hot


@pytest.mark.parametrize("connectivity", ["full", "slow_to_fast", "none"])
@pytest.mark.parametrize("kernel", ["reference", "hoisted"])
def test_a_hardened_clock_is_the_soft_one_with_one_hot_weights(connectivity, kernel):
    soft = LearnedClockRNN(3, 8, PulseClock(3, 8, phases=3), connectivity, kernel=kernel).double()
    make_one_hot(soft.clock, [6, 1, 4], [2, 0, 1])
    hard = soft.harden()
    assert (hard.periods.tolist(), hard.phases.tolist()) == ([6, 1, 4], [2, 0, 1])
    x, h, t = torch.randn(2, 14, 3).double(), torch.randn(2, 8).double(), torch.tensor([5, 5])
    a, b = everything(soft, x, (h, t)), everything(hard, x, (h, t))
    assert not a.pop("gradient of clock.logits").isnan().any()
    assert_same(a, b)


def test_hardening_and_the_hard_phase_of_training_agree():
    soft = LearnedClockRNN(3, 8, PulseClock(3, 8, phases=2, hard_from=0, initialisation="random")).double()
    x = torch.randn(2, 14, 3).double()
    for a, b in zip(soft(x).levels, soft.harden()(x).levels, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_with_slow_to_fast_connections_it_is_the_clockwork_rnn():
    soft = LearnedClockRNN(3, 8, PulseClock(3, 8), connectivity="slow_to_fast").double()
    make_one_hot(soft.clock, [1, 3, 6], [0, 0, 0])
    clockwork = ClockworkRNN(3, 8, [1, 3, 6]).double()
    clockwork.load_state_dict({k: v for k, v in soft.state_dict().items() if not k.startswith("clock.")})
    x, h, t = torch.randn(2, 14, 3).double(), torch.randn(2, 8).double(), torch.tensor([4, 4])
    truth = everything(clockwork, x, (h, t))
    assert_same(everything(soft.harden(), x, (h, t)), truth)
    of_soft = everything(soft, x, (h, t))
    assert of_soft.pop("gradient of clock.logits") is not None
    assert_same(of_soft, truth)


@pytest.mark.parametrize("connectivity", ["full", "slow_to_fast", "none"])
def test_skipping_and_cascading_are_the_masked_loop(connectivity):
    arguments = {
        "input_size": 2,
        "level_sizes": [3, 1, 4],
        "periods": [5, 2, 5],
        "phases": [4, 0, 1],
        "connectivity": connectivity,
    }
    reference = HardClockRNN(kernel="reference", **arguments).double()
    for kernel in ("skipping", "cascade")[: 1 if connectivity == "full" else 2]:
        fast = HardClockRNN(kernel=kernel, **arguments).double()
        fast.load_state_dict(reference.state_dict())
        for counters, length in product(([0, 0, 0], [3, 3, 3], [2, 7, 2]), (1, 2, 11)):
            x, h = torch.randn(3, length, 2).double(), torch.randn(3, 8).double()
            state = (h, torch.tensor(counters))
            assert_same(everything(reference, x, state), everything(fast, x, state))


@pytest.mark.parametrize("kernel", ["skipping", "cascade", "reference"])
def test_a_hard_clock_that_never_ticks_still_gives_every_parameter_a_gradient(kernel):
    model = HardClockRNN(2, 3, [4, 8], [3, 5], "none", kernel)
    torch.cat(model(torch.randn(2, 3, 2)).levels, -1).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"periods": []}, "periods"),
        ({"periods": [2, 0]}, r"periods\[1\]"),
        ({"phases": [0]}, "phases must be one a module"),
        ({"phases": [0, 4]}, r"phases\[1\] must be a whole number from 0 to 3"),
        ({"connectivity": "full", "kernel": "cascade"}, "cannot run here"),
        ({"level_sizes": [3]}, "level_sizes"),
    ],
)
def test_a_bad_clocked_layer_is_refused_by_name(arguments, named):
    with pytest.raises(InvalidInput, match=named):
        HardClockRNN(**({"input_size": 2, "level_sizes": 3, "periods": [2, 4]} | arguments))


def test_a_clock_without_one_pulse_a_period_cannot_be_hardened():
    with pytest.raises(InvalidInput, match=r"harden\(\) needs .* binary pulses \(duty=null\); got a DCTClock"):
        LearnedClockRNN(2, 6, DCTClock(3, 8)).harden()


def test_no_modules_tick_order_is_assumed_when_periods_are_equal():
    mask = HardClockRNN(1, 1, [2, 2, 2], connectivity="slow_to_fast").mask
    assert all(mask[i, j] and not mask[j, i] for i, j in pairwise(range(3)))
