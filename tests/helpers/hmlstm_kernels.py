"""HM-LSTMs for the tests of their kernels, and what a kernel and the reference find, side by side."""

import copy
from collections import defaultdict

import pytest
import torch

from multiscale.backbones.hmlstm import HMLSTM
from multiscale.kernels.hmlstm import native

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
    {"nested": True},
    {"nested": True, "layer_norm": True, "choice": "select"},
    {"boundary_source": "hidden"},
    {"choice_share": 0.3, "copy_boundary": "hold"},
    {"boundary_source": "hidden", "copy_boundary": "hold", "layer_norm": True},
    {"boundary_source": "hidden", "nested": True, "boundary_bias": False, "top_down": False},
]
ULPS = 2 * torch.finfo(torch.float32).eps  # what rounding one number well can cost it
HAS_COMPILER = native.unavailable() is None
ON_CPU = ("fused", "native") if HAS_COMPILER else ("fused",)
KERNELS = [
    "fused",
    pytest.param("native", marks=pytest.mark.skipif(not HAS_COMPILER, reason=f"{native.unavailable()}")),
]


def model(sizes=SIZES, **options):
    """A float64 reference, away from where it starts but not where it would be chaotic and rounding would grow."""
    found = HMLSTM(D, sizes, len(sizes), kernel="reference", **options).double()
    with torch.no_grad():
        for name, p in found.named_parameters():
            norm = "norm" in name
            p.mul_(0.2 if norm else 1).add_((0.03 if norm else 0.1) * torch.randn_like(p))
    return found


def as_kernel(truth, kernel, dtype=torch.float32):
    return copy.deepcopy(truth).to(dtype).use(kernel)


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


def compare(truth, batch, steps, given, draws=(5, 25), kernels=ON_CPU):
    """Assert that each kernel's error is at most twice the reference's, tensor by tensor, as relative RMS.

    The middle of some draws of the inputs, because a few numbers may be exact by luck, and of more where that shows.
    """
    errors, sizes = defaultdict(list), defaultdict(list)
    for draw in range(1, max(draws) + 1):
        for name, (*found, right) in found_by_all(truth, ["reference", *kernels], batch, steps, given).items():
            assert len({(tensor.dtype, tensor.shape) for tensor in found}) == 1
            errors[name].append(torch.stack([(tensor - right).norm() for tensor in found]))
            sizes[name].append(right.norm())
        if draw not in draws:
            continue
        beyond = []
        for name, found in errors.items():
            size = torch.stack(sizes[name]).square().mean().sqrt().clamp(min=1e-30)
            reference, *own = torch.stack(found).median(0).values / size
            for kernel, error in zip(kernels, own, strict=True):
                if not error <= 2 * reference + ULPS:
                    beyond.append(f"{kernel}: {name}: {error:.1e} against {reference:.1e}")
        if not beyond:
            return
    raise AssertionError("; ".join(beyond))


def found_by_all(truth, kernels, batch, steps, given):
    """Each tensor as every kernel finds it in float32, and last as it is."""
    x, first, cotangents = torch.randn(batch, steps, D).double(), state(truth, batch) if given else None, {}
    exact, models = copy.deepcopy(truth), [as_kernel(truth, kernel) for kernel in kernels]
    if truth.options.boundary != "soft":
        with torch.no_grad():
            decisions = truth(x, first, trace=True).trace.boundary
        fires = decisions[..., :-1].permute(2, 1, 0)
        for found in (exact, *models):
            inject(found, fires)
    right = run(exact, x, first, cotangents)
    found = [run(model, x, first, cotangents) for model in models]
    assert all(tensors.keys() == right.keys() for tensors in found)
    return {name: (*(tensors[name] for tensors in found), tensor) for name, tensor in right.items()}
