"""The Skip RNN: torch's layers where it never skips, and the equations, the pattern and the gradient by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from multiscale.backbones.skip_rnn import SkipRNN
from multiscale.checks import InvalidInput
from tests.conftest import backbone

ORACLES = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
KERNELS = ("hoisted", "reference")


def inputs(batch: int = 3, steps: int = 9, size: int = 5) -> Tensor:
    return torch.randn(batch, steps, size, dtype=torch.float64)


def constant(model: SkipRNN, increment: float) -> SkipRNN:
    """The same, with an increment that does not hang on the state."""
    nn.init.zeros_(model.gate.weight)
    nn.init.constant_(model.gate.bias, math.log(increment / (1 - increment)))
    return model


def restless(**options) -> SkipRNN:
    """One whose increments spread around 1/4, so that its updates follow its states."""
    model = SkipRNN(5, 6, update_bias=-1.0, **options).double()
    nn.init.normal_(model.gate.weight, std=3.0)
    for part in model.start:
        nn.init.normal_(part)
    return model


def gradients(loss: Tensor, model: SkipRNN) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.layers.parameters())))


# What it is.


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", ORACLES)
def test_where_every_increment_is_one_it_is_torchs_stack_from_its_start(cell, kernel):
    ours = SkipRNN(5, 7, 2, cell=cell, update_bias=100.0, kernel=kernel).double()
    for part in ours.start:
        nn.init.normal_(part)
    oracle = ORACLES[cell](5, 7, 2, batch_first=True).double()
    for l, layer in enumerate(ours.layers):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(oracle, f"{name}_l{l}").data.copy_(getattr(layer, f"{name}_l0"))
    x = inputs()
    first = torch.stack(list(ours.start))[:, None].repeat(1, 3, 1).chunk(2 if cell == "lstm" else 1)
    expected, _ = oracle(x, first if cell == "lstm" else first[0])
    output = ours(x, trace=True)
    torch.testing.assert_close(output.levels[-1], expected, rtol=0, atol=1e-12)
    assert output.trace.update.eq(1).all()
    weights = torch.randn_like(expected)
    theirs = torch.autograd.grad((weights * expected).sum(), list(oracle.parameters()))
    for mine, other in zip(gradients((weights * output.levels[-1]).sum(), ours), theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", ORACLES)
@pytest.mark.parametrize(("increment", "period"), [(0.2, 3), (0.3, 2), (0.11, 5), (0.6, 1)])
def test_a_constant_increment_updates_each_time_that_its_sum_passes_a_half(increment, period, cell, kernel):
    model = constant(SkipRNN(5, 7, cell=cell, learned_start=False, kernel=kernel).double(), increment)
    x = inputs(steps=11)
    output = model(x, trace=True)
    assert output.trace.update[..., 0].tolist() == [[float(t % period == 0) for t in range(11)]] * 3
    (layer,) = model.layers
    held = layer(x[:, ::period])[0].repeat_interleave(period, 1)[:, :11]
    torch.testing.assert_close(output.levels[0], held, rtol=0, atol=1e-12)


def test_a_half_is_rounded_upwards():
    assert constant(SkipRNN(5, 3).double(), 0.5)(inputs(), trace=True).trace.update.eq(1).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_stack_is_updated_as_a_whole_or_copied_bit_for_bit(kernel):
    model = restless(num_layers=2, kernel=kernel).float()
    output = model(inputs(steps=40).float(), trace=True)
    update = output.trace.update
    assert 0.1 < update.mean() < 0.9
    assert torch.equal(update[..., 0], update[..., 1])
    for level in output.levels:
        kept = (level[:, 1:] == level[:, :-1]).all(-1)
        assert torch.equal(kept, update[:, 1:, 0] == 0)


def by_hand(model: SkipRNN, x: Tensor) -> tuple[Tensor, Tensor]:
    """The top layer and the updates of one sequence, in the order of the authors' code: it keeps the last increment,
    and what has been summed up since the last update."""
    layers, cells = list(model.layers), []
    for layer in layers:
        cells.append(nn.LSTMCell(layer.input_size, layer.hidden_size).double())
        weights = dict(zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), layer.parameters(), strict=True))
        cells[-1].load_state_dict(weights)
    h, c = (list(model.start[k : k + len(layers)]) for k in (0, len(layers)))
    increment, total, outputs, updates = 1.0, 0.0, [], []
    for x_t in x:
        total = total + min(increment, 1 - total)
        updates.append(float(total >= 0.5))
        if total >= 0.5:
            below = x_t
            for l, cell in enumerate(cells):
                h[l], c[l] = cell(below, (h[l], c[l]))
                below = h[l]
            increment, total = torch.sigmoid(model.gate(c[-1])).item(), 0.0
        outputs.append(h[-1])
    return torch.stack(outputs), torch.tensor(updates)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_its_numbers_are_those_of_the_equations_in_the_authors_order(num_layers):
    model = restless(num_layers=num_layers)
    x = inputs(batch=4, steps=30)
    output = model(x, trace=True)
    for b in range(4):
        top, updates = by_hand(model, x[b])
        assert output.trace.update[b, :, 0].tolist() == updates.tolist()
        torch.testing.assert_close(output.levels[-1][b], top, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [2.0, -2.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_gate_of_two_steps_gets_the_gradient_of_its_probability(bias, kernel):
    model = SkipRNN(1, 1, cell="tanh", update_bias=bias, kernel=kernel).double()
    x = inputs(batch=1, steps=2, size=1)
    model(x).levels[0][0, 1, 0].backward()
    (layer,) = model.layers
    w, u, b, b_h = (p.item() for p in layer.parameters())
    s_1 = math.tanh(w * x[0, 0, 0] + b + b_h)
    candidate = math.tanh(w * x[0, 1, 0] + u * s_1 + b + b_h)
    increment = 1 / (1 + math.exp(-model.gate.weight.item() * s_1 - bias))
    # s_2 = u_2 candidate + (1 - u_2) s_1 with u_2 = round(increment), and the rounding is passed through.
    through = (candidate - s_1) * increment * (1 - increment)
    assert model.gate.bias.grad.item() == pytest.approx(through)
    assert model.gate.weight.grad.item() == pytest.approx(through * s_1)


# Its options.


def test_the_cost_counts_the_updates_of_a_sequence_in_training_and_reaches_the_gate():
    model = constant(SkipRNN(5, 4, num_layers=2, cost_per_update=0.25).double(), 0.2)
    x = inputs(steps=8)
    penalty = model.train()(x).penalty
    assert penalty.item() == pytest.approx(0.25 * 3)  # at steps 1, 4 and 7; two layers are one update
    assert torch.autograd.grad(penalty, model.gate.bias)[0].item() > 0
    assert model.eval()(x).penalty == 0
    assert not SkipRNN(5, 4).observes


def test_the_start_is_learned_even_where_a_state_is_given():
    model = SkipRNN(5, 4, cell="gru").double()
    (start,) = model.start
    output = model(inputs(steps=2))
    assert torch.autograd.grad(output.levels[0].sum(), start)[0].abs().sum() > 0
    later = model(inputs(steps=2), output.state)
    assert torch.autograd.grad(later.levels[0].detach().sum() + later.penalty, start)[0].eq(0).all()
    assert later.penalty == 0
    assert not list(SkipRNN(5, 4, learned_start=False).start)


def test_a_given_state_is_no_view_of_the_start():
    model = SkipRNN(5, 4)
    state = model.initial_state(1, torch.device("cpu"), torch.float32)
    nn.init.ones_(model.start[0])
    assert state[0][0].eq(0).all()


def test_the_cost_of_a_step_falls_with_its_updates():
    model = backbone("skip_rnn")
    assert {p.due for p in model.products()} == {"active"}
    assert sum(p.macs for p in model.products()) == 4 * 13 * (5 + 13) + 13


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_size": 0}, "input_size must be a whole number of at least 1; got 0"),
        ({"hidden_size": 0}, "hidden_size must be a whole number of at least 1; got 0"),
        ({"num_layers": 0}, "num_layers must be a whole number of at least 1; got 0"),
        ({"cell": "rnn"}, "cell must be one of tanh, lstm, gru; got 'rnn'"),
        ({"update_bias": float("inf")}, "update_bias must be a finite number; got inf"),
        ({"cost_per_update": -1.0}, "cost_per_update must be a number at least 0; got -1.0"),
        ({"learned_start": "yes"}, "learned_start must be true or false; got 'yes'"),
        ({"kernel": "fused"}, "kernel must be one of auto, hoisted, reference; got 'fused'"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        SkipRNN(**{"input_size": 3, "hidden_size": 4, **wrong})
