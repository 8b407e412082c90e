"""The loop of tanh units in C++ is the loop in Python, exactly, and alone in its own memory."""

import pytest
import torch
from torch import Tensor

from multiscale.kernels import recurrence
from multiscale.kernels.recurrence import recur

pytestmark = pytest.mark.skipif(recurrence.unavailable() is not None, reason=str(recurrence.unavailable()))

SHAPES = [(6, 3, 5), (5, 1, 70), (4, 7, 33), (0, 2, 4), (1, 2, 1), (3, 2, 600)]  # T, B, H


def given(steps: int, batch: int, size: int, rows: int | None, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    drive, first = torch.randn(steps, batch, size, dtype=dtype), torch.randn(batch, size, dtype=dtype)
    weight = (torch.randn(size, size, dtype=dtype) / size**0.5).t()  # whose rows are not in a row
    active = [] if rows is None else [torch.rand(steps, rows, size, dtype=dtype)]
    return [t.requires_grad_() for t in (drive, weight, first, *active)]


def loop(drive: Tensor, weight: Tensor, first: Tensor, active: Tensor | None = None) -> Tensor:
    states = [first]
    for t, drive_t in enumerate(drive):
        new = torch.tanh(drive_t + states[-1] @ weight.t())
        states.append(new if active is None else active[t] * new + (1 - active[t]) * states[-1])
    return torch.stack(states)


def everything(run, tensors: list[Tensor], cotangent: Tensor) -> list[Tensor]:
    states = run(*tensors)
    found = torch.autograd.grad(states, tensors, cotangent.to(states.dtype), allow_unused=True, materialize_grads=True)
    return [states.detach(), *found]


@pytest.mark.parametrize("shared", [None, True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_states_and_all_gradients_are_those_of_the_loop(shape, shared):
    tensors = given(*shape, None if shared is None else 1 if shared else shape[1])
    cotangent = torch.randn(shape[0] + 1, *shape[1:], dtype=torch.float64)
    for a, b in zip(everything(recur, tensors, cotangent), everything(loop, tensors, cotangent), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(recur(*tensors), recur(*(t.detach() for t in tensors)))


def test_in_float32_it_errs_at_most_twice_as_much_as_the_loop():
    tensors, cotangent = given(40, 3, 65, 1), torch.randn(41, 3, 65, dtype=torch.float64)
    single = [t.detach().float().requires_grad_() for t in tensors]
    exact = everything(loop, tensors, cotangent)
    runs = [everything(run, single, cotangent) for run in (loop, recur)]
    for value, *found in zip(exact, *runs, strict=True):
        errors = [(f.double() - value).norm() for f in found]
        assert errors[1] <= 2 * errors[0] + 3e-7 * value.norm()


@pytest.mark.parametrize("rows", [None, 1, 48])
def test_two_threads_give_the_bits_of_one(rows, monkeypatch):
    tensors, cotangent = given(4, 48, 512, rows, torch.float32), torch.randn(5, 48, 512)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(everything(recur, tensors, cotangent))
    finally:
        torch.set_num_threads(threads)
    for i, (a, b) in enumerate(zip(*found, strict=True)):
        assert i == 2 or torch.equal(a, b)  # the weights' gradient is torch's own product


def test_a_gate_of_0_keeps_and_one_of_1_replaces_exactly():
    drive, weight, first, _ = given(3, 2, 5, 1)
    kept = recur(drive, weight, first, torch.zeros(3, 1, 5, dtype=torch.float64))
    assert torch.equal(kept, first.expand(4, -1, -1))
    assert torch.equal(
        recur(drive, weight, first, torch.ones(3, 1, 5, dtype=torch.float64)), recur(drive, weight, first)
    )
