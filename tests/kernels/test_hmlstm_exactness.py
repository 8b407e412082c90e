"""The HM-LSTM's kernels against the fold of its step, with the float64 fold as truth."""

import pytest
import torch

from multiscale.kernels import product
from multiscale.kernels.hmlstm import rows
from tests.helpers.hmlstm_kernels import HAS_COMPILER, KERNELS, OPTIONS, D, as_kernel, compare, model, run, state


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_is_as_exact_as_the_reference(options, shortcuts):
    compare(model(**options), batch=3, steps=13, given=shortcuts)


@pytest.mark.parametrize("layer_norm", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (3, 1), (1, 2), (3, 2), (1, 63), (3, 63), (2, 257)])
def test_every_length_is_as_exact_as_the_reference(batch, steps, layer_norm):
    draws = (9 if layer_norm else 3) if steps > 100 else 5 if steps > 2 else 15  # one draw is amplified, by luck
    compare(model(layer_norm=layer_norm), batch, steps, given=steps != 63, draws=(draws, 5 * draws))


@pytest.mark.parametrize("sizes", [(1,), (5,), (3, 5), (1, 1, 1), (2, 3, 4, 5)], ids=str)
def test_every_depth_is_as_exact_as_the_reference(sizes):
    compare(model(sizes), batch=2, steps=9, given=True)


def test_wide_layers_are_as_exact_as_the_reference():
    compare(model((67, 129, 64)), batch=33, steps=7, given=True)


@pytest.mark.parametrize("kernel", ["reference", *KERNELS])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layer_norm": True},
        {"copy_boundary": "hold"},
        {"copy_boundary": "zero", "flush": False},
        {"boundary_source": "hidden", "nested": True},
    ],
    ids=str,
)
def test_gradients_of_soft_boundaries_are_finite_differences(options, kernel):
    found = as_kernel(model((3, 2), boundary="soft", slope=0.3, **options), kernel, torch.float64)
    x, first = torch.randn(2, 4, D).double().requires_grad_(), state(found, 2)
    first = tuple(tuple(s.mul(0.5).requires_grad_() for s in part) for part in first)
    leaves = [x, *(s for part in first for s in part)]
    names, parameters = zip(*found.named_parameters(), strict=True)

    def outputs(*tensors):
        x, h0, h1, c0, c1, z0 = tensors[: len(leaves)]
        chosen = dict(zip(names, tensors[len(leaves) :], strict=True))
        out = torch.func.functional_call(found, chosen, (x, ((h0, h1), (c0, c1), (z0,))))
        return *out.levels, *(s for part in out.state for s in part)

    assert torch.autograd.gradcheck(outputs, (*leaves, *parameters), fast_mode=True)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("options", [{}, {"layer_norm": True}, {"boundary": "sample"}], ids=str)
def test_free_running_decisions_agree_until_one_is_within_rounding(options, kernel):
    truth = model((17, 16, 15), **options).eval()
    x = torch.randn(8, 200, D).double()
    with torch.no_grad():
        right, margins = truth(x, trace=True).trace.boundary, truth(x, trace=True).trace.probability[..., :-1]
        found = as_kernel(truth, kernel)(x.float(), trace=True).trace.boundary
    margins = (margins - 0.5).abs()
    differs = (right != found)[..., :-1]
    for sample in range(8):
        steps = differs[sample].any(1).nonzero()
        if len(steps):
            t = int(steps[0])
            assert margins[sample, t][differs[sample, t]].min() < 1e-5
    assert right[..., :-1].mean() > 0.1


@pytest.mark.parametrize("kernel", KERNELS)
def test_samples_are_the_reference_s(kernel):
    truth, x = model(boundary="sample"), torch.randn(4, 40, D)
    boundaries = []
    for name in ("reference", kernel):
        torch.manual_seed(3)
        boundaries.append(as_kernel(truth, name)(x, trace=True).trace.boundary)
    assert torch.equal(*boundaries)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layer_norm", [False, True])
