"""The network of learned clocks: its update, its kernel, its parameters."""

from itertools import product

import pytest
import torch

from multiscale import ClockworkRNN, DCTClock, LearnedClockRNN, PulseClock
from multiscale.checks import InvalidInput
from multiscale.kernels import recurrence
from tests.helpers.clocks import CLOCKS, assert_same, everything, make_one_hot

OPTIONS = list(
    product(("none", "minmax"), ("spread", "zeros", "random"), (None, 0.0), ("full", "slow_to_fast", "none"))
)

FAST = ("hoisted",) if recurrence.unavailable() else ("native", "hoisted")


def test_the_update_is_the_mixture_of_candidate_and_state():
    model = LearnedClockRNN(2, 5, PulseClock(2, 4), kernel="hoisted").double()
    x, h = torch.randn(3, 1, 2, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    t = torch.tensor([1, 2, 4])
    activation = model.clock(t)
    active = torch.cat([activation[:, :1].expand(3, 3), activation[:, 1:].expand(3, 2)], 1)
    candidate = torch.tanh(x[:, 0] @ model.input.T + h @ model.recurrent.T + model.bias)
    expected = active * candidate + (1 - active) * h
    torch.testing.assert_close(torch.cat(model(x, (h, t)).levels, -1)[:, 0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", FAST)
@pytest.mark.parametrize("kind", CLOCKS)
def test_the_fast_kernels_are_the_loop_for_every_option(kind, kernel):
    for normalisation, initialisation, hard_from, connectivity in OPTIONS:
        clocks = [
            CLOCKS[kind](
                3, 8, normalisation=normalisation, initialisation=initialisation, hard_from=hard_from, update_cost=0.3
            )
            for _ in range(2)
        ]
        reference = LearnedClockRNN(3, 7, clocks[0], connectivity, kernel="reference").double()
        fast = LearnedClockRNN(3, 7, clocks[1], connectivity, kernel=kernel).double()
        fast.load_state_dict(reference.state_dict())
        x, h = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 7, dtype=torch.float64)
        for t in (torch.tensor([3, 3]), torch.tensor([2, 9])):
            a, b = everything(reference, x, (h, t)), everything(fast, x, (h, t))
            assert_same(a, b)
            assert a["update"].min() >= 0
            assert a["update"].max() <= 1
            assert a["penalty"] >= 0
            assert all(value.isfinite().all() for value in a.values())


@pytest.mark.parametrize("kernel", FAST)
def test_in_float32_the_fast_kernels_err_at_most_twice_as_much_as_the_loop(kernel):
    truth = LearnedClockRNN(5, 33, PulseClock(5, 20), kernel="reference").double()
    loop, fast = (LearnedClockRNN(5, 33, PulseClock(5, 20), kernel=name) for name in ("reference", kernel))
    x, h = torch.randn(2, 63, 5, dtype=torch.float64), torch.randn(2, 33, dtype=torch.float64)
    for model in (loop, fast):
        model.load_state_dict(truth.state_dict())
    t = torch.tensor([0, 0])
    exact = everything(truth, x, (h, t))
    runs = [everything(model, x.float(), (h.float(), t)) for model in (loop, fast)]
    for name, value in exact.items():
        errors = [(run[name].double() - value).double().square().mean().sqrt() for run in runs]
        assert errors[1] <= 2 * errors[0] + 3e-7 * value.double().square().mean().sqrt(), name


def test_a_sequence_may_be_cut_anywhere_because_the_counter_is_carried():
    model = LearnedClockRNN(2, 7, PulseClock(3, 6, initialisation="random")).double()
    x = torch.randn(2, 8, 2, dtype=torch.float64)
    whole = model(x)
    for cut in range(1, 8):
        first = model(x[:, :cut])
        second = model(x[:, cut:], first.state)
        for a, b, c in zip(first.levels, second.levels, whole.levels, strict=True):
            torch.testing.assert_close(torch.cat([a, b], 1), c, rtol=0, atol=1e-12)
        assert second.state[1].tolist() == [8, 8]


def test_without_connections_a_module_hears_only_itself_and_slow_to_fast_follows_the_current_periods():
    for connectivity, heard in (
        ("none", set()),
        ("slow_to_fast", {(0, 1), (0, 2), (2, 1)}),
        ("full", set(product(range(3), range(3)))),
    ):
        model = LearnedClockRNN(1, 6, PulseClock(3, 8), connectivity)
        make_one_hot(model.clock, [2, 8, 4], [0, 0, 0])
        blocks = model.connected().detach().reshape(3, 2, 3, 2).abs().amax((1, 3)) > 0
        pairs = {(i, j) for i, j in product(range(3), range(3)) if i != j and blocks[i, j]}
        assert pairs == {pair for pair in heard if pair[0] != pair[1]}
        assert blocks.diagonal().all()


@pytest.mark.parametrize("kind", CLOCKS)
def test_every_parameter_gets_a_gradient_every_step(kind):
    model = LearnedClockRNN(2, 6, CLOCKS[kind](3, 8, hard_from=0))
    torch.cat(model(torch.randn(1, 1, 2)).levels, -1).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_clock_weights_take_no_decay_and_their_own_learning_rate():
    model = LearnedClockRNN(2, 6, DCTClock(3, 8), clock_lr=0.5)
    rest, clock = model.parameter_groups()
    assert {id(p) for p in clock["params"]} == {id(p) for p in model.clock.parameters()}
    assert len(rest["params"]) + len(clock["params"]) == len(list(model.parameters()))
    optimizer = torch.optim.AdamW(model.parameter_groups(), lr=0.1, weight_decay=0.2)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.1, 0.2), (0.5, 0.0)]
    assert [len(g["params"]) for g in ClockworkRNN(2, 6, [1, 2]).parameter_groups()] == [3]


def test_the_network_tells_of_its_clocks_what_they_have_learned():
    model = LearnedClockRNN(2, 6, PulseClock(3, 8, update_cost=0.5))
    assert model.level_names == ("clock 1, period 1", "clock 2, period 2", "clock 3, period 4")
    measures = model.measures()
    assert list(measures) == ["period", "entropy", "duty", "gap"]
    assert measures["period"].tolist() == [1, 2, 4]
    assert torch.equal(model(torch.randn(1, 4, 2)).penalty, model.clock.penalty())
    assert model.clock.penalty() > 0


@pytest.mark.parametrize("kind", CLOCKS)
def test_updates_stay_float32_under_autocast(kind):
    model = LearnedClockRNN(2, 6, CLOCKS[kind](3, 8, initialisation="random"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.randn(2, 4, 2), trace=True).trace.update.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clock": PulseClock(9, 256)}, "hidden_size must be at least the number of modules, 9; got 6"),
        ({"clock": 4}, "clock must be a Clock, such as PulseClock.*got 4"),
        ({"connectivity": "fast_to_slow"}, "connectivity"),
        ({"clock_lr": -1.0}, "clock_lr"),
        ({"kernel": "fast"}, "kernel"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        LearnedClockRNN(**({"input_size": 2, "hidden_size": 6, "clock": PulseClock(3, 16)} | arguments))
