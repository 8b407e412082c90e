"""What waves clocks make, soft and hard, and where they start."""

import math

import pytest
import torch

from multiscale import DCTClock, DirectClock, PulseClock, SparsePulseClock
from multiscale.nn.clocks.base import candidate_periods
from multiscale.nn.schedules import Constant, Geometric
from tests.helpers.clocks import CLOCKS, pulses

ONE = Constant(1.0)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_a_binary_clock_is_a_mixture_of_pulses_that_goes_on_for_ever():
    clock = PulseClock(1, 3, temperature=ONE, initialisation="zeros")
    with torch.no_grad():
        clock.logits.copy_(torch.tensor([[0.5, 0.2, 0.3]]).log())
    t = torch.tensor([0, 1, 2, 3, 4, 10**12])  # 10**12 is even, and 1 more than a multiple of 3
    torch.testing.assert_close(clock(t)[:, 0], torch.tensor([1.0, 0.5, 0.7, 0.8, 0.7, 0.7]))


def test_a_square_clock_is_active_for_its_share_of_each_period_from_its_phase_on():
    clock = PulseClock(1, 8, [4, 8], phases=2, duty=0.25)
    assert list(zip(clock.atom_period.tolist(), clock.atom_phase.tolist(), strict=True)) == [
        (4, 0),
        (4, 2),
        (8, 0),
        (8, 4),
    ]
    assert clock.atoms(torch.arange(8)).T.tolist() == [
        [1, 0, 0, 0, 1, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0],
    ]


