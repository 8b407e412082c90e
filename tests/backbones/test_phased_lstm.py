"""The Phased LSTM: the openness and a step by hand, and torch's LSTM where every unit is always wide open."""

import math

import pytest
import torch
from torch import Tensor, nn

from multiscale.backbones.phased_lstm import PhasedLSTM
from multiscale.checks import InvalidInput

KERNELS = ("hoisted", "reference")


def inputs(batch: int = 3, steps: int = 9, size: int = 5) -> Tensor:
    return torch.randn(batch, steps, size, dtype=torch.float64)


def timed(period: float, shift: float, hidden: int = 6, **options) -> PhasedLSTM:
    """One whose units all have this clock."""
    model = PhasedLSTM(5, hidden, 2, **options).double().eval()
    nn.init.constant_(model.log_period, math.log(period))
    nn.init.constant_(model.shift, shift)
    return model


def torch_lstm(model: PhasedLSTM, x: Tensor) -> Tensor:
    oracle = nn.LSTM(5, 6, batch_first=True).double()
    oracle.load_state_dict(model.lstm.state_dict())
    return oracle(x)[0]


# The clock.


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shift", [0.0, 30.0, -250.0])
def test_the_openness_rises_and_falls_in_the_open_part_of_a_cycle_and_leaks_in_training(shift, training):
    model = timed(100.0, shift, open_ratio=0.1, leak=0.02).train(training)
    leak = 0.02 if training else 0.0
    wanted = {0: 0, 2: 0.4, 4: 0.8, 5: 1, 7: 0.6, 9: 0.2, 11: 0.11 * leak, 50: 0.5 * leak, 99: 0.99 * leak, 102: 0.4}
    wanted |= {10**6 + 4: 0.8}
    k = model.openness(torch.tensor([t + shift for t in wanted], dtype=torch.float64))
    expected = torch.tensor(list(wanted.values()), dtype=torch.float64)[:, None].expand(-1, 6)
    torch.testing.assert_close(k, expected, rtol=0, atol=1e-8)


def test_a_late_step_of_a_float32_network_has_the_phase_of_its_float32_period():
    model = PhasedLSTM(5, 50, log_period=[0, 2], open_ratio=1.0)
    late = torch.tensor([10**7, 10**7 + 1])
    assert torch.equal(model.openness(late), model.double().openness(late))


def test_the_clock_gets_the_gradient_of_finite_differences():
    model = PhasedLSTM(5, 6, open_ratio=0.6, leak=0.3)
    model.double().train()
    times = 40 * torch.rand(20, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *_: model.openness(times), (model.log_period, model.shift))


# The network.


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("period", "ratio"), [(1, 0.5), (3, 0.3), (4, 0.25)])
def test_units_wide_open_at_every_nth_step_are_torchs_lstm_on_these_and_held(period, ratio, kernel):
    # Shifted by half the open part, the phase at t = 0 is r_on / 2, where k is 1; from there to the next it is closed.
    model = timed(period, -period * ratio / 2, open_ratio=ratio, peepholes=False, kernel=kernel)
    x = inputs(steps=11)
    output = model(x, trace=True)
    levels = torch.cat(output.levels, 2)
    held = torch_lstm(model, x[:, ::period]).repeat_interleave(period, 1)[:, :11]
    torch.testing.assert_close(levels, held, rtol=0, atol=1e-12)
    for t in range(1, 11):
        assert torch.equal(levels[:, t], levels[:, t - 1]) == bool(t % period)
    assert (output.trace.update > 0).tolist() == [[[t % period == 0] * 2 for t in range(11)]] * 3


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("training", [True, False])
def test_a_sequence_is_that_of_the_equations(training, kernel):
    model = PhasedLSTM(5, 6, 2, log_period=[0, 2], open_ratio=0.3, kernel=kernel).double().train(training)
    x = inputs()
    h, c = torch.randn(2, 3, 6, dtype=torch.float64)
    output = model(x, (h, c, torch.tensor([4, 4, 11])), trace=True)
    w, u, b, b_h = model.lstm.parameters()
    w_ci, w_cf, w_co = model.peephole
    tau, s = model.log_period.exp(), model.shift
    for step in range(9):
        t = torch.tensor([4, 4, 11])[:, None] + step
        phi = torch.remainder(t - s, tau) / tau
        k = (0.001 if training else 0) * phi
        k = torch.where(phi < 0.3, 2 - 2 * phi / 0.3, k)
        k = torch.where(phi < 0.15, 2 * phi / 0.3, k)
        i, f, g, o = (x[:, step] @ w.T + b + h @ u.T + b_h).chunk(4, 1)
        new_c = torch.sigmoid(f + w_cf * c) * c + torch.sigmoid(i + w_ci * c) * torch.tanh(g)
        new_h = torch.sigmoid(o + w_co * new_c) * torch.tanh(new_c)
        c, h = k * new_c + (1 - k) * c, k * new_h + (1 - k) * h
        torch.testing.assert_close(torch.cat(output.levels, 2)[:, step], h)
        means = torch.stack([k[:, :3].mean(1), k[:, 3:].mean(1)], 1)
        torch.testing.assert_close(output.trace.update[:, step], means.detach())
    torch.testing.assert_close(output.state[:2], (h, c))
    assert output.state[2].tolist() == [13, 13, 20]


