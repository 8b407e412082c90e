"""GateL0RD: the equations by hand, torch's layer where every gate is open, and what its noise and its cost do."""

import pytest
import torch
from torch import Tensor, nn

from multiscale.backbones.event_gated import EventGatedRNN
from multiscale.checks import InvalidInput

KERNELS = ("hoisted", "reference")


def inputs(batch: int = 3, steps: int = 9) -> Tensor:
    return torch.randn(batch, steps, 5, dtype=torch.float64)


def gated(bias: float, kernel: str = "auto") -> EventGatedRNN:
    """One whose gates hang on their bias alone."""
    model = EventGatedRNN(5, 4, noise=0.0, kernel=kernel).double()
    with torch.no_grad():
        model.input[:4], model.recurrent[:4], model.bias[:4] = 0, 0, bias
    return model


def linears(model: EventGatedRNN) -> list[nn.Linear]:
    """g, r, p and o as layers on x_t and h side by side."""
    found = []
    for rows, on_h, bias in zip(
        model.input.chunk(4), (*model.recurrent.chunk(2), *model.output.chunk(2)), model.bias.chunk(4), strict=True
    ):
        found.append(nn.Linear(9, 4).double())
        found[-1].load_state_dict({"weight": torch.cat([rows, on_h], 1), "bias": bias})
    return found


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_sequence_is_that_of_the_equations(kernel):
    model = EventGatedRNN(5, 4, kernel=kernel).double().eval()
    g, r, p, o = linears(model)
    x, h = inputs(), torch.randn(3, 4, dtype=torch.float64)
    output = model(x, (h,), trace=True)
    for t in range(9):
        seen = torch.cat([x[:, t], h], 1)
        gate = torch.tanh(g(seen)).clamp(min=0)
        h = gate * torch.tanh(r(seen)) + (1 - gate) * h
        seen = torch.cat([x[:, t], h], 1)
        torch.testing.assert_close(output.levels[0][:, t], torch.tanh(p(seen)) * torch.sigmoid(o(seen)))
        assert output.trace.update[:, t, 0].tolist() == (gate > 0).double().mean(1).tolist()
    torch.testing.assert_close(output.state[0], h)


@pytest.mark.parametrize("kernel", KERNELS)
def test_with_every_gate_open_its_latent_state_is_torchs_layer(kernel):
    model = gated(100.0, kernel)
    oracle = nn.RNN(5, 4, batch_first=True).double()
    weights = (model.input[4:8], model.recurrent[4:], model.bias[4:8], torch.zeros(4))
    oracle.load_state_dict(dict(zip(oracle.state_dict(), weights, strict=True)))
    x = inputs()
    output, (h, last) = model(x, trace=True), oracle(x)
    *_, p, o = linears(model)
    seen = torch.cat([x, h], 2)
    torch.testing.assert_close(output.levels[0], torch.tanh(p(seen)) * torch.sigmoid(o(seen)))
    torch.testing.assert_close(output.state[0], last[0])
    assert output.trace.update.eq(1).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_unit_whose_gate_is_shut_is_kept_bit_for_bit(kernel):
    model, h = gated(-1.0, kernel).float(), torch.randn(3, 4)
    with torch.no_grad():
        model.bias[0] = 1.0
    output = model(inputs().float(), (h,), trace=True)
    assert torch.equal(output.state[0][:, 1:], h[:, 1:])
    assert output.state[0][:, 0].ne(h[:, 0]).all()
    assert output.trace.update.eq(0.25).all()


def test_its_gradient_is_that_of_finite_differences():
    model = EventGatedRNN(5, 3).double().eval()
    assert torch.autograd.gradcheck(lambda x, h, *_: model(x, (h,)).levels[0], (
        inputs(2, 4).requires_grad_(), torch.randn(2, 3, dtype=torch.float64).requires_grad_(), *model.parameters(),
    ))  # fmt: skip


def test_noise_opens_gates_in_training_alone():
    model = gated(0.0)
    model.noise = 0.1
    with torch.no_grad():
        model.bias[4:8] = 100.0  # r is 1, and from a state of 0 the next is the gate
    x = inputs(2000, 1)
    s = torch.atanh(model.train()(x).state[0])
    assert (s > 0).double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert s[s > 0].square().mean().sqrt().item() == pytest.approx(0.1, rel=0.05)
    assert not model.eval()(x).state[0].any()


def test_both_kernels_draw_the_same_noise():
    x, found = inputs(), []
    for kernel in KERNELS:
        torch.manual_seed(0)
        model = EventGatedRNN(5, 4, noise=1.0, kernel=kernel).double().train()
        found.append(model(x).levels[0])
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


def test_the_cost_is_the_mean_of_open_gates_with_the_gradient_of_their_openness():
    model = EventGatedRNN(5, 4, noise=0.0, sparsity=0.5).double().train()
    x = inputs(steps=1)
    g = linears(model)[0]
    s = g(torch.cat([x[:, 0], torch.zeros(3, 4)], 1))
    penalty = model(x).penalty
    assert penalty.item() == pytest.approx(0.5 * (s > 0).double().mean().item())
    through = 0.5 * (1 - torch.tanh(s) ** 2) * (s > 0) / s.numel()
    torch.testing.assert_close(torch.autograd.grad(penalty, model.bias)[0][:4], through.sum(0))
    assert model.eval()(x).penalty == 0
    assert not EventGatedRNN(5, 4).observes


def test_the_candidate_alone_is_saved_where_no_gate_is_open():
    products = EventGatedRNN(5, 4).products()
    assert [(p.due, p.macs) for p in products] == [("active", 4 * 9), ("always", 3 * 4 * 9)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_size": 0}, "input_size must be a whole number of at least 1; got 0"),
        ({"hidden_size": 0}, "hidden_size must be a whole number of at least 1; got 0"),
        ({"noise": -0.1}, "noise must be a number at least 0; got -0.1"),
        ({"sparsity": -1}, "sparsity must be a number at least 0; got -1"),
        ({"kernel": "fused"}, "kernel must be one of auto, hoisted, reference; got 'fused'"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        EventGatedRNN(**{"input_size": 3, "hidden_size": 4, **wrong})