def test_a_dct_clock_is_the_orthonormal_inverse_transform_and_periodic_beyond():
    clock = DCTClock(1, 16, slope=ONE, initialisation="random").double()
    k = torch.arange(16, dtype=torch.float64)
    atoms = clock.scale * torch.cos(math.pi * (k[:, None] + 0.5) * k / 16)
    torch.testing.assert_close(atoms.T @ atoms, torch.eye(16, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(clock.z(torch.arange(16)), atoms @ clock.coefficients.T, atol=1e-6, rtol=0)
    late = torch.arange(16) + 32 * 10**9
    torch.testing.assert_close(clock.z(late), clock.z(torch.arange(16)), atol=1e-12, rtol=0)


def test_atom_k_of_the_transform_has_a_period_of_two_t_over_k_and_the_constant_is_never_dominant():
    clock = DCTClock(2, 16, length=60, slope=ONE, initialisation="zeros")
    with torch.no_grad():
        clock.coefficients[0, 0], clock.coefficients[0, 12] = 9.0, -1.0
        clock.coefficients[1, 8] = 1.0
    assert clock.periods().tolist() == [10.0, 15.0]
    z = clock.z(torch.arange(40))
    torch.testing.assert_close(z[:30, 0], z[10:, 0])
    torch.testing.assert_close(z[:25, 1], z[15:, 1])


def test_a_direct_clock_is_a_sine_whose_phase_stays_exact_late():
    clock = DirectClock(1, 8, slope=ONE)
    with torch.no_grad():
        clock.frequency.fill_(0.1251)
        clock.phase.fill_(0.25)
    turns = 0.1251000016927719 * 10**7 - 0.25  # the frequency as float32 stores it
    assert clock.z(torch.tensor([10**7])).item() == pytest.approx(math.cos(2 * math.pi * turns), abs=1e-5)
    assert clock.periods().item() == pytest.approx(1 / 0.1251)


def test_minmax_stretches_each_wave_to_fill_the_unit_interval_but_leaves_a_flat_one():
    for clock in (
        PulseClock(2, 8, duty=0.5, temperature=ONE, initialisation="random", normalisation="minmax"),
        DCTClock(2, 8, slope=ONE, initialisation="random", normalisation="minmax"),
    ):
        wave = clock.wave()
        torch.testing.assert_close(wave.amin(1), torch.zeros(2))
        torch.testing.assert_close(wave.amax(1), torch.ones(2))
    flat = DCTClock(1, 8, slope=ONE, initialisation="zeros", normalisation="minmax")
    torch.testing.assert_close(flat.wave(), torch.full((1, 16), 0.5))


@pytest.mark.parametrize("kind", CLOCKS)
def test_hard_clocks_are_zero_or_one_from_their_epoch_on_and_still_learn(kind):
    clock = CLOCKS[kind](3, 8, hard_from=3, initialisation="random")
    clock.anneal(2.9)
    assert not ((clock.wave() == 0) | (clock.wave() == 1)).all()
    clock.anneal(3.0)
    wave = clock.wave(50)
    assert ((wave == 0) | (wave == 1)).all()
    (wave * torch.randn(3, 50)).sum().backward()
    weights = clock.frequency if kind == "direct" else next(clock.parameters())
    assert weights.grad.any()


def test_the_hard_wave_is_the_largest_weight_or_the_part_above_the_threshold():
    binary = PulseClock(1, 4, phases=2, temperature=ONE, initialisation="zeros", hard_from=0)
    with torch.no_grad():  # atoms: 1; 2 at 0, 1; 3 at 0, 1; 4 at 0, 2. Period 2 wins together, atom 1 alone.
        binary.logits.copy_(torch.tensor([[3.0, 2.5, 2.6, 0, 0, 0, 0]]))
    assert binary.periods().item() == 2
    assert torch.equal(binary.wave(6)[0], pulses(2, 6, phase=1))
    dct = DCTClock(1, 8, slope=ONE, initialisation="random", hard_from=0)
    with torch.no_grad():
        z = dct.z(torch.arange(16))[:, 0]
        dct.threshold.copy_(z[5])
    assert torch.equal(dct.wave()[0], (z > z[5]).float())
    with torch.no_grad():
        dct.threshold.sub_(1e-4)
    assert dct.wave()[0, 5] == 1
    l1 = SparsePulseClock(1, 4, initialisation="zeros", hard_from=0)
    with torch.no_grad():
        l1.coefficients.copy_(torch.tensor([[0.0, 0.3, 0.25, 0.6]]))
    assert l1.wave(7)[0].tolist() == [1, 0, 0, 0, 1, 0, 1]


def test_the_temperature_falls_geometrically_from_one_to_a_tenth():
    schedule = Geometric()
    assert [schedule(0), schedule(10), schedule(20), schedule(99)] == pytest.approx([1, 10**-0.5, 0.1, 0.1])
    clock = PulseClock(3, 8)
    clock.anneal(20)
    torch.testing.assert_close(clock.temperature, torch.tensor(0.1))
    torch.testing.assert_close(clock.weights(), torch.softmax(clock.logits / 0.1, 1))


def test_the_slope_is_four_and_follows_its_schedule():
    assert DCTClock(3, 8).slope == DirectClock(3, 8).slope == 4
    clock = DirectClock(3, 8, slope=lambda epoch: 1.0 + epoch)
    clock.anneal(2.5)
    assert clock.slope == 3.5


def test_candidates_are_all_or_powers_of_two_or_four_to_the_octave_or_given():
    assert candidate_periods("all", 5) == [1, 2, 3, 4, 5]
    assert candidate_periods("powers", 64) == [1, 2, 4, 8, 16, 32, 64]
    assert candidate_periods("powers", 63) == [1, 2, 4, 8, 16, 32]
    assert candidate_periods("log", 16) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16]
    assert candidate_periods([7, 3], 7) == [3, 7]


@pytest.mark.parametrize("kind", CLOCKS)
def test_a_spread_start_has_module_m_near_period_two_to_the_m_minus_one(kind):
    periods = CLOCKS[kind](5, 64).periods().tolist()
    assert periods[1:] == pytest.approx([2, 4, 8, 16], rel=0.02)  # T atoms reach down to 2T / (T - 1) steps, not to 2


def test_a_spread_start_gives_half_of_the_softmax_or_a_weight_of_one():
    torch.testing.assert_close(PulseClock(5, 64).weights().max(1).values, torch.full((5,), 0.5))
    assert SparsePulseClock(5, 64).coefficients.sum(1).tolist() == [1.0] * 5