def test_a_closed_unit_keeps_its_state_in_evaluation_and_leaks_in_training():
    model = timed(1000.0, -500.0).float()  # half way round at t = 0
    h, c = torch.randn(2, 3, 6)
    state = (h, c, torch.zeros(3, dtype=torch.int64))
    x = inputs().float()
    after = model(x, state).state
    assert torch.equal(after[0], h)
    assert torch.equal(after[1], c)
    leaked = (model.train()(x, state).state[1] - c).abs().max().item()
    assert 0 < leaked < 9 * 0.001 * 2


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_time_may_come_with_the_input(kernel):
    counting = PhasedLSTM(5, 6, 2, log_period=[0, 2], kernel=kernel).double()
    reading = PhasedLSTM(6, 6, 2, log_period=[0, 2], time="input", kernel=kernel).double()
    reading.load_state_dict(counting.state_dict())
    x = inputs()
    steps = torch.arange(9.0).double().expand(3, 9)[..., None]
    for one, other in zip(counting(x).levels, reading(torch.cat([x, steps], 2)).levels, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    irregular = torch.cat([x, torch.rand(3, 9, 1).cumsum(1)], 2)
    whole = reading(irregular).levels[0]
    parts = reading(irregular[:, :4])
    again = torch.cat([parts.levels[0], reading(irregular[:, 4:], parts.state).levels[0]], 1)
    torch.testing.assert_close(again, whole, rtol=0, atol=1e-12)


def test_the_time_gate_alone_reads_the_time():
    model = PhasedLSTM(6, 6, 2, time="input").double()
    with torch.no_grad():
        model.log_period.fill_(math.log(8.0))
    x = inputs(size=6)
    later = x.clone()
    later[..., 5] += 8
    torch.testing.assert_close(model(later).levels, model(x).levels, rtol=0, atol=1e-9)


# Its groups.


def test_groups_start_with_the_periods_of_their_part_of_the_range_fastest_first():
    model = PhasedLSTM(5, 400, 3, log_period=[1, 7])
    assert model.level_sizes == (134, 133, 133)
    for l, part in enumerate(model.log_period.detach().split(model.level_sizes)):
        assert 1 + 2 * l <= part.min() < 1.2 + 2 * l
        assert 2.8 + 2 * l < part.max() <= 3 + 2 * l
    cycles = model.shift.detach() / model.log_period.detach().exp()
    assert 0 <= cycles.min() < 0.05
    assert 0.95 < cycles.max() < 1


def test_the_period_of_a_group_is_the_geometric_mean_and_names_it():
    model = PhasedLSTM(5, 4, 2)
    with torch.no_grad():
        model.log_period.copy_(torch.tensor([2.0, 8.0, 10.0, 1000.0]).log())
    torch.testing.assert_close(model.measures()["period"], torch.tensor([4.0, 100.0]))
    assert model.level_names == ("group 1, period 4", "group 2, period 100")


def test_clocks_get_no_weight_decay():
    model = PhasedLSTM(5, 4, 2)
    others, clocks = model.parameter_groups()
    assert [id(p) for p in clocks["params"]] == [id(model.log_period), id(model.shift)]
    assert clocks["weight_decay"] == 0
    assert len(others["params"]) + 2 == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_size": 0}, "input_size must be a whole number of at least 1; got 0"),
        ({"input_size": 1, "time": "input"}, "input_size must be at least 2 with time=input, of which .* got 1"),
        ({"hidden_size": 1}, "hidden_size must be at least the number of modules, 2; got 1"),
        ({"num_groups": 0}, "num_groups must be a whole number of at least 1; got 0"),
        ({"log_period": 3}, "log_period must be two numbers, the lower first; got 3"),
        ({"log_period": [1, 2, 3]}, r"log_period must be two numbers, the lower first; got \[1, 2, 3\]"),
        ({"log_period": [2, 1]}, r"log_period must be two numbers, the lower first; got \[2, 1\]"),
        ({"log_period": [1, "x"]}, r"log_period\[1\] must be a finite number; got 'x'"),
        ({"open_ratio": 0}, "open_ratio must be a number above 0 and at most 1; got 0"),
        ({"leak": 2}, "leak must be a number at least 0 and at most 1; got 2"),
        ({"time": "clock"}, "time must be one of steps, input; got 'clock'"),
        ({"peepholes": 1}, "peepholes must be true or false; got 1"),
        ({"kernel": "fused"}, "kernel must be one of auto, hoisted, reference; got 'fused'"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        PhasedLSTM(**{"input_size": 3, "hidden_size": 4, "num_groups": 2, **wrong})
