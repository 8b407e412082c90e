"""The HM-LSTM's kernels against the fold of its step, with the float64 fold as truth."""

import copy
import logging
from collections import defaultdict

import pytest
import torch

from multiscale.backbones import hmlstm as backbone
from multiscale.backbones.hmlstm import HMLSTM
from multiscale.checks import InvalidInput
from multiscale.kernels import compiler, product, workspace
from multiscale.kernels.hmlstm import native, rows

D, SIZES = 5, (17, 14, 19)
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
    {"boundary": "soft", "copy_boundary": "hold", "layer_norm": True},
    {"layer_norm": True, "top_down": False, "choice": "select", "copy_boundary": "hold"},
    {"layer_norm": True, "flush": False, "boundary_bias": False},
]
ULPS = 2 * torch.finfo(torch.float32).eps  # what rounding one number well can cost it
HAS_COMPILER = native.unavailable() is None
KERNELS = [
    "fused",
    pytest.param("native", marks=pytest.mark.skipif(not HAS_COMPILER, reason=f"{native.unavailable()}")),
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=["ordinary", "all shortcuts"])
def shortcuts(request, monkeypatch):
    """Packed products and skipped rows are for large layers; here also taken by small ones."""
    if request.param == "all shortcuts":
        monkeypatch.setattr(product, "_WORTH_PACKING", 0)
        monkeypatch.setattr(product, "_WORTH_SKIPPING", 0)
        monkeypatch.setattr(product, "_GATHERING", 0)
        monkeypatch.setattr(product, "_ROWS_AT_ONCE", 7)
        monkeypatch.setattr(rows, "_WORTH_COUNTING", 0)
    return request.param == "all shortcuts"


def model(sizes=SIZES, **options):
    """A float64 reference, away from where it starts but not where it would be chaotic and rounding would grow."""
    found = HMLSTM(D, sizes, len(sizes), kernel="reference", **options).double()
    with torch.no_grad():
        for name, p in found.named_parameters():
            norm = "norm" in name
            p.mul_(0.2 if norm else 1).add_((0.03 if norm else 0.1) * torch.randn_like(p))
    return found


def as_kernel(truth, kernel, dtype=torch.float32):
    found = copy.deepcopy(truth).to(dtype)
    found.kernel, found.kernel_is_named = kernel, True
    return found


def state(truth, batch):
    h, c = (tuple(torch.randn(batch, n).double() for n in truth.level_sizes) for _ in "hc")
    return h, c, tuple(torch.randint(2, (batch, 1)).double() for _ in truth.level_sizes[1:])


def inject(found, fires):
    """Make the decisions for a model: fires [L - 1, T, B]."""
    thresholds = (2 - 3 * fires).to(found.slope.dtype)  # a hard sigmoid lies in [0, 1]
    steps = iter([row[:, None] for rows in thresholds.transpose(0, 1) for row in rows])
    found.threshold = lambda like: next(steps)
    found.thresholds = lambda x, state: thresholds


def run(found, x, first, cotangents):
    """Outputs, final state, trace and the gradients of inputs, first state and parameters, by name."""
    dtype = found.slope.dtype
    x = x.to(dtype).requires_grad_()
    names = ("h", "c", "z")
    first = None if first is None else tuple(tuple(s.to(dtype).requires_grad_() for s in part) for part in first)
    out = found(x, first, trace=True)
    found_tensors = {f"level {i}": level for i, level in enumerate(out.levels)}
    found_tensors |= {f"last {n}{i}": s for n, part in zip(names, out.state, strict=True) for i, s in enumerate(part)}
    if not cotangents:
        cotangents.update({name: torch.randn_like(v, dtype=torch.float64) for name, v in found_tensors.items()})
    loss = sum((v * cotangents[name].to(dtype)).sum() for name, v in found_tensors.items())
    wanted = {"d x": x, **{f"d {name}": p for name, p in found.named_parameters()}}
    if first is not None:
        wanted |= {f"d first {n}{i}": s for n, part in zip(names, first, strict=True) for i, s in enumerate(part)}
    gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=False)
    tensors = {name: v.detach() for name, v in found_tensors.items()}
    tensors |= dict(zip(wanted, gradients, strict=True))
    return tensors | {"update": out.trace.update, "boundary": out.trace.boundary, "penalty": out.penalty}


def compare(truth, kernel, batch, steps, given, draws=5):
    """Assert that a kernel's error is at most twice the reference's, tensor by tensor, as relative RMS.

    The middle of some draws of the inputs, because one number may be exact by luck.
    """
    errors, sizes = defaultdict(list), defaultdict(list)
    for _ in range(draws):
        for name, (own, theirs, right) in found_by_all(truth, kernel, batch, steps, given).items():
            assert own.dtype == theirs.dtype
            assert own.shape == theirs.shape
            errors[name].append(torch.stack([(own - right).norm(), (theirs - right).norm()]))
            sizes[name].append(right.norm())
    for name, found in errors.items():
        size = torch.stack(sizes[name]).square().mean().sqrt().clamp(min=1e-30)
        own, theirs = torch.stack(found).median(0).values / size
        assert own <= 2 * theirs + ULPS, f"{name}: {own:.1e} against {theirs:.1e}"


