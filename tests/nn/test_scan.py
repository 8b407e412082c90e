"""The scan against the loop that it stands for."""

import pytest
import torch

from multiscale.nn.scan import scan


def loop(a, b, h):
    states = []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = a_t * h + b_t
        states.append(h)
    return torch.stack(states, 1)


def operands(steps: int, *, dtype=torch.float64):
    generator = torch.Generator().manual_seed(steps)
    shapes = ((3, steps, 4), (3, steps, 4), (3, 4))
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 63, 257])
def test_states_and_gradients_are_those_of_the_loop(steps):
    a, b, h = operands(steps)
    gate = torch.sigmoid(a)  # as the gates of a network, within (0, 1)
    found, expected = scan(gate, b, h), loop(gate, b, h)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    weights = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad((s * weights).sum(), (a, b, h), retain_graph=True) for s in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 5])
def test_its_gradient_passes_finite_differences(steps):
    torch.autograd.gradcheck(scan, operands(steps))


def test_a_factor_of_zero_forgets_all_before_it_and_of_one_keeps_it():
    a, b, h = (part.detach() for part in operands(9))
    a[:, 4] = 0
    changed = scan(a, torch.cat([torch.full_like(b[:, :4], 1e6), b[:, 4:]], 1), h)
    torch.testing.assert_close(changed[:, 4:], scan(a, b, h)[:, 4:], rtol=0, atol=0)
    kept = scan(torch.ones_like(a), torch.zeros_like(b), h)
    assert torch.equal(kept, h[:, None].expand_as(kept))


@pytest.mark.parametrize("steps", [63, 257])
def test_in_float32_it_errs_at_most_twice_as_much_as_the_loop(steps):
    a, b, h = (part.detach() for part in operands(steps))
    gate = torch.sigmoid(a + 2)
    truth = loop(gate, b, h)
    single = (gate.float(), b.float(), h.float())
    by_scan, by_loop = ((run(*single) - truth).square().mean().sqrt() for run in (scan, loop))
    assert by_scan <= 2 * by_loop


def test_it_writes_to_nothing_that_it_is_given():
    given = [part.detach() for part in operands(6)]
    before = [part.clone() for part in given]
    scan(*given)
    assert all(map(torch.equal, given, before))
