"""The Fast-Slow RNN against LSTM cells of torch, put together by hand."""

import pytest
import torch

from multiscale.backbones.base import detach
from multiscale.backbones.fast_slow import FastSlowRNN
from multiscale.checks import InvalidInput
from tests.conftest import backbone

KERNELS = ("hoisted", "reference")


def inputs(batch: int = 2, steps: int = 6, size: int = 5) -> torch.Tensor:
    return torch.randn(batch, steps, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def randomized(**arguments) -> FastSlowRNN:
    """No parameter at a special value, such as a bias of zero."""
    torch.manual_seed(0)
    model = FastSlowRNN(**{"input_size": 5, "hidden_size": [7, 4], **arguments}).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("fast_cells", [2, 3, 5])
def test_it_is_cells_of_torch_in_the_papers_order(fast_cells, kernel):
    model, x = randomized(fast_cells=fast_cells, kernel=kernel), inputs()
    first, second, *more = (part.cell for part in model.fast_cells)
    slow_cell = model.slow_cell.cell
    fast, slow = (tuple(torch.zeros(2, n, dtype=torch.float64) for _ in "hc") for n in (7, 4))
    expected = []
    for x_t in x.unbind(1):
        fast = first(x_t, fast)
        slow = slow_cell(fast[0], slow)
        fast = second(slow[0], fast)
        for cell in more:
            fast = cell(x_t[:, :0], fast)
        expected.append((fast[0], slow[0]))
    output = model(x)
    for level, steps in zip(output.levels, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(level, torch.stack(steps, 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(output.state, (fast, slow), rtol=0, atol=1e-12)


def test_a_cell_that_reads_nothing_is_one_of_zero_input():
    model = randomized(fast_cells=3)
    ours, theirs = model.fast_cells[2].cell, torch.nn.LSTMCell(1, 7).double()
    assert ours.weight_ih.numel() == 0
    with torch.no_grad():
        for name in ("weight_hh", "bias_ih", "bias_hh"):
            getattr(theirs, name).copy_(getattr(ours, name))
    state = tuple(torch.randn(2, 7, dtype=torch.float64) for _ in "hc")
    found = model.fast_cells[2](model.fast_cells[2].drive(torch.zeros(2, 0, dtype=torch.float64)), state)
    torch.testing.assert_close(found, theirs(torch.zeros(2, 1, dtype=torch.float64), state), rtol=0, atol=1e-12)


def test_the_slow_cell_reaches_the_fast_ones_through_the_second_alone():
    model, x = randomized(fast_cells=3), inputs()
    state = model(x).state
    other = (state[0], tuple(part + 1 for part in state[1]))
    assert not torch.equal(model(x, other).levels[0], model(x, state).levels[0])
    with torch.no_grad():
        model.fast_cells[1].cell.weight_ih.zero_()
    assert torch.equal(model(x, other).levels[0], model(x, state).levels[0])
    with torch.no_grad():
        model.slow_cell.cell.weight_ih.zero_()
    # Now the slow cell reads nothing, and the two know nothing of each other.
    assert torch.equal(model(2 * x, state).levels[1], model(x, state).levels[1])


def test_layer_norm_is_of_each_gates_whole_argument_and_of_c_inside_the_tanh():
    model = randomized(layer_norm=True)
    part = model.slow_cell
    read, h, c = (torch.randn(2, n, dtype=torch.float64) for n in (7, 4, 4))
    cell = part.cell
    argument = read @ cell.weight_ih.T + h @ cell.weight_hh.T + cell.bias_ih + cell.bias_hh
    i, f, g, o = (
        (gate - gate.mean(-1, keepdim=True)) / (gate.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * gain + offset
        for gate, gain, offset in zip(argument.chunk(4, -1), part.gain, part.offset, strict=True)
    )
    new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    new_h = torch.sigmoid(o) * torch.tanh(part.norm_c(new_c))
    torch.testing.assert_close(part(part.drive(read), (h, c)), (new_h, new_c), rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_it_starts_to_remember(layer_norm):
    model = FastSlowRNN(5, 8, 3, layer_norm=layer_norm)
    for part in (*model.fast_cells, model.slow_cell):
        inside = part.cell.bias_ih.view(4, 8) + part.cell.bias_hh.view(4, 8)
        start = part.offset if layer_norm else inside  # the norm takes away what all units have in common
        assert start.mean(1).tolist() == [0, 1, 0, 0]
        torch.testing.assert_close(part.cell.weight_hh.T @ part.cell.weight_hh, torch.eye(8), rtol=0, atol=1e-5)


@pytest.mark.parametrize("fast_cells", [2, 3])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_hoisted_and_reference_agree_with_all_gradients_from_any_state(fast_cells, layer_norm):
    model = randomized(fast_cells=fast_cells, layer_norm=layer_norm)
    state = detach(model(inputs()).state)
    x, runs = inputs(steps=5).requires_grad_(), []
    for kernel in KERNELS:
        output = model.use(kernel)(x, state)
        total = sum(level.square().sum() for level in output.levels) + output.state[1][1].sum()
        runs.append([*output.levels, *torch.autograd.grad(total, [x, *model.parameters()])])
    torch.testing.assert_close(*runs, rtol=0, atol=1e-12)


def test_zoneout_keeps_units_in_training_and_their_mean_in_evaluation():
    still = randomized(zoneout_h=1.0, zoneout_c=1.0)
    state = tuple(tuple(torch.randn(2, n, dtype=torch.float64) for _ in "hc") for n in (7, 4))
    for training in (True, False):
        assert torch.equal(still.train(training)(inputs(), state).state[0][0], state[0][0])
    model = randomized(zoneout_h=0.5)
    part = model.slow_cell
    h, c = state[1]
    drive = part.drive(torch.randn(2, 7, dtype=torch.float64))
    plain = randomized().slow_cell(drive, (h, c))
    torch.manual_seed(3)
    drawn = part(drive, (h, c))
    kept = drawn[0] == h
    assert kept.any()
    assert torch.equal(drawn[0], torch.where(kept, h, plain[0]))
    assert torch.equal(drawn[1], plain[1])  # its rate is 0
    torch.testing.assert_close(part.eval()(drive, (h, c))[0], (h + plain[0]) / 2, rtol=0, atol=1e-12)


def test_the_products_are_its_matrices():
    fast, slow = FastSlowRNN(5, [7, 4], 3, layer_norm=True).products()
    assert (fast.macs, slow.macs) == (4 * 7 * (5 + 4 + 3 * 7), 4 * 4 * (7 + 4))


def test_the_levels_are_named():
    assert backbone("fast_slow").level_names == ("fast", "slow")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_size": [3, 4, 5]}, "hidden_size must be one number or 2 of them"),
        ({"hidden_size": 0}, "hidden_size must be a whole number of at least 1; got 0"),
        ({"input_size": 0}, "input_size"),
        ({"fast_cells": 1}, "fast_cells must be at least 2, one before the slow cell and one after; got 1"),
        ({"fast_cells": 2.0}, "fast_cells must be a whole number"),
        ({"zoneout_h": 1.5}, "zoneout_h must be a number at least 0 and at most 1; got 1.5"),
        ({"zoneout_c": -0.1}, "zoneout_c must be a number at least 0 and at most 1; got -0.1"),
        ({"layer_norm": 1}, "layer_norm must be true or false; got 1"),
        ({"hidden_size": [3, 1], "layer_norm": True}, "layer_norm needs at least 2 units in every cell; got 3 and 1"),
        ({"kernel": "fused"}, "kernel must be one of auto, hoisted, reference"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        FastSlowRNN(**{"input_size": 3, "hidden_size": 4, **wrong})
