"""The loop in C++: which rows it computes, and that what it leaves out is nothing."""

import pytest
import torch

from multiscale.kernels.hmlstm import native
from multiscale.kernels.hmlstm.looped import Looped
from tests.helpers.hmlstm_kernels import HAS_COMPILER, SIZES, D, as_kernel, compare, inject, model, run, state

pytestmark = pytest.mark.skipif(not HAS_COMPILER, reason=f"{native.unavailable()}")

T, B = 20, 6


@pytest.fixture
def loops(monkeypatch):
    """Every sequence that has run."""
    ran, forward = [], Looped.forward

    def recorded(loop):
        ran.append(loop)
        forward(loop)

    monkeypatch.setattr(Looped, "forward", recorded)
    return ran


def rested(bias=-1.2, slope=2.0, sizes=SIZES, **options):
    """A model whose boundaries are rare, and whose surrogates are saturated in some rows and not in others."""
    found = model(sizes, slope=slope, **options)
    with torch.no_grad():
        for layer in found.layers[:-1]:
            layer.bias[-1] = bias
    return found


def counts(loop):
    """How many rows each layer wrote, and of how many more it computed the gates."""
    return [int(s.written[-1]) for s in loop.steps], [int(s.compared[-1]) for s in loop.steps]


RESTED = [
    {},
    {"choice": "select"},
    {"copy_boundary": "hold"},
    {"copy_boundary": "zero"},
    {"nested": True},
    {"choice_share": 0.0, "copy_boundary": "hold"},
    {"choice_share": 0.3, "nested": True, "boundary_source": "hidden"},
    {"flush": False, "top_down": False},
]


@pytest.mark.parametrize("options", RESTED, ids=str)
def test_levels_that_rest_are_as_exact_as_the_reference(options, loops):
    compare(rested(**options), batch=3, steps=13, given=True)
    written, compared = (sum(part) for part in zip(*map(counts_of_copying, loops), strict=True))
    assert written < 0.7 * 2 * 13 * 3 * len(loops)
    assert (compared > 0) == (options.get("choice") != "select" and options.get("choice_share") != 0)


def counts_of_copying(loop):
    """Of the layers that may copy."""
    return tuple(sum(part[1:]) for part in counts(loop))


@pytest.mark.parametrize("options", [{}, {"copy_boundary": "hold"}, {"nested": True}], ids=str)
def test_rows_are_written_where_the_trace_says_so(options, loops):
    found = as_kernel(rested(**options), "native")
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            trace = found(torch.randn(B, T, D), trace=True).trace
        assert counts(loops[-1])[0] == trace.update.sum((0, 1)).int().tolist()
        for step, update in zip(loops[-1].steps, trace.update.permute(2, 1, 0), strict=True):
            rows = step.written_rows[: int(step.written[-1])]
            assert torch.equal(rows, update.flatten().nonzero()[:, 0])


@pytest.mark.parametrize("copy_boundary", ["recompute", "hold", "zero"])
def test_gates_of_a_copy_are_computed_only_where_a_boundary_beside_it_passes_gradient_on(copy_boundary, loops):
    x, never = torch.randn(B, T, D), torch.zeros(2, T, B)
    expected = {0.01: T * B, 1000.0: 0}  # never, and always, saturated
    for slope, of_each in expected.items():
        found = as_kernel(rested(bias=-3.0, slope=slope, copy_boundary=copy_boundary), "native")
        inject(found, never)
        found(x)
        if copy_boundary == "recompute" or slope > 1:
            assert counts(loops[-1]) == ([T * B, 0, 0], [0, of_each, of_each])
        with torch.no_grad():
            found(x)
        assert counts(loops[-1]) == ([T * B, 0, 0], [0, 0, 0])


def test_the_gradient_of_a_boundary_before_the_first_step_needs_its_gates(loops):
    found = as_kernel(rested(bias=-3.0, slope=1000.0), "native", torch.float64)
    x, (h, c, z) = torch.randn(B, T, D).double(), state(found, B)
    never, none = torch.zeros(2, T, B), tuple(torch.zeros(B, 1).double() for _ in z)
    inject(found, never)
    found(x, (h, c, none))
    assert counts(loops[-1])[1] == [0, 0, 0]
    inject(found, never)
    found(x, (h, c, tuple(part.requires_grad_() for part in none)))
    assert counts(loops[-1])[1] == [0, B, 0]


@pytest.mark.parametrize("options", RESTED, ids=str)
@pytest.mark.parametrize("steps", [1, 2, 63])
def test_all_rows_give_what_the_rows_that_are_needed_give(steps, options, monkeypatch):
    truth = rested(bias=-0.3, slope=3.0, **options)
    x, first, cotangents = torch.randn(5, steps, D), state(truth, 5), {}
    found = as_kernel(truth, "native", torch.float64)
    few = run(found, x, first, cotangents)
    run_kernel = type(found).run_kernel
    monkeypatch.setattr(type(found), "run_kernel", lambda self, *given: run_kernel(self, *given, skip=False))
    for name, tensor in run(found, x, first, cotangents).items():
        torch.testing.assert_close(few[name], tensor, rtol=1e-10, atol=1e-10)


def test_two_threads_give_the_bits_of_one():
    found, x = as_kernel(rested(sizes=(70, 40, 30)), "native"), torch.randn(400, 5, D, requires_grad=True)
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            levels = found(x).levels
            results.append((*levels, *torch.autograd.grad(sum(level.square().sum() for level in levels), x)))
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *results))
