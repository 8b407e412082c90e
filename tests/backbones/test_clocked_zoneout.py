"""Zoneout of clocked networks: that of a stacked layer where every step is a tick, and nothing between ticks."""

import pytest
import torch
from torch import Tensor

from multiscale import ClockworkRNN, LearnedClockRNN, PulseClock, StackedRNN
from multiscale.backbones.base import Backbone
from multiscale.checks import InvalidInput
from multiscale.testing import laws
from tests.backbones.test_clockwork import CELLS

test_a_clockwork_with_zoneout_keeps_every_law = laws(
    "clockwork", "model.hidden_size=13", "model.cell=lstm", "model.zoneout=0.3", "model.zoneout_c=0.2"
)
test_a_learned_clock_with_zoneout_keeps_every_law = laws("learned_clock", "model.hidden_size=13", "model.zoneout=0.3")


def seeded(model: Backbone, x: Tensor) -> Tensor:
    torch.manual_seed(3)
    return torch.cat(model(x).levels, -1)


def stacked(model: Backbone, cell: str, **rates) -> StackedRNN:
    """The stacked layer of a model whose one module is updated at every step."""
    same = StackedRNN(3, 6, num_layers=1, cell=cell, **rates).double()
    weight_ih, weight_hh, bias_ih, bias_hh = same.layers[0].parameters()
    for own, given in ((weight_ih, model.input), (weight_hh, model.recurrent), (bias_ih, model.bias)):
        own.data = given.data.clone()
    bias_hh.data.zero_()
    return same.train(model.training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kernel", ["hoisted", "reference"])
@pytest.mark.parametrize("cell", CELLS)
def test_where_every_step_is_a_tick_it_is_the_zoneout_of_a_stacked_layer(cell, kernel, training):
    rates = {"zoneout": 0.4} | ({"zoneout_c": 0.3} if cell == "lstm" else {})
    model = ClockworkRNN(3, 6, [1], cell=cell, kernel=kernel, **rates).double().train(training)
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    torch.testing.assert_close(seeded(model, x), seeded(stacked(model, cell, **rates), x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kernel", ["hoisted", "reference"])
def test_of_a_clock_that_is_always_active_too(kernel, training):
    model = LearnedClockRNN(3, 6, PulseClock(1, 1), zoneout=0.4, kernel=kernel).double().train(training)
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    expected = seeded(stacked(model, "tanh", zoneout=0.4), x)
    torch.testing.assert_close(seeded(model, x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_of_clocks_that_are_soft_the_kernel_is_the_loop_with_the_same_draws(training):
    model = LearnedClockRNN(3, 6, PulseClock(3, 8, initialisation="random"), zoneout=0.4).double().train(training)
    x, state = torch.randn(2, 9, 3, dtype=torch.float64), (torch.randn(2, 6).double(), torch.tensor([0, 5]))
    runs = []
    for kernel in ("hoisted", "reference"):
        torch.manual_seed(3)
        levels = torch.cat(model.use(kernel)(x, state).levels, -1)
        runs.append((levels, *torch.autograd.grad(levels.square().sum(), list(model.parameters()))))
    torch.testing.assert_close(runs[0], runs[1], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("cell", CELLS)
def test_units_keep_their_value_at_ticks_as_often_as_asked_and_all_between_them(cell):
    model = ClockworkRNN(2, 40, [1, 3], cell=cell, zoneout=0.3)
    for level, period in zip(model(torch.randn(8, 60, 2)).levels, (1, 3), strict=True):
        kept = level[:, 1:] == level[:, :-1]
        tick = torch.arange(1, 60) % period == 0
        assert kept[:, ~tick].all()
        assert kept[:, tick].float().mean() == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ClockworkRNN(2, 6, [1, 2], zoneout=1.5), "zoneout must be a number at least 0 and at most 1; got 1.5"),
        (lambda: ClockworkRNN(2, 6, [1, 2], cell="gru", zoneout_c=0.1), "zoneout_c must be 0 for cell gru"),
        (lambda: ClockworkRNN(2, 6, [1, 2], zoneout=0.1, kernel="cascade"), "it knows no zoneout"),
        (lambda: ClockworkRNN(2, 6, [1, 2], zoneout=0.1, kernel="skipping"), "it knows no zoneout"),
        (lambda: LearnedClockRNN(2, 6, PulseClock(2, 4), zoneout=-0.1), "zoneout must be a number at least 0"),
        (
            lambda: LearnedClockRNN(2, 6, PulseClock(2, 4), zoneout=0.1).harden(),
            "a network without zoneout; got .* 0.1",
        ),
    ],
)
def test_bad_options_are_refused_by_name(make, named):
    with pytest.raises(InvalidInput, match=named):
        make()
