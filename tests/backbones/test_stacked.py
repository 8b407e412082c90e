"""Stacks of cells against torch.nn's."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from multiscale import StackedRNN, testing
from multiscale.kernels.hmlstm import native

ORACLES = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@pytest.mark.parametrize("kernel", ["fused", "reference"])
@pytest.mark.parametrize("cell", ORACLES)
def test_it_is_torchs_stack_with_the_same_weights(cell, kernel):
    torch.manual_seed(0)
    oracle = ORACLES[cell](5, 7, 3, batch_first=True).double()
    ours = StackedRNN(5, 7, 3, cell=cell, kernel=kernel).double()
    for l, layer in enumerate(ours.layers):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(layer, f"{name}_l0").data.copy_(getattr(oracle, f"{name}_l{l}"))
    x = torch.randn(3, 11, 5, dtype=torch.float64)
    first = torch.randn(2 if cell == "lstm" else 1, 3, 3, 7, dtype=torch.float64)
    top, last = oracle(x, tuple(first) if cell == "lstm" else first[0])
    output = ours(x, tuple(tuple(part) for part in first))
    torch.testing.assert_close(output.levels[-1], top, rtol=0, atol=1e-12)
    for ours_last, theirs in zip(output.state, last if cell == "lstm" else (last,), strict=True):
        torch.testing.assert_close(torch.stack(ours_last), theirs, rtol=0, atol=1e-12)
    for level, last_h in zip(output.levels, output.state[0], strict=True):
        assert torch.equal(level[:, -1], last_h)


def test_the_weights_of_a_seed_are_those_of_torch():
    torch.manual_seed(3)
    ours = StackedRNN(5, 7, 2)
    torch.manual_seed(3)
    theirs = [nn.LSTM(5, 7), nn.LSTM(7, 7)]
    for layer, other in zip(ours.layers, theirs, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(layer.parameters(), other.parameters(), strict=True))


def test_a_chrono_start_forgets_on_scales_up_to_the_longest():
    torch.manual_seed(0)
    (layer,) = StackedRNN(2, 4000, 1, start="chrono", max_time=50).layers
    bias = layer.bias_ih_l0 + layer.bias_hh_l0
    i, f = bias[:4000], bias[4000:8000]
    assert torch.equal(i, -f)
    steps = f.exp()
    assert 1 <= steps.min() < 1.1
    assert 48 < steps.max() <= 49
    assert abs(steps.mean() - 25) < 1


def test_an_inverse_gamma_start_has_its_median_time_scale():
    torch.manual_seed(0)
    (layer,) = StackedRNN(2, 3000, 1, start="inverse_gamma").layers
    f = (layer.bias_ih_l0 + layer.bias_hh_l0).detach()[3000:6000].double()
    time = 1 / torch.log1p(torch.exp(-f))  # the inverse of b_f = -log(exp(1 / T) - 1)
    shape, median = torch.tensor([0.56, 0.2799]).double()  # of the gamma distribution
    assert torch.special.gammainc(shape, median).item() == pytest.approx(0.5, abs=1e-4)
    assert time.median().item() == pytest.approx(1 / 0.2799, rel=0.1)
    assert bool(f.isfinite().all())


@pytest.mark.parametrize(("cell", "gates"), [("tanh", 1), ("gru", 3), ("lstm", 4)])
def test_an_orthogonal_start_turns_what_each_gate_reads_of_the_past(cell, gates):
    torch.manual_seed(0)
    for layer in StackedRNN(2, 9, 2, cell=cell, orthogonal=True).layers:
        for weight in layer.weight_hh_l0.detach().view(gates, 9, 9):
            assert torch.allclose(weight @ weight.T, torch.eye(9), atol=1e-5)


def test_layers_may_differ_in_size():
    output = StackedRNN(5, [9, 4], 2)(torch.randn(2, 3, 5))
    assert [level.shape[-1] for level in output.levels] == [9, 4]


needs_native = pytest.mark.skipif(native.unavailable() is not None, reason=f"{native.unavailable()}")


@pytest.mark.parametrize("kernel", ["reference", pytest.param("native", marks=needs_native)])
def test_layer_norm_normalises_both_products_and_the_cell_inside_the_tanh(kernel):
    torch.manual_seed(0)
    ours = StackedRNN(5, 7, 1, layer_norm=True, kernel=kernel).double()
    weight_ih, weight_hh, bias_ih, bias_hh = ours.layers[0].parameters()
    x, h, c = torch.randn(3, 1, 5).double(), torch.randn(3, 7).double(), torch.randn(3, 7).double()

    def normal(v):
        return (v - v.mean(1, keepdim=True)) / (v.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    gates = normal(x[:, 0] @ weight_ih.T) + normal(h @ weight_hh.T) + bias_ih + bias_hh
    i, f, g, o = gates.chunk(4, 1)
    cell = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    hidden = torch.sigmoid(o) * torch.tanh(normal(cell))
    output = ours(x, ((h,), (c,)))
    torch.testing.assert_close(output.levels[0][:, 0], hidden, rtol=0, atol=1e-12)
    torch.testing.assert_close(output.state[1][0], cell, rtol=0, atol=1e-12)


test_laws_with_layer_norm = testing.laws(lambda n: moved(StackedRNN(n, [13, 6], layer_norm=True)))


def moved(network):
    """Away from gains of 1 and offsets of 0."""
    torch.manual_seed(0)
    for p in network.norms.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return network


@needs_native
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (3, 2), (2, 63)])
def test_the_layer_norm_lstm_in_c_errs_at_most_twice_as_much_as_the_steps(batch, steps):
    truth = moved(StackedRNN(5, [17, 9], layer_norm=True, kernel="reference")).double()
    assert copy.deepcopy(truth).use("auto").kernel == "native"
    errors = []
    for _ in range(5):
        x = torch.randn(batch, steps, 5).double()
        first = tuple(tuple(torch.randn(batch, n).double() for n in truth.level_sizes) for _ in "hc")
        cotangents = [torch.randn(batch, steps, n).double() for n in truth.level_sizes]
        right = everything(truth, x, first, cotangents)
        singles = [copy.deepcopy(truth).float().use(kernel) for kernel in ("reference", "native")]
        found = [everything(single, x, first, cotangents) for single in singles]
        errors.append([[(f - r).norm() / r.norm() for f in two] for r, *two in zip(right, *found, strict=True)])
    reference, own = torch.tensor(errors).median(0).values.unbind(-1)
    assert (own <= 2 * reference + 2 * torch.finfo(torch.float32).eps).all()


def everything(network, x, first, cotangents):
    """Levels, last state, and the gradients of the input, the first state and all parameters."""
    dtype = next(network.parameters()).dtype
    x, first = x.to(dtype).requires_grad_(), tuple(tuple(s.to(dtype).requires_grad_() for s in p) for p in first)
    out = network(x, first)
    last = [s for part in out.state for s in part]
    loss = sum((level * c.to(dtype)).sum() for level, c in zip(out.levels, cotangents, strict=True))
    loss = loss + sum(s.square().sum() for s in last)
    found = torch.autograd.grad(loss, [x, *(s for part in first for s in part), *network.parameters()])
    return [t.detach().double() for t in (*out.levels, *last, *found)]


def test_a_named_kernel_that_cannot_run_raises():
    with pytest.raises(ValueError, match=r"kernel .native. of StackedRNN cannot run here: .*of cell lstm with layer"):
        StackedRNN(5, 7, 1, kernel="native")
    with pytest.raises(ValueError, match=r"kernel .fused. of StackedRNN cannot run here: .*no layer norm"):
        StackedRNN(5, 7, 1, layer_norm=True, kernel="fused")


@pytest.mark.parametrize(
    "wrong", [{"hidden_size": 0}, {"num_layers": -1}, {"input_size": 2.0}, {"kernel": "cuda"}, {"cell": "relu"}]
)
def test_bad_arguments_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StackedRNN(**{"input_size": 3, "hidden_size": 4, "num_layers": 2, **wrong})


def test_a_start_is_of_lstm_alone():
    with pytest.raises(ValueError, match="start must be torch for cell gru; got 'chrono'"):
        StackedRNN(3, 4, cell="gru", start="chrono")
    with pytest.raises(ValueError, match="max_time must be a number above 2; got 2"):
        StackedRNN(3, 4, start="chrono", max_time=2)


def test_zoneout_keeps_units_in_training_and_is_its_expectation_in_evaluation():
    torch.manual_seed(0)
    plain = StackedRNN(5, 400, 1, kernel="reference").double()
    zoned = StackedRNN(5, 400, 1, zoneout=0.3, zoneout_c=0.1).double()
    assert zoned.kernel == "reference"
    zoned.load_state_dict(plain.state_dict())
    x, h, c = torch.randn(3, 1, 5).double(), torch.randn(3, 400).double(), torch.randn(3, 400).double()
    new = plain(x, ((h,), (c,))).state
    kept = zoned(x, ((h,), (c,))).state
    for (after,), (fresh,), old, rate in zip(kept, new, (h, c), (0.3, 0.1), strict=True):
        held = after == old
        assert abs(held.double().mean() - rate) < 0.03
        assert torch.equal(after[~held], fresh[~held])
    for (after,), (fresh,), old, rate in zip(zoned.eval()(x, ((h,), (c,))).state, new, (h, c), (0.3, 0.1), strict=True):
        torch.testing.assert_close(after, (1 - rate) * fresh + rate * old)


def test_zoneout_is_refused_where_it_cannot_be():
    with pytest.raises(ValueError, match=r"zoneout_c must be 0 for cell gru, which has no c; got 0.1"):
        StackedRNN(3, 4, cell="gru", zoneout_c=0.1)
    with pytest.raises(ValueError, match=r"kernel .fused. of StackedRNN cannot run here: .*no zoneout"):
        StackedRNN(3, 4, zoneout=0.1, kernel="fused")
    with pytest.raises(ValueError, match=r"zoneout must be a number at least 0 and at most 1; got 2"):
        StackedRNN(3, 4, zoneout=2)


HALF = """
import torch
from multiscale import StackedRNN
network, x = StackedRNN(4, (6, 5)), torch.randn(3, 7, 4)
exact = network(x).levels[-1]
with torch.autocast("cpu", torch.{dtype}):
    half = network(x)
    network(x.bfloat16())
half.levels[-1].float().sum().backward()
assert all(bool(p.grad.isfinite().all()) for p in network.parameters())
assert {{part.dtype for level in half.state[0] for part in level}} == {{torch.float32}}
assert (half.levels[-1] - exact).abs().max() < 0.02
"""


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_it_runs_in_half_precision_on_a_cpu_without_avx512(dtype):
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    words = [sys.executable, "-c", HALF.format(dtype=dtype)]
    done = subprocess.run(words, env=environment, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
