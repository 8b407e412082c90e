"""The HM-LSTM's kernels against its readable definition: the float64 reference is the truth.

A boundary near its threshold flips by one unit in the last place, and what follows then differs lawfully. So the
boundaries of the truth are injected into all others; that decisions agree without is a test of its own.
"""

import math
from collections import defaultdict

import pytest
import torch

from multiscale import HMLSTM
from multiscale.kernels import hmlstm_native
from multiscale.nn.schedules import Constant

NATIVE = pytest.param(
    "native",
    marks=pytest.mark.skipif(hmlstm_native.unavailable() is not None, reason=str(hmlstm_native.unavailable())),
)
KERNELS = ["fused", NATIVE]
OPTIONS = [
    {},
    {"layer_norm": True},
    {"choice": "select"},
    {"copy_boundary": "hold"},
    {"copy_boundary": "zero"},
    {"boundary": "soft"},
    {"boundary": "soft", "copy_boundary": "hold", "layer_norm": True},
    {"top_down": False},
    {"flush": False},
    {"copy": False, "layer_norm": True},
    {"boundary_bias": False},
]
ULP = torch.finfo(torch.float32).eps


def make(kernel: str, dtype: torch.dtype, seed: int = 0, **options) -> HMLSTM:
    torch.manual_seed(seed)
    net = HMLSTM(9, [17, 23, 11], 3, kernel=kernel, slope=Constant(1.3), **options)
    with torch.no_grad():
        for p in net.parameters():
            # No parameter at a special value; and a network that contracts, for in a chaotic one the errors that are
            # compared would be those of chaos, not those of arithmetic.
            p.mul_(0.5).add_(0.05 * torch.randn_like(p))
    return net.to(dtype)


def given(net: HMLSTM, batch: int, zero: bool, seed: int):
    """A state, the same for every precision: the initial one, or random with boundaries of 0 and 1."""
    generator = torch.Generator().manual_seed(200 + seed)
    h, c, z = net.initial_state(batch, torch.device("cpu"), net.slope.dtype)
    if zero:
        return h, c, z

    def random(like):
        return torch.randn(like.shape, generator=generator).to(like)

    return (
        tuple(random(p).tanh().requires_grad_() for p in h),
        tuple(random(p).requires_grad_() for p in c),
        tuple((random(p) > 0).to(p).requires_grad_() for p in z),
    )


def inject(net: HMLSTM, boundary: torch.Tensor) -> None:
    """Replace every threshold by one that is surely passed, or surely not: boundary [B, T, L]."""
    surely = torch.where(boundary > 0.5, -1.0, 2.0).to(net.slope)
    by_layer = surely[..., :-1].permute(2, 1, 0).contiguous()
    steps = iter([(t, l) for t in range(boundary.shape[1]) for l in range(boundary.shape[2] - 1)])

    def threshold(like):
        t, l = next(steps)
        return by_layer[l, t][:, None]

    net.thresholds = lambda x, state: by_layer
    net.threshold = threshold


def results(net: HMLSTM, x: torch.Tensor, zero: bool, seed: int = 0) -> dict[str, torch.Tensor]:
    """Everything that comes out, and every gradient for random cotangents."""
    generator = torch.Generator().manual_seed(300 + seed)
    x = x.to(net.slope.dtype).clone().requires_grad_()
    state = given(net, len(x), zero, seed)
    output = net(x, state, trace=True)
    h, c, z = output.state
    named = {f"{kind}{l}": v for kind, part in zip(("level", "h", "c", "z"), (output.levels, h, c, z), strict=True)
             for l, v in enumerate(part)}  # fmt: skip
    loss = sum((v * torch.randn(v.shape, generator=generator).to(v)).sum() for v in named.values() if v.requires_grad)
    inputs = {"x": x, **dict(net.named_parameters())}
    inputs |= (
        {} if zero else {f"{kind}{l}_0": v for kind, part in zip("hcz", state, strict=True) for l, v in enumerate(part)}
    )
    found = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True)
    gradients = {
        f"d {n}": torch.zeros_like(v) if g is None else g for (n, v), g in zip(inputs.items(), found, strict=True)
    }
    trace = {"update": output.trace.update, "boundary": output.trace.boundary}
    return {k: v.detach().double() for k, v in {**named, **gradients, **trace}.items()}


def compare(kernel: str, steps: int, batch: int, zero: bool, options: dict, draws: int = 10) -> None:
    """Relative RMS errors of every tensor over several draws of weights, inputs and cotangents together.

    One draw of a small tensor, such as the gradient of a single boundary, says little about an error of rounding.
    """
    errors: dict[str, dict[str, float]] = {"reference": defaultdict(float), kernel: defaultdict(float)}
    scale: dict[str, float] = defaultdict(float)
    for draw in range(draws):
        x = torch.randn(batch, steps, 9, generator=torch.Generator().manual_seed(100 + draw))
        true = results(make("reference", torch.float64, draw, **options), x, zero, draw)
        for key, value in true.items():
            scale[key] += value.square().sum().item()
        for name in errors:
            net = make(name, torch.float32, draw, **options)
            assert net.kernel == name
            if options.get("boundary") != "soft":
                inject(net, true["boundary"])
            for key, value in results(net, x, zero, draw).items():
                errors[name][key] += (value - true[key]).square().sum().item()
    assert len(scale) > 20
    relative = {
        name: {key: math.sqrt(total / scale[key]) if scale[key] else total for key, total in found.items()}
        for name, found in errors.items()
    }
    # A sum of n rounded terms is off by about sqrt(n) half units in the last place, whatever its order; below that
    # the error of one order of summation says nothing about another's. A product sums as many terms as a layer
    # reads, here up to 51, and a weight's gradient steps x batch.
    floor = math.sqrt(51 + steps * batch) * ULP / 2
    wrong = {
        key: (mine, relative["reference"][key])
        for key, mine in relative[kernel].items()
        if mine > max(2 * relative["reference"][key], floor)
    }
    assert not wrong


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("steps", [1, 2, 63])
@pytest.mark.parametrize("kernel", KERNELS)
def test_in_float32_it_errs_at_most_twice_as_much_as_the_definition(kernel, steps, batch, zero):
    compare(kernel, steps, batch, zero, {})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_so_it_does_with_every_option(kernel, options):
    compare(kernel, 12, 3, False, options)


