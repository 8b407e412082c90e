"""Dilated layers against the layer of torch, run on each turn by itself."""

import pytest
import torch
from torch import nn

from multiscale.backbones.dilated import DilatedRNN
from multiscale.backbones.stacked import StackedRNN
from tests.conftest import backbone

LAYERS = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@pytest.mark.parametrize("steps", [1, 2, 6, 7, 11])
@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("kernel", ["folded", "reference"])
def test_a_layer_is_its_recurrence_over_every_sth_step(cell, kernel, steps):
    torch.manual_seed(0)
    ours = DilatedRNN(5, 7, [3], cell, kernel=kernel).double()
    x = torch.randn(2, steps, 5, dtype=torch.float64)
    output = ours(x)
    (layer,) = ours.layers
    for turn in range(min(3, steps)):
        apart, last = layer(x[:, turn::3])
        torch.testing.assert_close(output.levels[0][:, turn::3], apart, rtol=0, atol=1e-12)
        place = -1 - (steps - 1 - turn) % 3  # in the last three states, the oldest first
        torch.testing.assert_close(output.state[0][0][:, place], apart[:, -1], rtol=0, atol=1e-12)
        if cell == "lstm":
            torch.testing.assert_close(output.state[1][0][:, place], last[1][0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("steps", [1, 5, 8, 19])
def test_folded_and_reference_agree_from_any_state(cell, steps):
    torch.manual_seed(0)
    ours = DilatedRNN(5, [3, 4, 2, 3], [1, 2, 4, 8], cell).double()
    state = ours(torch.randn(3, 13, 5, dtype=torch.float64)).state
    x = torch.randn(3, steps, 5, dtype=torch.float64)
    fast, slow = (ours.use(kernel)(x, state) for kernel in ("folded", "reference"))
    for one, other in zip(fast.levels, slow.levels, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    for one, other in zip(sum(fast.state, ()), sum(slow.state, ()), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_with_dilations_of_one_it_is_a_stack():
    torch.manual_seed(0)
    ours = DilatedRNN(5, 4, [1, 1], "lstm")
    stack = StackedRNN(5, 4, 2)
    stack.layers.load_state_dict(ours.layers.state_dict())
    x = torch.randn(2, 9, 5)
    for one, other in zip(ours(x).levels, stack(x).levels, strict=True):
        torch.testing.assert_close(one, other)


def test_the_first_step_reaches_far_in_few_steps_of_gradient():
    model = backbone("dilated", hidden_size=3)
    x = torch.randn(1, 300, 5, dtype=torch.float64, requires_grad=True)
    model(x).levels[-1][:, -1].sum().backward()
    assert x.grad[0, :, 0].ne(0).all()  # dilations 1 to 256 reach 511 steps back


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dilations": []}, "dilations must be a list of at least one"),
        ({"dilations": 4}, "dilations must be a list of at least one whole number of steps; got 4"),
        ({"dilations": [1, 0]}, r"dilations\[1\] must be a whole number of at least 1; got 0"),
        ({"hidden_size": [3]}, "hidden_size must be one number or 2 of them"),
        ({"cell": "rnn"}, "cell must be one of tanh, lstm, gru"),
        ({"kernel": "fused"}, "kernel must be one of auto, folded, reference"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        DilatedRNN(**{"input_size": 3, "hidden_size": 4, "dilations": [1, 2], **wrong})