def test_copied_rows_stay_bit_for_bit_in_training_and_evaluation(layer_norm, kernel, shortcuts):
    found = as_kernel(model(layer_norm=layer_norm), kernel)
    with torch.no_grad():
        for layer in found.layers[:-1]:
            layer.bias[-1] = -1000.0
    x, first = torch.randn(3, 9, D), state(found, 3)
    first = tuple(tuple(s.float() for s in part) for part in first[:2]), tuple(torch.zeros(3, 1) for _ in range(2))
    (h, c), z = first
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            out = found(x, (h, c, z), trace=True)
        assert (out.trace.update[..., 1:] == 0).all()
        for l in (1, 2):
            assert torch.equal(out.levels[l], h[l][:, None].expand_as(out.levels[l]))
            assert torch.equal(out.state[1][l], c[l])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("options", OPTIONS[:10], ids=str)
def test_evaluation_that_skips_rows_gives_what_training_gives(options, kernel, shortcuts):
    found = as_kernel(model(**options), kernel, torch.float64).eval()
    x = torch.randn(5, 30, D).double()
    dense = found(x, trace=True)
    with torch.no_grad():
        skipped = found(x, trace=True)
    assert torch.equal(dense.trace.boundary, skipped.trace.boundary)
    assert torch.equal(dense.trace.update, skipped.trace.update)
    torch.testing.assert_close(skipped.levels, dense.levels, rtol=0, atol=1e-13)
    torch.testing.assert_close(skipped.state, dense.state, rtol=0, atol=1e-13)


def test_torchs_gates_multiply_only_rows_that_a_boundary_asks_for(monkeypatch):
    monkeypatch.setattr(product, "_WORTH_SKIPPING", 0)
    monkeypatch.setattr(rows, "_WORTH_COUNTING", 0)
    asked = []
    of_step = rows.OpenRows.of_step

    def recorded(rows, t):
        found = of_step(rows, t)
        asked.append([rows.batch if r is None else len(r) for r in found])
        return found

    monkeypatch.setattr(rows.OpenRows, "of_step", recorded)
    found = as_kernel(model(), "fused")
    with torch.no_grad():
        trace = found(torch.randn(6, 20, D), trace=True).trace
    z = torch.cat((torch.zeros(6, 1, 3), trace.boundary), 1)
    for i, (t, l) in enumerate((t, l) for t in range(20) for l in range(3)):
        below = 6 if l == 0 else int(z[:, t + 1, l - 1].sum())
        expected = [int(trace.update[:, t, l].sum()), below, int(z[:, t, l].sum())]
        assert asked[i] == expected[: len(asked[i])]
    assert sum(row[0] for row in asked) < 3 * 20 * 6


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layer_norm", [False, True])
def test_mixed_precision_keeps_the_state_and_the_boundary_long(layer_norm, kernel, shortcuts):
    found = as_kernel(model(layer_norm=layer_norm), kernel)
    x = torch.randn(500, 1, D)
    long = found(x, trace=True)
    with torch.autocast("cpu", torch.bfloat16):
        short = found(x, trace=True)
    assert torch.equal(short.trace.boundary[..., 0], long.trace.boundary[..., 0])
    assert all(s.dtype == torch.float32 for part in short.state for s in part)
    assert not torch.equal(short.levels[0], long.levels[0])
    torch.testing.assert_close(short.levels[0], long.levels[0], rtol=0.05, atol=0.05)
    sum(level.sum() for level in short.levels).backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in found.parameters())


def test_a_broken_number_breaks_what_reads_it_and_no_other_sample():
    for kernel in ("reference", "fused", *(["native"] if HAS_COMPILER else [])):
        found, x = as_kernel(model(), kernel), torch.randn(3, 9, D)
        x[1, 4] = float("nan")
        for level in found(x).levels:
            assert level[1, -1].isnan().all()
            assert level[[0, 2]].isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("layer_norm", [False, True])
def test_torchs_gates_run_on_a_gpu(layer_norm):
    truth, x, cotangents = model(layer_norm=layer_norm), torch.randn(3, 9, D).double(), {}
    right = run(as_kernel(truth, "fused", torch.float64), x, None, cotangents)
    cotangents = {name: c.cuda() for name, c in cotangents.items()}
    found = run(as_kernel(truth, "fused", torch.float64).cuda(), x.cuda(), None, cotangents)
    for name, tensor in right.items():
        torch.testing.assert_close(found[name].cpu(), tensor)
