"""The HM-LSTM against the paper: its operations, its options, and the faults that are easily made of them."""

import pytest
import torch
from torch import nn

from multiscale.backbones.hmlstm import HMLSTM, HMLSTMLayer
from multiscale.checks import InvalidInput
from multiscale.nn.encoders import Embedding
from multiscale.nn.heads import Gated
from multiscale.nn.operations import Options
from multiscale.nn.schedules import Constant, Linear
from multiscale.nn.straight_through import hard_sigmoid

D, SIZES, B = 5, (7, 4, 6), 3
OPTIONS = [
    {},
    {"choice": "select"},
    {"copy_boundary": "hold"},
    {"copy_boundary": "zero"},
    {"layer_norm": True},
    {"top_down": False},
    {"flush": False},
    {"copy": False},
    {"flush": False, "copy": False},
    {"boundary_bias": False},
    {"boundary": "soft"},
    {"boundary": "sample"},
    {"init": "uniform", "forget_bias": 0.5},
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def model(kernel="reference", **options):
    return HMLSTM(D, SIZES, kernel=kernel, **options)


def layer(above=4, **options):
    """One layer of 6 units in float64 that reads 5 below, with weights far from their start."""
    found = HMLSTMLayer(D, 6, above, Options(**options)).double()
    with torch.no_grad():
        for p in found.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return found


def inputs(above=4):
    below, h, c = (torch.randn(B, n, dtype=torch.float64) for n in (D, 6, 6))
    return below, h, c, None if above is None else torch.randn(B, above, dtype=torch.float64)


def apply(found, z_below, z_prev, below, h, c, above):
    column = torch.ones(len(h), 1, dtype=h.dtype)
    half = None if above is None else 0.5 * column
    return found(below, z_below * column, h, c, z_prev * column, above, torch.ones((), dtype=h.dtype), half)


def lstm_weights(recurrent, bottom_up, bias, size):
    """The same weights in torch's order of gates: i, f, g, o."""
    order = torch.cat([torch.arange(size) + size * gate for gate in (1, 0, 3, 2)])
    return {"ih": bottom_up[order], "hh": recurrent[order], "bias": bias[order]}


def test_update_is_a_step_of_an_lstm():
    found = layer()
    below, h, c, above = inputs()
    cell = nn.LSTMCell(D, 6).double()
    w = lstm_weights(found.recurrent, found.bottom_up, found.bias, 6)
    with torch.no_grad():
        cell.weight_ih.copy_(w["ih"])
        cell.weight_hh.copy_(w["hh"])
        cell.bias_ih.copy_(w["bias"])
        cell.bias_hh.zero_()
    new_h, new_c, _, update = apply(found, 1.0, 0.0, below, h, c, above)
    torch.testing.assert_close((new_h, new_c), cell(below, (h, c)))
    assert (update == 1).all()


@pytest.mark.parametrize("kernel", ["reference", "fused", "auto"])
def test_one_level_is_an_lstm(kernel):
    found = HMLSTM(D, 6, 1, kernel=kernel).double()
    only = found.layers[0]
    w = lstm_weights(only.recurrent, only.bottom_up, only.bias, 6)
    lstm = nn.LSTM(D, 6, batch_first=True).double()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(w["ih"])
        lstm.weight_hh_l0.copy_(w["hh"])
        lstm.bias_ih_l0.copy_(w["bias"])
        lstm.bias_hh_l0.zero_()
    x = torch.randn(B, 11, D, dtype=torch.float64)
    y, (h, c) = lstm(x)
    out = found(x)
    torch.testing.assert_close((out.levels[0], out.state[0][0], out.state[1][0]), (y, h[0], c[0]))


@pytest.mark.parametrize("layer_norm", [False, True])
def test_copy_leaves_the_state_bit_for_bit(layer_norm):
    found = layer(layer_norm=layer_norm)
    below, h, c, above = inputs()
    new_h, new_c, _, update = apply(found, 0.0, 0.0, below, h, c, above)
    assert torch.equal(new_h, h)
    assert torch.equal(new_c, c)
    assert (update == 0).all()


@pytest.mark.parametrize("z_below", [0.0, 1.0])
def test_flush_forgets_the_old_cell(z_below):
    found = layer()
    below, h, c, above = inputs()
    one = apply(found, z_below, 1.0, below, h, c, above)
    other = apply(found, z_below, 1.0, below, h, 100 * torch.randn_like(c), above)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert (one[3] == 1).all()


def test_each_product_is_gated_by_its_own_boundary():
    found = layer()
    below, h, c, above = inputs()

    def cell(z_below, z_prev, below=below, h=h, above=above):
        return apply(found, z_below, z_prev, below, h, c, above)[1]

    assert torch.equal(cell(0.0, 1.0), cell(0.0, 1.0, below=below + 1))
    assert not torch.equal(cell(1.0, 1.0), cell(1.0, 1.0, below=below + 1))
    assert torch.equal(cell(1.0, 0.0), cell(1.0, 0.0, above=above + 1))
    assert not torch.equal(cell(1.0, 1.0), cell(1.0, 1.0, above=above + 1))
    for z_below, z_prev in ((0.0, 1.0), (1.0, 0.0), (1.0, 1.0)):
        assert not torch.equal(cell(z_below, z_prev), cell(z_below, z_prev, h=h + 1))


def test_the_top_layer_has_no_boundary_and_never_flushes_itself():
    found = model()
    top = found.layers[-1]
    assert top.recurrent.shape == (4 * SIZES[-1], SIZES[-1])
    assert top.top_down is None
    out = found(torch.randn(B, 20, D), trace=True)
    assert len(out.state[2]) == len(SIZES) - 1
    assert (out.trace.boundary[..., -1] == 0).all()
    assert torch.equal(out.trace.update[..., -1], out.trace.boundary[..., -2])


@pytest.mark.parametrize("kernel", ["reference", "fused", "auto"])
def test_annealing_changes_the_gradient_and_never_the_output_of_a_step(kernel):
    found, x = model(kernel), torch.randn(B, 12, D)
    outputs, gradients = [], []
    for epoch in (0.0, 100.0):
        found.anneal(epoch)
        found.zero_grad()
        out = found(x, trace=True)
        sum(level.sum() for level in out.levels).backward()
        outputs.append((*out.levels, out.trace.boundary))
        gradients.append(found.layers[0].bias.grad[-1].clone())
    assert found.slope == 5
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    assert not torch.allclose(*gradients)


def test_the_slope_anneals_as_the_paper_says_unless_told_otherwise():
    assert [model().slope_schedule(e) for e in (0, 50, 1000)] == [1.0, 3.0, 5.0]
    assert [model(slope=2.5).slope_schedule(e) for e in (0, 1000)] == [2.5, 2.5]
    found = model(slope=Linear(2, 1, 3))
    found.anneal(0.5)
    assert found.slope == 2.5
    assert model(slope=Constant()).slope == 1


def test_the_slope_survives_a_save():
    found, other = model(), model()
    found.anneal(25)
    other.load_state_dict(found.state_dict())
    assert other.slope == 2


@pytest.mark.parametrize("kernel", ["reference", "fused", "auto"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_state_carries_all_that_crosses_time(options, kernel):
    found, x = model(kernel, **options).double().eval(), torch.randn(B, 9, D, dtype=torch.float64)
    whole = found(x, trace=True)
    first = found(x[:, :4], trace=True)
    rest = found(x[:, 4:], first.state, trace=True)
    for level, a, b in zip(whole.levels, first.levels, rest.levels, strict=True):
        torch.testing.assert_close(level, torch.cat((a, b), 1))
    assert torch.equal(whole.trace.boundary, torch.cat((first.trace.boundary, rest.trace.boundary), 1))
    torch.testing.assert_close(whole.state, rest.state)
    assert all(torch.equal(level[:, -1], h) for level, h in zip(whole.levels, whole.state[0], strict=True))


@pytest.mark.parametrize("kernel", ["reference", "fused", "auto"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_parameter_gets_a_gradient(options, kernel):
    found = model(kernel, **options)
    out = found(torch.randn(1, 1, D))
    sum(level.sum() for level in out.levels).backward()
    missing = [name for name, p in found.named_parameters() if p.grad is None]
    assert not missing


def test_norms_start_at_one_and_zero_whatever_the_seed():
    norms = [m for m in model(layer_norm=True).modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 3 * 3 + 2
    assert all((n.weight == 1).all() and (n.bias == 0).all() for n in norms)


def test_layer_norm_leaves_the_boundary_column_raw():
    found = layer(layer_norm=True)
    below, h, _, above = inputs()
    pre = found.pre_activations(below, torch.ones(B, 1).double(), h, torch.ones(B, 1).double(), above)
    raw = below @ found.bottom_up[-1] + h @ found.recurrent[-1] + above @ found.top_down[-1] + found.bias[-1]
    torch.testing.assert_close(pre[:, -1], raw)
    scaled = found.pre_activations(1000 * below, torch.ones(B, 1).double(), h, torch.ones(B, 1).double(), above)
    torch.testing.assert_close(scaled[:, :-1], pre[:, :-1], rtol=1e-3, atol=1e-3)


def test_layer_norm_normalises_each_product_before_its_gate():
    found = layer(layer_norm=True)
    below, h, _, above = inputs()
    gate = torch.full((B, 1), 0.25).double()
    pre = found.pre_activations(below, gate, h, gate, above)[:, :-1]

    def normed(x, weight, norm):
        y = x @ weight[:-1].T
        y = (y - y.mean(1, keepdim=True)) / (y.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return y * norm.weight + norm.bias

    expected = normed(h, found.recurrent, found.recurrent_norm) + found.bias[:-1]
    expected = expected + 0.25 * normed(below, found.bottom_up, found.bottom_up_norm)
    expected = expected + 0.25 * normed(above, found.top_down, found.top_down_norm)
    torch.testing.assert_close(pre, expected)


def test_sampled_boundaries_have_the_probability_of_the_hard_sigmoid():
    found = HMLSTM(D, (3, 2), 2, boundary="sample", kernel="reference")
    x = torch.randn(1, 1, D).expand(4000, 1, D)
    bottom = found.layers[0]
    with torch.no_grad():
        bottom.bottom_up[-1].mul_(0.1)
        bottom.bias[-1] = 0.4
    p = hard_sigmoid(x[0, 0] @ bottom.bottom_up[-1] + bottom.bias[-1], found.slope)
    assert 0.05 < p < 0.95
    rate = found(x, trace=True).trace.boundary[..., 0].mean()
    assert abs(rate - p) < 4 * (p * (1 - p) / 4000).sqrt()


@pytest.mark.parametrize("kernel", ["reference", "fused", "auto"])
def test_samples_come_from_torchs_generator_and_evaluation_takes_the_step(kernel):
    found, x = model(kernel, boundary="sample"), torch.randn(B, 30, D)

    def boundaries(of):
        return of(x, trace=True).trace.boundary

    torch.manual_seed(1)
    first = boundaries(found)
    second = boundaries(found)
    torch.manual_seed(1)
    assert torch.equal(boundaries(found), first)
    assert not torch.equal(first, second)
    step = model()
    step.load_state_dict(found.state_dict())
    assert torch.equal(boundaries(found.eval()), boundaries(step))


def test_soft_boundaries_are_the_hard_sigmoid_itself():
    found, x = model(boundary="soft"), torch.randn(B, 6, D)
    out = found(x, trace=True)
    z = out.state[2][0]
    assert ((z > 0) & (z < 1)).any()
    assert set(out.trace.boundary.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(out.trace.boundary[:, -1, :1], (z > 0.5).float())


@pytest.mark.parametrize(("choice", "reaches"), [("mix", True), ("select", False)])
def test_only_mix_gives_boundaries_gradient_through_the_choice(choice, reaches):
    found = layer(choice=choice)
    with torch.no_grad():  # products that are zero leave the choice as the only way
        found.bottom_up.zero_()
        found.top_down.zero_()
    below, h, c, above = inputs()
    z_below, z_prev = (torch.zeros(B, 1, dtype=torch.float64, requires_grad=True) for _ in "zz")
    new_h, new_c, _, _ = apply(found, z_below, z_prev, below, h, c, above)
    for gradient in torch.autograd.grad((new_h + new_c).sum(), (z_below, z_prev)):
        assert bool(gradient.abs().min() > 0) == reaches


@pytest.mark.parametrize("choice", ["mix", "select"])
def test_gated_products_give_boundaries_gradient(choice):
    found = layer(choice=choice)
    below, h, c, above = inputs()
    z_below = torch.ones(B, 1, dtype=torch.float64, requires_grad=True)
    z_prev = torch.zeros(B, 1, dtype=torch.float64, requires_grad=True)
    new_h, _, _, _ = apply(found, z_below, z_prev, below, h, c, above)
    assert all(g.abs().min() > 0 for g in torch.autograd.grad(new_h.sum(), (z_below, z_prev)))


@pytest.mark.parametrize(
    ("copy_boundary", "fires", "passes"), [("recompute", True, False), ("hold", False, True), ("zero", False, False)]
)
def test_the_boundary_of_a_copied_step(copy_boundary, fires, passes):
    found = layer(copy_boundary=copy_boundary, choice="select")
    with torch.no_grad():
        found.bias[-1] = 100.0
        found.top_down[-1] = 0.0
    below, h, c, above = inputs()
    z_prev = torch.zeros(B, 1, dtype=torch.float64, requires_grad=True)
    z = apply(found, 0.0, z_prev, below, h, c, above)[2]
    assert (z == float(fires)).all()
    (gradient,) = torch.autograd.grad(z.sum(), z_prev, allow_unused=True)
    assert (gradient is not None and bool((gradient == 1).all())) == passes
    assert (apply(found, 1.0, 0.0, below, h, c, above)[2] == 1).all()


def test_without_flush_a_flush_step_updates():
    found = layer(flush=False)
    below, h, c, above = inputs()
    new_c = apply(found, 0.0, 1.0, below, h, c, above)[1]
    pre = found.pre_activations(below, torch.zeros(B, 1).double(), h, torch.ones(B, 1).double(), above)
    f, i, _, g = pre[:, :24].split(6, 1)
    torch.testing.assert_close(new_c, f.sigmoid() * c + i.sigmoid() * g.tanh())


@pytest.mark.parametrize("flush", [True, False])
def test_without_copy_every_layer_updates_at_every_step(flush):
    out = model(copy=False, flush=flush)(torch.randn(B, 20, D), trace=True)
    assert (out.trace.update == 1).all()
    assert out.trace.boundary.mean() < 1


def test_without_top_down_no_layer_reads_the_one_above():
    found = model(top_down=False)
    assert all(part.top_down is None for part in found.layers)
    x = torch.randn(B, 10, D)
    h, c, z = found.initial_state(B, x.device, x.dtype)
    other = ((h[0], h[1] + 1, h[2] + 1), c, z)
    assert torch.equal(found(x).levels[0], found(x, other).levels[0])


def test_without_a_boundary_bias_only_the_gates_have_one():
    found, full = model(boundary_bias=False), model()
    assert [len(part.bias) for part in found.layers] == [4 * n for n in SIZES]
    for own, theirs in zip(found.layers, full.layers, strict=True):
        theirs.load_state_dict(
            {**own.state_dict(), "bias": torch.cat((own.bias, torch.zeros(len(theirs.bias) - len(own.bias))))}
        )
    x = torch.randn(B, 10, D)
    torch.testing.assert_close(found(x).levels, full(x).levels)


def test_initialisation_is_what_its_name_says():
    for part in model(forget_bias=2.0).layers:
        for gate in part.recurrent[: 4 * part.size].split(part.size):
            torch.testing.assert_close(gate @ gate.T, torch.eye(part.size))
        assert (part.bias[: part.size] == 2).all()
        assert (part.bias[part.size :] == 0).all()
    for part in model(init="uniform").layers:
        limit = part.size**-0.5
        for weight in (part.recurrent, part.bottom_up):
            assert weight.abs().max() <= limit
            assert weight.abs().max() > 0.8 * limit
        assert (part.bias[: part.size] == 1).all()


@pytest.mark.parametrize(
    ("units", "embedding", "output", "symbols", "millions"),
    [(512, 128, 512, 50, 8.43), (1024, 128, 2048, 27, 36.3)],
)
def test_parameter_counts_are_the_published_ones(units, embedding, output, symbols, millions):
    with torch.device("meta"):
        parts = (
            Embedding(symbols, embedding),
            HMLSTM(embedding, units, 3, kernel="reference"),
            Gated((units,) * 3, symbols, output),
        )
    count = sum(p.numel() for part in parts for p in part.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_gated_head_puts_nothing_on_the_logits():
    logits = Gated(SIZES, 9, 8)([torch.randn(50, n) for n in SIZES])
    assert (logits < 0).any()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"boundary": "stpe"}, "boundary must be one of step, sample, soft; got 'stpe'. Did you mean 'step'"),
        ({"choice": "hard"}, "choice must be one of mix, select"),
        ({"copy_boundary": "keep"}, "copy_boundary must be one of recompute, hold, zero"),
        ({"init": "zeros"}, "init must be one of orthogonal, uniform"),
        ({"layer_norm": "yes"}, "layer_norm must be true or false; got 'yes'"),
        ({"flush": 1}, "flush must be true or false; got 1"),
        ({"forget_bias": "one"}, "forget_bias must be a finite number; got 'one'"),
        ({"forget_bias": float("nan")}, "forget_bias must be a finite number; got nan"),
        ({"slope": 0}, "slope must be a number above 0; got 0"),
        ({"slope": -1.0}, "slope must be a number above 0; got -1.0"),
        ({"slope": lambda epoch: 0.0}, "slope at epoch 0 must be a number above 0; got 0.0"),
        ({"boundary": "soft", "choice": "select"}, "choice must be mix with boundary='soft'"),
        ({"num_layers": 0}, "num_layers must be a whole number of at least 1; got 0"),
        ({"hidden_size": [3, 4]}, "hidden_size must be one number or 3 of them"),
        ({"kernel": "fast"}, "kernel must be one of auto, native, fused, reference; got 'fast'"),
    ],
    ids=str,
)
def test_a_bad_option_fails_at_once_and_says_what_is_allowed(options, named):
    with pytest.raises(InvalidInput) as error:
        HMLSTM(D, options.pop("hidden_size", SIZES), **options)
    assert named in str(error.value)
