"""The buffers of the HM-LSTM's kernels: written before they are read, kept for the backward pass, then given back."""

import pytest
import torch

from multiscale.kernels import workspace
from tests.helpers.hmlstm_kernels import KERNELS, D, as_kernel, model, run


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


def test_memory_kept_for_the_next_sequence_is_bounded(monkeypatch):
    monkeypatch.setattr(workspace, "_LIMIT", 4000)
    monkeypatch.setattr(workspace, "_BLOCK", 1)
    workspace._free.clear()
    kept = []
    for size in (100, 300, 600, 900):
        held = workspace.Workspace(torch.zeros(1))
        held.empty(size)
        del held
        kept.append([t.numel() for t in workspace._free.values()])
    assert kept[-2:] == [[100, 300, 600], [900]]


def test_buffers_of_one_block_do_not_overlap():
    work = workspace.Workspace(torch.zeros(1))
    buffers = [work.empty(n).fill_(n) for n in (5, 33, 1, 16)]
    assert len(work.taken) == 1
    assert [b.unique().tolist() for b in buffers] == [[5], [33], [1], [16]]


def test_memory_is_reused_and_never_shared(monkeypatch):
    monkeypatch.setattr(workspace, "_BLOCK", 1)
    workspace._free.clear()
    first = workspace.Workspace(torch.zeros(1))
    address = first.empty(50, 2).data_ptr()
    second = workspace.Workspace(torch.zeros(1))
    assert second.empty(100).data_ptr() != address
    del first
    assert second.empty(10, 9).data_ptr() == address
    assert second.empty(90).data_ptr() != address
