"""What the kernels of clocked networks multiply, as torch counts it."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from multiscale.backbones.base import Backbone
from multiscale.backbones.clockwork import ClockworkRNN
from multiscale.backbones.hard_clock import HardClockRNN


def macs_per_step(model: Backbone, steps: int = 128) -> float:
    """Multiply-accumulates of one sequence, forward, a step."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.randn(1, steps, model.input_size))
    return counter.get_total_flops() / 2 / steps


def test_the_cascade_multiplies_a_sixteenth_as_often_as_a_dense_network():
    periods = [2**i for i in range(8)]
    model = ClockworkRNN(1, 512, periods, kernel="cascade")
    inputs = sum(64 / period for period in periods)
    # A long sequence, because every module also sends once what it starts with.
    assert (macs_per_step(model, 2048) - inputs) / 512**2 == pytest.approx(0.061, abs=5e-4)
    assert macs_per_step(model.use("reference")) == 512 * 513


def test_one_module_multiplies_as_a_plain_network_at_its_rate():
    assert macs_per_step(ClockworkRNN(3, 5, [4], cell="gru", kernel="cascade")) == 3 * 5 * (3 + 5) / 4


def test_skipping_multiplies_for_modules_that_tick_alone():
    model = HardClockRNN(3, 4, [1, 4], kernel="skipping")
    assert macs_per_step(model) == 4 * (3 + 8) * (1 + 1 / 4)
    assert macs_per_step(model.use("reference")) == 8 * (3 + 8)
