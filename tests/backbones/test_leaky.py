"""Leaky-integrator groups: what they are, by oracles, and that the options do what they say."""

import pytest
import torch
from torch import nn

from multiscale.backbones.leaky import LeakyRNN
from multiscale.checks import InvalidInput
from multiscale.kernels import recurrence
from multiscale.testing import laws
from tests.conftest import backbone
from tests.helpers.weights import perturbed

KERNELS = ("hoisted", "reference")

test_learned_time_constants_keep_every_law = laws(lambda d: LeakyRNN(d, 7, [2, [3, 9]], "argument", learned=True))


def inputs(steps: int, size: int = 5) -> torch.Tensor:
    return torch.randn(2, steps, size, dtype=torch.float64)


def randomized(*arguments, **options) -> LeakyRNN:
    return perturbed(LeakyRNN(*arguments, **options))


@pytest.mark.parametrize("kernel", KERNELS if recurrence.unavailable() else ("native", *KERNELS))
def test_with_all_time_constants_one_it_is_the_elman_network_of_torch(kernel):
    ours = randomized(5, 7, [1, 1, 1], kernel=kernel)
    dense = nn.RNN(5, 7, batch_first=True).double()
    with torch.no_grad():
        dense.weight_ih_l0.copy_(ours.input)
        dense.weight_hh_l0.copy_(ours.recurrent)
        dense.bias_ih_l0.copy_(ours.bias)
        dense.bias_hh_l0.zero_()
    x, first = inputs(9), torch.randn(2, 7, dtype=torch.float64)
    output, (expected, last) = ours(x, (first,)), dense(x, first[None])
    torch.testing.assert_close(torch.cat(output.levels, -1), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(output.state[0], last[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("leak", ["output", "argument"])
def test_without_weights_the_state_decays_to_its_target_as_a_power_of_one_minus_a(leak, kernel):
    ours = randomized(5, 6, [2, 5, 70], leak=leak, kernel=kernel)
    with torch.no_grad():
        ours.input.zero_()
        ours.recurrent.zero_()
    first = torch.randn(2, 6, dtype=torch.float64)
    target = torch.tanh(ours.bias) if leak == "output" else ours.bias
    tau = torch.tensor([2, 2, 5, 5, 70, 70], dtype=torch.float64)
    left = (1 - 1 / tau) ** torch.arange(1, 12)[:, None]
    expected = target + left * (first - target)[:, None]
    output = ours(inputs(11), (first,))
    torch.testing.assert_close(output.state[0], expected[:, -1], rtol=0, atol=1e-12)
    seen = expected if leak == "output" else torch.tanh(expected)
    torch.testing.assert_close(torch.cat(output.levels, -1), seen, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_multiple_timescale_network_is_its_equations_group_by_group(kernel):
    ours = randomized(5, [3, 2, 4], [2, 5, 70], "argument", links="neighbours", input_to="fastest", kernel=kernel)
    x = inputs(8)
    parts = [[0, 1, 2], [3, 4], [5, 6, 7, 8]]

    def weights(to: int, of: int) -> torch.Tensor:
        return ours.recurrent[parts[to]][:, parts[of]]

    fast, middle, slow = (torch.zeros(2, n, dtype=torch.float64) for n in (3, 2, 4))
    bias = ours.bias.split([3, 2, 4])
    output = ours(x)
    for t in range(8):
        f, m, s = fast.tanh(), middle.tanh(), slow.tanh()
        into = x[:, t] @ ours.input.t() + f @ weights(0, 0).t() + m @ weights(0, 1).t() + bias[0]
        fast = fast / 2 + into / 2
        middle = 4 / 5 * middle + (f @ weights(1, 0).t() + m @ weights(1, 1).t() + s @ weights(1, 2).t() + bias[1]) / 5
        slow = 69 / 70 * slow + (m @ weights(2, 1).t() + s @ weights(2, 2).t() + bias[2]) / 70
        for level, u in zip(output.levels, (fast, middle, slow), strict=True):
            torch.testing.assert_close(level[:, t], u.tanh(), rtol=0, atol=1e-12)
    torch.testing.assert_close(output.state[0], torch.cat([fast, middle, slow], 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("leak", ["output", "argument"])
def test_gradients_of_weights_and_learned_time_constants_are_finite_differences(leak):
    ours = randomized(2, [2, 1], [2, 7], leak, learned=True)
    x = inputs(5, 2)
    names, values = zip(*ours.named_parameters(), strict=True)

    def run(*values: torch.Tensor) -> torch.Tensor:
        levels = torch.func.functional_call(ours, dict(zip(names, values, strict=True)), (x,)).levels
        return torch.cat(levels, -1)

    assert torch.autograd.gradcheck(run, values)


def test_a_learned_network_starts_as_the_fixed_one_and_stays_above_one_step():
    fixed, learned = LeakyRNN(5, 6, [2, 5, 70]), LeakyRNN(5, 6, [2, 5, 70], learned=True)
    learned.load_state_dict(fixed.state_dict(), strict=False)
    x = torch.randn(2, 9, 5)
    for one, other in zip(fixed(x).levels, learned(x).levels, strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        learned.theta.copy_(torch.tensor([-80.0, -5, 0, 3, 9, 80]))
    assert ((learned.rate() <= 1) & (learned.rate() >= 0)).all()
    assert learned.measures()["period"].ge(1).all()
    assert LeakyRNN(5, 3, [1], learned=True).measures()["period"].item() == pytest.approx(1.05)


def test_a_learned_time_constant_gets_no_weight_decay():
    first, last = LeakyRNN(5, 6, [2, 5], learned=True).parameter_groups()
    assert "weight_decay" not in first
    assert last["weight_decay"] == 0
    assert [tuple(p.shape) for p in last["params"]] == [(6,)]


def test_a_pair_spreads_the_units_of_its_group_evenly_in_the_logarithm():
    model = LeakyRNN(5, [3, 1, 2], [[8, 128], [1, 16], 5])  # sorted by 32, 4 and 5
    torch.testing.assert_close(model.tau, torch.tensor([4, 5, 5, 8, 32, 128.0]))
    torch.testing.assert_close(model.measures()["period"], torch.tensor([4, 5, 32.0]))
    assert model.level_sizes == (1, 2, 3)
    assert model.level_names == ("group 1, tau 4", "group 2, tau 5", "group 3, tau 32")
    rates = torch.tensor([1 / 4, 1 / 5, (1 / 8 + 1 / 32 + 1 / 128) / 3])
    torch.testing.assert_close(model(torch.randn(1, 3, 5), trace=True).trace.update, rates.expand(1, 3, 3))


def test_groups_that_are_not_neighbours_do_not_read_each_other_however_large_their_weights():
    model = randomized(5, 6, [1, 2, 4], links="neighbours", input_to="fastest")
    x = inputs(2)  # what enters the first group at step 1 is in the second at 2, and in the third at 3
    before = model(x).levels[2]
    with torch.no_grad():
        model.recurrent[model.mask == 0] = 1e3
    assert torch.equal(model(x).levels[2], before)
    assert torch.equal(model(-x).levels[2], before)
    assert not torch.equal(model(-x).levels[1], model(x).levels[1])


def test_costs_are_of_the_weights_in_use():
    model = LeakyRNN(5, [3, 2, 4], [2, 5, 70], links="neighbours", input_to="fastest")
    assert [product.macs for product in model.products()] == [3 * (5 + 5), 2 * 9, 4 * 6]
    assert model.idle_weights() == 2 * 3 * 4
    matrices = model.input.numel() + model.recurrent.numel()
    assert sum(product.macs for product in model.products()) == matrices - model.idle_weights()
    assert LeakyRNN(5, 9, [2, 5, 70]).idle_weights() == 0


@pytest.mark.parametrize("model", ["leaky", "mtrnn"])
def test_no_group_lives_faster_than_one_before_it(model):
    rates = backbone(model)(inputs(3), trace=True).trace.update[0, 0]
    assert rates.sort(descending=True)[0].equal(rates)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"time_constants": []}, "time_constants must be a list of at least one number or pair"),
        ({"time_constants": 4}, "time_constants must be a list .*got 4"),
        ({"time_constants": [2, 0.5]}, r"time_constants\[1\] must be a number at least 1; got 0.5"),
        ({"time_constants": [2, "5"]}, r"time_constants\[1\] must be a number at least 1; got '5'"),
        ({"time_constants": [2, float("inf")]}, r"time_constants\[1\] must be a finite number"),
        ({"time_constants": [2, [3, 4, 5]]}, r"time_constants\[1\] must be a number of steps, or \[low, high\]"),
        ({"time_constants": [[0, 4]]}, r"time_constants\[0\]\[0\] must be a number at least 1; got 0"),
        ({"time_constants": [[8, 4]]}, r"time_constants\[0\]\[1\] must be a number at least 8; got 4"),
        ({"time_constants": [1, 2, 3, 4, 5]}, "hidden_size must be at least the number of modules, 5; got 4"),
        ({"hidden_size": [3]}, "hidden_size must be one number or 2 of them"),
        ({"input_size": 0}, "input_size"),
        ({"leak": "input"}, "leak must be one of output, argument"),
        ({"learned": 1}, "learned must be true or false"),
        ({"links": "neighbors"}, "Did you mean 'neighbours'"),
        ({"input_to": "slowest"}, "input_to must be one of all, fastest"),
        ({"kernel": "fused"}, "kernel must be one of auto, native, hoisted, reference"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        LeakyRNN(**{"input_size": 3, "hidden_size": 4, "time_constants": [1, 2], **wrong})
