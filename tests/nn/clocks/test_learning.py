"""What clocks learn from a wave that they are shown, what keeps them from it, and what their weights cost."""

import math

import pytest
import torch
from torch import Tensor, nn

from multiscale import DCTClock, DirectClock, PulseClock, SparsePulseClock
from multiscale.nn.clocks.base import Clock
from multiscale.nn.schedules import Constant
from tests.helpers.clocks import pulses


def test_zero_logits_over_784_periods_start_the_network_nearly_frozen():
    clock = PulseClock(1, 784, initialisation="zeros")
    assert clock.wave(784 * 20).mean().item() == pytest.approx(sum(1 / p for p in range(1, 785)) / 784, rel=0.02)
    assert clock.wave(784 * 20).mean() < 0.0101


def test_the_atoms_of_a_period_and_its_double_overlap():
    atoms = PulseClock(1, 16).atoms(torch.arange(16 * 15))
    cosine = nn.functional.cosine_similarity(atoms[:, 5 - 1], atoms[:, 10 - 1], dim=0)
    assert cosine.item() == pytest.approx(math.sqrt(0.5), abs=1e-6)


def test_l1_weights_learn_from_exact_zeros_and_out_of_saturation():
    steps = torch.arange(24)
    for value in (0.0, 5.0, -5.0):
        clock = SparsePulseClock(1, 8, initialisation="zeros")
        with torch.no_grad():
            clock.coefficients.fill_(value)
        target = pulses(4, 24)
        (clock(steps)[:, 0] - target).square().sum().backward()
        passed = clock.coefficients.grad.clone()
        assert passed.any(), value
        # A clip that saturates stops what the straight-through one lets pass.
        clock.coefficients.grad = None
        z = clock.atoms(steps) @ clock.coefficients[0]
        (z.clamp(0, 1) - target).square().sum().backward()
        assert value == 0 or not clock.coefficients.grad[0, 0]
    assert torch.equal(clock(steps)[:, 0], torch.zeros(24))


def learn(clock: Clock, target: Tensor, rate: float, updates: int = 300) -> float:
    optimizer = torch.optim.Adam(clock.parameters(), lr=rate)
    steps = torch.arange(len(target))
    for update in range(updates):
        clock.anneal(20 * update / updates)
        optimizer.zero_grad()
        (clock(steps)[:, 0] - target).square().mean().backward()
        optimizer.step()
    return clock.periods().item()


@pytest.mark.parametrize("period", [3, 10, 12])
def test_a_frequency_learned_directly_does_not_find_a_period_that_the_basis_finds(period):
    torch.manual_seed(0)
    assert learn(PulseClock(1, 32, initialisation="random"), pulses(period, 128), 0.1) == period
    found = learn(DirectClock(1, 32, Constant(4.0), initialisation="random"), pulses(period, 128), 0.01)
    assert abs(found - period) > 0.05 * period


def test_the_update_cost_and_l1_are_what_they_say():
    priced = PulseClock(3, 8, update_cost=0.5)
    torch.testing.assert_close(priced.penalty(), 0.5 * priced.wave().mean())
    priced.penalty().backward()
    # What is paid for is the mean activation: the price of period 1 rises, that of period 8 falls.
    assert (priced.logits.grad[:, 0] > 0).all()
    assert (priced.logits.grad[:, 7] < 0).all()
    sparse = DCTClock(3, 8, l1=0.1)
    torch.testing.assert_close(sparse.penalty(), 0.1 * sparse.coefficients.abs().sum(1).mean())
    torch.testing.assert_close(SparsePulseClock(3, 8, l1=0.1).penalty(), torch.tensor(0.1))
    both = SparsePulseClock(3, 8, l1=0.1, update_cost=0.5)
    torch.testing.assert_close(both.penalty(), 0.1 + 0.5 * both.wave().mean())
    assert PulseClock(3, 8).penalty() == 0
