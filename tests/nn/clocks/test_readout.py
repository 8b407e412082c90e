"""What can be read of a clock, what a checkpoint and autocast leave as it is, and what is refused."""

import math

import pytest
import torch

from multiscale import DCTClock, DirectClock, PulseClock, SparsePulseClock
from multiscale.checks import InvalidInput
from multiscale.nn.schedules import Constant
from tests.helpers.clocks import CLOCKS


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_the_readout_says_period_entropy_duty_gap_and_wave():
    clock = PulseClock(2, 4, [2, 4], phases=2, temperature=Constant(1.0), initialisation="zeros")
    with torch.no_grad():  # atoms: 2 at 0, 1; 4 at 0, 2
        clock.logits.copy_(torch.tensor([[0.3, 0.3, 0.4, 1e-9], [1 / 8, 1 / 8, 3 / 4, 1e-9]]).log())
    readout = clock.readout()
    assert readout.period.tolist() == [2, 4]  # summed over phases, though the largest atom of both is of period 4
    bits = [-(0.6 * math.log2(0.6) + 0.4 * math.log2(0.4)), -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))]
    assert readout.entropy.tolist() == pytest.approx(bits, abs=1e-6)
    assert readout.gap.tolist() == pytest.approx([0.2, 0.5], abs=1e-6)
    assert readout.duty.tolist() == pytest.approx([0.4, 5 / 16], abs=1e-6)
    assert readout.wave.shape == (2, 4)
    assert not readout.wave.requires_grad


@pytest.mark.parametrize("initialisation", ["spread", "zeros", "random"])
@pytest.mark.parametrize("kind", CLOCKS)
def test_every_clock_can_be_read_out_even_from_zeros(kind, initialisation):
    readout = CLOCKS[kind](3, 8, initialisation=initialisation).readout()
    assert all(part.shape[0] == 3 for part in readout)
    assert (readout.entropy >= 0).all()
    assert ((readout.duty >= 0) & (readout.duty <= 1)).all()
    assert ((readout.gap >= 0) & (readout.gap <= 1)).all()


@pytest.mark.parametrize("kind", CLOCKS)
def test_a_clock_survives_its_state_dict_hardness_and_schedules_included(kind):
    clock, fresh = (CLOCKS[kind](3, 8, hard_from=1, initialisation=start) for start in ("random", "spread"))
    clock.anneal(5)
    fresh.load_state_dict(clock.state_dict())
    assert torch.equal(fresh.wave(), clock.wave())


@pytest.mark.parametrize("kind", CLOCKS)
def test_phases_and_periods_stay_float32_under_autocast(kind):
    clock = CLOCKS[kind](3, 8, initialisation="random")
    t = torch.arange(5000, 5030)
    expected = clock(t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        activation = clock(t)
    assert activation.dtype == torch.float32
    assert torch.equal(activation, expected)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (PulseClock, {"candidates": "logs"}, "Did you mean 'log'"),
        (PulseClock, {"candidates": [4, 32]}, r"candidates\[1\] must be at most max_period = 16"),
        (PulseClock, {"candidates": [0]}, r"candidates\[0\]"),
        (PulseClock, {"candidates": []}, "candidates"),
        (PulseClock, {"phases": 0}, "phases"),
        (PulseClock, {"duty": 0.0}, "duty"),
        (SparsePulseClock, {"duty": 1.5}, "duty"),
        (PulseClock, {"temperature": 0}, "temperature must be a schedule, a function of the epoch; got 0"),
        (DirectClock, {"slope": 4.0}, "slope must be a schedule"),
        (DCTClock, {"length": 1}, "length must be at least 2 steps; got 1"),
        (DCTClock, {"l1": -1.0}, "l1"),
        (SparsePulseClock, {"l1": -1.0}, "l1"),
        *((kind, {"num_modules": 0}, "num_modules") for kind in CLOCKS),
        *((kind, {"max_period": 0}, "max_period") for kind in CLOCKS),
        *((kind, {"max_period": 3}, "max_period must be at least") for kind in CLOCKS),
        *((kind, {"hard_from": -1}, "hard_from") for kind in CLOCKS),
        *((kind, {"update_cost": -0.1}, "update_cost") for kind in CLOCKS),
        *((kind, {"normalisation": "max"}, "normalisation") for kind in CLOCKS),
        *((kind, {"initialisation": "zero"}, "Did you mean 'zeros'") for kind in CLOCKS),
    ],
)
def test_bad_input_is_refused_by_name(kind, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        CLOCKS.get(kind, kind)(**({"num_modules": 3, "max_period": 16} | arguments))


@pytest.mark.parametrize("kind", [kind for kind in CLOCKS if kind != "binary, softmax"])
def test_only_pulses_selected_by_softmax_come_down_to_one_pulse_a_period(kind):
    with pytest.raises(InvalidInput, match="harden"):
        CLOCKS[kind](3, 8).single_pulses()