def found_by_all(truth, kernel, batch, steps, given):
    """Each tensor as the kernel and the reference find it in float32, and as it is."""
    x, first, cotangents = torch.randn(batch, steps, D).double(), state(truth, batch) if given else None, {}
    exact, models = copy.deepcopy(truth), [as_kernel(truth, "reference"), as_kernel(truth, kernel)]
    if truth.options.boundary != "soft":
        with torch.no_grad():
            decisions = truth(x, first, trace=True).trace.boundary
        fires = decisions[..., :-1].permute(2, 1, 0)
        for found in (exact, *models):
            inject(found, fires)
    right = run(exact, x, first, cotangents)
    slow, fast = (run(found, x, first, cotangents) for found in models)
    assert slow.keys() == fast.keys() == right.keys()
    return {name: (fast[name], slow[name], tensor) for name, tensor in right.items()}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_is_as_exact_as_the_reference(options, kernel, shortcuts):
    compare(model(**options), kernel, batch=3, steps=13, given=shortcuts)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (3, 1), (1, 2), (3, 2), (1, 63), (3, 63), (2, 257)])
def test_every_length_is_as_exact_as_the_reference(batch, steps, layer_norm, kernel):
    draws = 3 if steps > 100 else 5 if steps > 2 else 15
    compare(model(layer_norm=layer_norm), kernel, batch, steps, given=steps != 63, draws=draws)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sizes", [(1,), (5,), (3, 5), (1, 1, 1), (2, 3, 4, 5)], ids=str)
def test_every_depth_is_as_exact_as_the_reference(sizes, kernel):
    compare(model(sizes), kernel, batch=2, steps=9, given=True)


@pytest.mark.parametrize("kernel", KERNELS)
def test_wide_layers_are_as_exact_as_the_reference(kernel):
    compare(model((67, 129, 64)), kernel, batch=33, steps=7, given=True)