@pytest.mark.parametrize("kernel", KERNELS)
def test_so_it_does_over_a_long_sequence(kernel):
    compare(kernel, 257, 3, False, {}, draws=3)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_in_float64_it_is_the_definition(kernel, options):
    x = torch.randn(3, 20, 9, generator=torch.Generator().manual_seed(4))
    true, found = (results(make(k, torch.float64, **options), x, False) for k in ("reference", kernel))
    for key, value in found.items():
        assert (value - true[key]).norm() <= 1e-12 * true[key].norm(), key
    assert 0 < true["update"].mean() <= 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_free_running_decisions_agree_up_to_the_first_close_one(kernel):
    x = torch.randn(8, 120, 9, generator=torch.Generator().manual_seed(5))
    exact = make("reference", torch.float64)
    margins: list[torch.Tensor] = []
    for l, layer in enumerate(exact.layers[:-1]):
        original = layer.pre_activations

        def spied(*arguments, original=original):
            pre = original(*arguments)
            margins.append(pre[:, -1].detach().abs())
            return pre

        exact.layers[l].pre_activations = spied
    with torch.no_grad():
        true = exact(x.double(), trace=True).trace.boundary
        found = make(kernel, torch.float32)(x, trace=True).trace.boundary
    margin = torch.stack(margins).view(120, 2, 8).permute(2, 0, 1)  # [B, T, 2]
    for b in range(8):
        differing = (true[b, :, :2] != found[b, :, :2]).nonzero()
        if len(differing):
            assert margin[b, int(differing[0, 0])].min() < 1e-4
    assert (true[..., :2] == found[..., :2]).float().mean() > 0.9


@pytest.mark.parametrize("kernel", KERNELS)
def test_sampling_draws_the_same_boundaries_as_the_fold(kernel):
    x = torch.randn(4, 15, 9, dtype=torch.float64)
    runs = []
    for name in ("reference", kernel):
        net = make(name, torch.float64, boundary="sample").train()
        torch.manual_seed(7)
        runs.append(net(x, trace=True).trace.boundary)
    assert torch.equal(*runs)


@pytest.mark.parametrize("kernel", KERNELS)
def test_nothing_is_read_before_it_is_written(kernel, monkeypatch):
    """Fresh memory is filled with NaN, and kept buffers are not used."""
    x = torch.randn(3, 9, 9)
    clean = results(make(kernel, torch.float32), x, False)
    from multiscale.kernels import workspace

    monkeypatch.setattr(workspace, "_take", lambda size, like: torch.full((size,), float("nan"), dtype=like.dtype))
    new_empty = torch.Tensor.new_empty

    def poisoned(self, *args, **kwargs):
        made = new_empty(self, *args, **kwargs)
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    for key, value in results(make(kernel, torch.float32), x, False).items():
        assert torch.equal(value, clean[key]), key


@pytest.mark.parametrize("kernel", KERNELS)
def test_two_sequences_may_be_open_at_once_and_a_graph_may_be_read_twice(kernel):
    net, x = make(kernel, torch.float64), torch.randn(2, 3, 7, 9, dtype=torch.float64)
    weights = list(net.parameters())
    alone = [torch.autograd.grad(net(part).levels[-1].sum(), weights) for part in x]
    losses = [net(part).levels[-1].sum() for part in x]
    for loss, wanted in zip(losses, alone, strict=True):
        for _ in range(2):
            again = torch.autograd.grad(loss, weights, retain_graph=True)
            assert all(map(torch.equal, again, wanted))


def test_without_a_compiler_auto_takes_the_fused_kernel_and_a_named_native_says_why(monkeypatch):
    monkeypatch.setattr(hmlstm_native, "unavailable", lambda: "no C++ compiler (c++) on the path")
    assert HMLSTM(3, 4, 2).kernel == "fused"
    with pytest.raises(ValueError, match=r"kernel 'native' of HMLSTM cannot run here: no C\+\+ compiler"):
        HMLSTM(3, 4, 2, kernel="native")


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_checkpoint_of_one_kernel_is_one_of_the_other(kernel):
    fast, slow = make(kernel, torch.float64), make("reference", torch.float64)
    with torch.no_grad():
        for p in fast.parameters():
            p.mul_(1.1)
    slow.load_state_dict(fast.state_dict())
    x = torch.randn(2, 9, 9, dtype=torch.float64)
    for a, b in zip(fast(x).levels, slow(x).levels, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
