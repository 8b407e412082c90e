"""Gated linear recurrences: minGRU and HGRN by their equations, and that the scan is the loop."""

import pytest
import torch
from torch.nn import functional as F

from multiscale.backbones.linear_rnn import CANDIDATES, GatedLinearRNN, positive
from multiscale.checks import InvalidInput
from tests.conftest import backbone


def inputs(batch: int = 2, steps: int = 7, size: int = 5) -> torch.Tensor:
    return torch.randn(batch, steps, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kernel", ["scan", "reference"])
def test_min_gru_is_its_equations(kernel):
    model, x = backbone("min_gru", kernel=kernel), inputs()
    below = x
    for layer, level in zip(model.layers, model(x).levels, strict=True):
        w_f, w_h = layer.weight.split(13)
        b_f, b_h = layer.bias.split(13)
        h, expected = torch.zeros(2, 13, dtype=torch.float64), []
        for x_t in below.unbind(1):
            z = torch.sigmoid(-(x_t @ w_f.T + b_f))  # the gate that updates is one less the gate that forgets
            h = (1 - z) * h + z * (x_t @ w_h.T + b_h)
            expected.append(h)
        below = torch.stack(expected, 1)
        torch.testing.assert_close(level, below, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", ["scan", "reference"])
def test_hgrn_is_its_equations(kernel):
    model, x = backbone("hgrn", kernel=kernel), inputs()
    with torch.no_grad():
        model.floors.normal_()
    share = model.floors.softmax(0)
    below = x
    for l, (layer, norm, level) in enumerate(zip(model.layers, model.norms, model(x).levels, strict=True)):
        gamma = share[1 : l + 1].sum(0)
        h, expected = torch.zeros(2, 13, dtype=torch.float64), []
        for x_t in below.unbind(1):
            f, c, g = layer(x_t).chunk(3, -1)
            f = gamma + (1 - gamma) * torch.sigmoid(f)
            h = f * h + (1 - f) * c * torch.sigmoid(c)
            expected.append(norm(torch.sigmoid(g) * h))
        below = torch.stack(expected, 1)
        torch.testing.assert_close(level, below, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"candidate": "positive"}, {"floors": True}, {"output_gate": True}])
@pytest.mark.parametrize("steps", [1, 2, 63])
def test_the_scan_is_the_loop_with_all_gradients_from_any_state(options, steps):
    torch.manual_seed(0)
    model = GatedLinearRNN(5, 6, 2, **options).double()
    state = tuple(torch.randn(2, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    x = inputs(steps=steps).requires_grad_()
    runs = []
    for kernel in ("scan", "reference"):
        out = model.use(kernel)(x, state, trace=True)
        total = sum(level.square().sum() for level in out.levels) + sum(h.sin().sum() for h in out.state)
        grads = torch.autograd.grad(total, [x, *state, *model.parameters()])
        runs.append([*out.levels, *out.state, out.trace.update, *grads])
    torch.testing.assert_close(*runs, rtol=1e-12, atol=1e-12)


def test_with_forget_gates_that_are_shut_it_is_a_feedforward_stack_and_wide_open_it_holds():
    model, x = backbone("min_gru"), inputs()
    with torch.no_grad():
        for layer in model.layers:
            layer.weight[:13] = 0
            layer.bias[:13] = -1e3
    below = x
    out = model(x, trace=True)
    for layer, level in zip(model.layers, out.levels, strict=True):
        below = F.linear(below, layer.weight[13:], layer.bias[13:])
        torch.testing.assert_close(level, below, rtol=0, atol=1e-12)
    assert out.trace.update.eq(1).all()
    with torch.no_grad():
        for layer in model.layers:
            layer.bias[:13] = 1e3
    state = tuple(torch.randn(2, 13, dtype=torch.float64) for _ in model.layers)
    out = model(x, state, trace=True)
    assert all(torch.equal(last, first) for last, first in zip(out.state, state, strict=True))
    assert out.trace.update.eq(0).all()


def test_floors_start_even_and_grow_with_depth_however_they_are_learned():
    model = backbone("hgrn", num_layers=4)
    torch.testing.assert_close(model.measures()["floor"], torch.tensor([0, 0.25, 0.5, 0.75], dtype=torch.float64))
    with torch.no_grad():
        model.floors.normal_(std=3)
    bounds = torch.stack(list(model.bounds()))
    assert bounds[0].eq(0).all()
    assert bounds.diff(dim=0).gt(0).all()
    assert bounds.lt(1).all()
    update = model(100 * inputs(), trace=True).trace.update
    assert (update <= 1 - bounds.mean(1) + 1e-12).all()  # a level forgets no faster than its floor allows


def test_floors_are_learned():
    model = backbone("hgrn")
    model(inputs()).levels[-1].square().sum().backward()
    assert model.floors.grad.ne(0).all()


def test_the_positive_candidate_is_continuous_and_above_zero():
    x = torch.tensor([-20.0, -1.0, -1e-12, 0.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(positive(x)[1:], torch.tensor([0.26894142137, 0.5, 0.5, 2.5], dtype=torch.float64))
    assert positive(x).gt(0).all()
    assert backbone("min_gru", candidate="positive")(inputs()).levels[-1].gt(0).all()


def test_every_candidate_is_another_network():
    levels = [backbone("min_gru", candidate=c)(inputs()).levels[-1] for c in CANDIDATES]
    assert len({float(level.detach().sum()) for level in levels}) == len(levels)


def test_the_products_are_those_with_what_is_below_alone():
    model = GatedLinearRNN(5, [4, 3], 2, output_gate=True)
    assert [product.macs for product in model.products()] == [3 * 4 * 5, 3 * 3 * 4]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be a whole number of at least 1; got 0"),
        ({"hidden_size": [3]}, "hidden_size must be one number or 2 of them"),
        ({"input_size": 0}, "input_size"),
        ({"num_layers": 0}, "num_layers"),
        ({"candidate": "silo"}, "Did you mean 'silu'"),
        ({"floors": 1}, "floors must be true or false; got 1"),
        ({"output_gate": "yes"}, "output_gate must be true or false"),
        ({"floors": True, "hidden_size": [3, 4]}, r"floors needs layers of one size; got hidden_size \[3, 4\]"),
        (
            {"output_gate": True, "hidden_size": [3, 1]},
            r"output_gate needs at least 2 units in every layer; got \[3, 1",
        ),
        ({"kernel": "scam"}, "Did you mean 'scan'"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        GatedLinearRNN(**{"input_size": 3, "hidden_size": 4, "num_layers": 2, **wrong})