@pytest.mark.parametrize("kernel", ["reference", *KERNELS])
@pytest.mark.parametrize(
    "options", [{}, {"layer_norm": True}, {"copy_boundary": "hold"}, {"copy_boundary": "zero", "flush": False}], ids=str
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
def test_free_running_decisions_agree_until_one_is_within_rounding(options, kernel, monkeypatch):
    truth = model((17, 16, 15), **options).eval()
    soft = []

    def recorded(x, slope):
        soft.append(((slope * x + 1) / 2).clamp(0, 1))
        return soft[-1]

    monkeypatch.setattr(backbone, "hard_sigmoid", recorded)
    x = torch.randn(8, 200, D).double()
    with torch.no_grad():
        right = truth(x, trace=True).trace.boundary
        found = as_kernel(truth, kernel)(x.float(), trace=True).trace.boundary
    margins = (torch.stack(soft).view(200, 2, 8).permute(2, 0, 1) - 0.5).abs()
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
@pytest.mark.parametrize("options", [{}, {"layer_norm": True}, {"boundary": "soft"}], ids=str)
def test_no_result_depends_on_what_memory_held(options, kernel, monkeypatch, shortcuts):
    truth, x, first, cotangents = model(**options), torch.randn(3, 9, D), None, {}
    expected = run(as_kernel(truth, kernel), x, first, cotangents)
    new_empty = torch.Tensor.new_empty

    def spoiled(like, *shape, **kinds):
        found = new_empty(like, *shape, **kinds)
        return found.fill_(float("nan")) if found.is_floating_point() else found

    monkeypatch.setattr(torch.Tensor, "new_empty", spoiled)
    monkeypatch.setattr(workspace, "_take", lambda size, like: spoiled(like, size))
    found = run(as_kernel(truth, kernel), x, first, cotangents)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("kernel", KERNELS)
def test_results_outlive_the_next_sequence(kernel):
    found, x = as_kernel(model(), kernel), torch.randn(3, 9, D)
    out = found(x, trace=True)
    tensors = [*out.levels, *(s for part in out.state for s in part), out.trace.boundary, out.trace.update]
    before = [t.clone() for t in tensors]
    sum(level.sum() for level in out.levels).backward()
    del out
    for _ in range(3):
        sum(level.sum() for level in found(torch.randn(3, 9, D)).levels).backward()
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


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


@pytest.mark.parametrize("kernel", KERNELS)
def test_only_rows_that_a_boundary_asks_for_are_multiplied(kernel, monkeypatch):
    monkeypatch.setattr(product, "_WORTH_SKIPPING", 0)
    monkeypatch.setattr(rows, "_WORTH_COUNTING", 0)
    asked = []
    of_step = rows.OpenRows.of_step

    def recorded(rows, t):
        found = of_step(rows, t)
        asked.append([rows.batch if r is None else len(r) for r in found])
        return found

    monkeypatch.setattr(rows.OpenRows, "of_step", recorded)
    found = as_kernel(model(), kernel)
    with torch.no_grad():
        trace = found(torch.randn(6, 20, D), trace=True).trace
    z = torch.cat((torch.zeros(6, 1, 3), trace.boundary), 1)
    for i, (t, l) in enumerate((t, l) for t in range(20) for l in range(3)):
        below = 6 if l == 0 else int(z[:, t + 1, l - 1].sum())
        expected = [int(trace.update[:, t, l].sum()), below, int(z[:, t, l].sum())]
        assert asked[i] == expected[: len(asked[i])]
    assert sum(row[0] for row in asked) < 3 * 20 * 6


@pytest.mark.parametrize("kernel", KERNELS)
def test_training_goes_on_after_an_evaluation_in_inference_mode(kernel):
    found, x = as_kernel(model(layer_norm=True), kernel), torch.randn(3, 9, D)
    workspace._free.clear()
    with torch.inference_mode():
        expected = found(x).levels[0].clone()
    out = found(x)
    sum(level.sum() for level in out.levels).backward()
    assert torch.equal(out.levels[0], expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kept_graph_gives_the_same_gradient_twice_and_a_freed_one_says_so(kernel):
    found, x = as_kernel(model(layer_norm=True), kernel), torch.randn(3, 9, D)
    parameters = list(found.parameters())
    loss = sum(level.square().sum() for level in found(x).levels)
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    second = torch.autograd.grad(loss, parameters)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, parameters)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_second_derivative_is_refused(kernel):
    found, x = as_kernel(model(), kernel), torch.randn(2, 3, D, requires_grad=True)
    (gradient,) = torch.autograd.grad(found(x).levels[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()


@pytest.mark.parametrize("kernel", KERNELS)
def test_weights_written_to_before_the_backward_pass_are_noticed(kernel):
    found = as_kernel(model(), kernel)
    loss = found(torch.randn(2, 3, D)).levels[0].sum()
    with torch.no_grad():
        found.layers[0].recurrent.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("kernel", KERNELS)
def test_levels_may_be_written_to(kernel):
    found, x = as_kernel(model(), kernel), torch.randn(2, 5, D)
    plain = torch.autograd.grad((2 * found(x).levels[0]).sum(), list(found.parameters()))
    level = found(x).levels[0]
    level *= 2
    assert all(map(torch.equal, plain, torch.autograd.grad(level.sum(), list(found.parameters()))))


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


def test_memory_kept_for_the_next_sequence_is_bounded(monkeypatch):
    monkeypatch.setattr(workspace, "_LIMIT", 4000)
    workspace._free.clear()
    kept = []
    for size in (100, 300, 600, 900):
        held = workspace.Workspace(torch.zeros(1))
        held.empty(size)
        del held
        kept.append([t.numel() for t in workspace._free])
    assert kept[-2:] == [[100, 300, 600], [900]]


def test_memory_is_reused_and_never_shared():
    workspace._free.clear()
    first = workspace.Workspace(torch.zeros(1))
    address = first.empty(50, 2).data_ptr()
    second = workspace.Workspace(torch.zeros(1))
    assert second.empty(100).data_ptr() != address
    del first
    assert second.empty(10, 9).data_ptr() == address
    assert second.empty(90).data_ptr() != address


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    compiler.load.cache_clear()
    yield
    compiler.load.cache_clear()


def test_without_a_compiler_auto_runs_torchs_gates_and_says_so(no_compiler, caplog):
    with caplog.at_level(logging.INFO):
        found = HMLSTM(D, SIZES)
    assert found.kernel == "fused"
    assert "HMLSTM: kernel fused (native: no C++ compiler (no-such-compiler) on the path)" in caplog.text
    sum(level.sum() for level in found(torch.randn(2, 4, D)).levels).backward()


def test_without_a_compiler_native_by_name_is_refused(no_compiler):
    with pytest.raises(InvalidInput, match="kernel 'native' of HMLSTM cannot run here: no C\\+\\+ compiler"):
        HMLSTM(D, SIZES, kernel="native")


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
def test_a_compiler_that_fails_is_a_reason_too(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "broken.cpp").write_text("int answer() { return forty_two; }")
    with pytest.raises(compiler.CannotCompile, match="forty_two"):
        compiler.load(tmp_path / "broken.cpp")
    assert not list((tmp_path / "multiscale").iterdir())


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
def test_native_by_name_refuses_what_it_cannot_work_on_and_auto_says_what_it_takes(caplog):
    found, x = HMLSTM(D, SIZES, kernel="native").to(torch.bfloat16), torch.randn(2, 3, D, dtype=torch.bfloat16)
    with pytest.raises(InvalidInput, match="kernel 'native' of HMLSTM works on CPU tensors of float32 or float64"):
        found(x)
    with caplog.at_level(logging.INFO):
        assert HMLSTM(D, SIZES).to(torch.bfloat16)(x).levels[0].dtype == torch.bfloat16
    assert "HMLSTM: kernel fused (kernel 'native' of HMLSTM works on CPU tensors" in caplog.text


@pytest.mark.parametrize("kernel", KERNELS)
def test_inputs_of_another_type_than_the_parameters_are_refused(kernel):
    with pytest.raises(InvalidInput, match=r"x must be of the parameters' type, torch.float32; got torch.float64"):
        HMLSTM(D, SIZES, kernel=kernel)(torch.randn(2, 3, D).double())


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
