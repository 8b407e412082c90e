"""Connections that skip in time: what they are, by oracles and by hand, with gated feedback and without."""

import pytest
import torch
from torch import nn

from multiscale.backbones.skip_in_time import SkipInTimeRNN
from multiscale.checks import InvalidInput
from multiscale.testing import laws
from tests.helpers.weights import perturbed

KERNELS = ("hoisted", "reference")

test_gated_feedback_keeps_every_law = laws(lambda d: SkipInTimeRNN(d, [3, 2, 4], [[1], [2], [1, 3]], gates=True))


def inputs(steps: int, size: int = 5) -> torch.Tensor:
    return torch.randn(2, steps, size, dtype=torch.float64)


def randomized(*arguments, **options) -> SkipInTimeRNN:
    return perturbed(SkipInTimeRNN(*arguments, **options))


@pytest.mark.parametrize("kernel", KERNELS)
def test_with_lags_of_one_it_is_the_stack_of_torch(kernel):
    ours = randomized(5, 4, [[1], [1]], kernel=kernel)
    dense = nn.RNN(5, 4, num_layers=2, batch_first=True).double()
    with torch.no_grad():
        for l, layer in enumerate(ours.layers):
            getattr(dense, f"weight_ih_l{l}").copy_(layer.input)
            getattr(dense, f"weight_hh_l{l}").copy_(layer.lagged)
            getattr(dense, f"bias_ih_l{l}").copy_(layer.bias)
            getattr(dense, f"bias_hh_l{l}").zero_()
    x, first = inputs(9), torch.randn(2, 2, 4, dtype=torch.float64)
    output, (expected, last) = ours(x, tuple(first[:, :, None])), dense(x, first)
    torch.testing.assert_close(output.levels[1], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.cat(output.state, 1).transpose(0, 1), last, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_lag_reads_the_state_of_that_many_steps_before(kernel):
    ours = randomized(5, [2, 3], [[2], [4, 1]], kernel=kernel)  # in any order
    below, above = ours.layers
    x, output = inputs(9), None
    first, second = ([torch.randn(2, n, dtype=torch.float64) for _ in range(m)] for n, m in ((2, 2), (3, 4)))
    output = ours(x, (torch.stack(first, 1), torch.stack(second, 1)))
    one, four = above.lagged.split(3, 1)
    for t in range(9):
        first.append((x[:, t] @ below.input.t() + first[-2] @ below.lagged.t() + below.bias).tanh())
        second.append((first[-1] @ above.input.t() + second[-1] @ one.t() + second[-4] @ four.t() + above.bias).tanh())
    for level, past, state, kept in zip(output.levels, (first, second), output.state, (2, 4), strict=True):
        torch.testing.assert_close(level, torch.stack(past[kept:], 1), rtol=0, atol=1e-12)
        torch.testing.assert_close(state, torch.stack(past[-kept:], 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gated_feedback_is_its_equations_and_gates_lag_one_alone(kernel):
    ours = randomized(5, [2, 3], [[1], [1, 2]], gates=True, kernel=kernel)
    x = inputs(6)
    past = [[torch.zeros(2, n, dtype=torch.float64)] * 2 for n in (2, 3)]
    output = ours(x)
    for t in range(6):
        below, before = x[:, t], [level[-1] for level in past]
        for l, layer in enumerate(ours.layers):
            argument = below @ layer.input.t() + layer.bias
            for j, (h, weights) in enumerate(zip(before, layer.lagged[:, :5].split([2, 3], 1), strict=True)):
                gate = below @ layer.gate_input[j] + torch.cat(before, 1) @ layer.gate_recurrent[j]
                argument = argument + gate.sigmoid()[:, None] * (h @ weights.t())
            if l == 1:
                argument = argument + past[1][-2] @ layer.lagged[:, 5:].t()
            below = argument.tanh()
            past[l] = [*past[l], below]
            torch.testing.assert_close(output.levels[l][:, t], below, rtol=0, atol=1e-12)


def test_with_gates_lag_one_is_read_whether_it_is_listed_or_not():
    listed, not_listed = (randomized(5, 3, [[1], lags], gates=True) for lags in ([1, 2], [2]))
    not_listed.load_state_dict(listed.state_dict())
    x = inputs(7)
    for one, other in zip(listed(x).levels, not_listed(x).levels, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("gates", [False, True])
def test_hoisted_and_reference_agree_from_any_state(gates):
    ours = randomized(5, [3, 2, 4], [[1], [1, 2, 4], [1, 8, 16]], gates=gates)
    state = ours(inputs(20)).state
    x = inputs(19)
    fast, slow = (ours.use(kernel)(x, state) for kernel in KERNELS)
    for one, other in zip((*fast.levels, *fast.state), (*slow.levels, *slow.state), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_lag_carries_gradient_over_its_steps_without_those_between():
    ours = randomized(5, 3, [[1, 4]])
    with torch.no_grad():
        ours.layers[0].lagged[:, :3] = 0
    x = inputs(10).requires_grad_()
    ours(x).levels[0][:, 9].sum().backward()
    reached = x.grad.abs().sum((0, 2)).ne(0)
    assert reached.nonzero().flatten().tolist() == [1, 5, 9]


@pytest.mark.parametrize("gates", [False, True])
def test_gradients_are_finite_differences(gates):
    ours = randomized(2, [1, 2], [[1], [1, 3]], gates=gates)
    x = inputs(5, 2)
    names, values = zip(*ours.named_parameters(), strict=True)

    def run(*values: torch.Tensor) -> torch.Tensor:
        levels = torch.func.functional_call(ours, dict(zip(names, values, strict=True)), (x,)).levels
        return torch.cat(levels, -1)

    assert torch.autograd.gradcheck(run, values)


@pytest.mark.parametrize("gates", [False, True])
def test_costs_are_of_all_weights(gates):
    ours = SkipInTimeRNN(5, [2, 3], [[1], [1, 2]], gates=gates)
    own = [2 * (5 + 2), 3 * (2 + 2 * 3)]
    feedback = [2 * 3 + 2 * (5 + 5), 3 * 2 + 2 * (2 + 5)]  # of the other level, and of two gates a level
    expected = [a + b * gates for a, b in zip(own, feedback, strict=True)]
    assert [product.macs for product in ours.products()] == expected


def test_levels_are_named_by_their_lags():
    assert SkipInTimeRNN(5, 2, [[1], [8, 1]]).level_names == ("layer 1, lags 1", "layer 2, lags 1, 8")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lags": []}, "lags must be a list of at least one list"),
        ({"lags": 4}, "lags must be a list .*got 4"),
        ({"lags": [1, 2]}, r"lags\[0\] must be a list of at least one whole number of steps; got 1"),
        ({"lags": [[1], []]}, r"lags\[1\] must be a list of at least one whole number of steps; got \[\]"),
        ({"lags": [[1], [1, 0]]}, r"lags\[1\]\[1\] must be a whole number of at least 1; got 0"),
        ({"lags": [[1], [2, 2]]}, r"lags\[1\] must be distinct; got \[2, 2\]"),
        ({"lags": [[1, 4], [1, 2]]}, r"lags\[1\] must reach at least as far .* 4 steps; got \[1, 2\]"),
        ({"hidden_size": [3]}, "hidden_size must be one number or 2 of them"),
        ({"input_size": 0}, "input_size"),
        ({"gates": "yes"}, "gates must be true or false"),
        ({"kernel": "fused"}, "kernel must be one of auto, hoisted, reference"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        SkipInTimeRNN(**{"input_size": 3, "hidden_size": 4, "lags": [[1], [1, 2]], **wrong})
