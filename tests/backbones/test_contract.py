"""The laws of a backbone, over every file in conf/model/, with its own kernel and with the reference."""

import pytest
import torch

from multiscale.backbones.base import detach, fold
from tests.conftest import MODELS, backbone

B, T, D = 3, 7, 5
CASES = [(model, kernel) for model in MODELS for kernel in ("auto", "reference")]
pytestmark = pytest.mark.parametrize(("model", "kernel"), CASES)


def inputs(batch: int = B, steps: int = T) -> torch.Tensor:
    return torch.randn(batch, steps, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def leaves(state) -> list[torch.Tensor]:
    return [state] if isinstance(state, torch.Tensor) else [leaf for part in state for leaf in leaves(part)]


def used_state(network, batch: int = B):
    """A state in the middle of a sequence, not the initial one."""
    with torch.no_grad():
        return detach(network(2 * inputs(batch, 5)).state)


def weighted_sum(levels) -> torch.Tensor:
    """A scalar of all outputs with random weights, so that no gradient cancels."""
    generator = torch.Generator().manual_seed(2)
    return sum((level * torch.randn(level.shape, generator=generator, dtype=level.dtype)).sum() for level in levels)


def gradients(network, x: torch.Tensor, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, [x, *network.parameters()]))


def test_levels_have_their_sizes_fastest_first(model, kernel):
    network = backbone(model, kernel=kernel)
    assert [level.shape for level in network(inputs()).levels] == [(B, T, n) for n in network.level_sizes]


def test_outputs_do_not_depend_on_later_inputs(model, kernel):
    network, x = backbone(model, kernel=kernel), inputs().requires_grad_()
    levels = network(x).levels
    for t in range(T):
        gradient = torch.autograd.grad(sum(level[:, t].sum() for level in levels), x, retain_graph=True)[0]
        assert not gradient[:, t + 1 :].any()
    assert gradient[:, -1].any()


def test_forward_is_the_fold_of_step(model, kernel):
    network, x = backbone(model, kernel=kernel), inputs().requires_grad_()
    state = used_state(network)
    output = network(x, state, trace=True)
    levels, last, steps = fold(network, x, state, True)
    for a, b in zip([*output.levels, *leaves(output.state)], [*levels, *leaves(last)], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
    torch.testing.assert_close(output.trace.update, steps.update)
    ours = gradients(network, x, weighted_sum(output.levels) + output.penalty)
    for a, b in zip(ours, gradients(network, x, weighted_sum(levels) + network.penalty()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("k", range(1, T))
def test_a_sequence_may_be_cut_anywhere(model, kernel, k):
    network, x = backbone(model, kernel=kernel), inputs().requires_grad_()
    whole = network(x)
    first = network(x[:, :k])
    second = network(x[:, k:], first.state)
    joined = [torch.cat(pair, 1) for pair in zip(first.levels, second.levels, strict=True)]
    for a, b in zip([*whole.levels, *leaves(whole.state)], [*joined, *leaves(second.state)], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
    ours, theirs = gradients(network, x, weighted_sum(whole.levels)), gradients(network, x, weighted_sum(joined))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_a_sample_does_not_see_its_batch(model, kernel):
    network, x = backbone(model, kernel=kernel), inputs()
    together = network(x)
    for b in range(B):
        alone = network(x[b : b + 1])
        for one, all_ in zip(
            [*alone.levels, *leaves(alone.state)], [*together.levels, *leaves(together.state)], strict=True
        ):
            torch.testing.assert_close(one[0], all_[b], rtol=0, atol=1e-12)


def test_asking_for_the_trace_changes_nothing(model, kernel):
    network, x = backbone(model, kernel=kernel), inputs().requires_grad_()
    plain, traced = network(x), network(x, trace=True)
    assert plain.trace is None
    assert all(map(torch.equal, [*plain.levels, *leaves(plain.state)], [*traced.levels, *leaves(traced.state)]))
    a, b = (gradients(network, x, weighted_sum(output.levels) + output.penalty) for output in (plain, traced))
    assert all(map(torch.equal, a, b))


def test_the_trace_keeps_its_ranges(model, kernel):
    network = backbone(model, kernel=kernel)
    trace = network(3 * inputs(steps=40), trace=True).trace
    assert trace.update.shape == (B, 40, len(network.level_sizes))
    assert ((trace.update >= 0) & (trace.update <= 1)).all()
    assert trace.update.any()
    assert len(trace.names) == len(set(trace.names)) == len(network.level_sizes)
    if trace.boundary is not None:
        assert trace.boundary.shape == trace.update.shape
        assert ((trace.boundary == 0) | (trace.boundary == 1)).all()
    assert not trace.update.requires_grad


def test_every_parameter_gets_a_gradient(model, kernel):
    network = backbone(model, kernel=kernel)
    output = network(inputs(steps=1))
    (weighted_sum(output.levels) + output.penalty).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_the_state_dict_is_the_whole_network(model, kernel):
    network, other = backbone(model, kernel=kernel), backbone(model, kernel=kernel)
    network.anneal(7.5)
    for p in network.parameters():
        p.data.mul_(1.5)
    other.load_state_dict(network.state_dict())
    assert all(map(torch.equal, network(inputs()).levels, other(inputs()).levels))


def test_evaluation_is_deterministic_and_training_obeys_the_seed(model, kernel):
    network = backbone(model, kernel=kernel)
    for mode in (True, False):
        network.train(mode)
        runs = []
        for seed in (0, 0) if mode else (0, 1):
            torch.manual_seed(seed)
            runs.append(network(inputs()).levels)
        assert all(map(torch.equal, *runs))


def test_the_penalty_is_a_finite_scalar(model, kernel):
    penalty = backbone(model, kernel=kernel)(inputs()).penalty
    assert penalty.shape == ()
    assert penalty.isfinite()
    assert penalty >= 0


def test_mixed_precision_keeps_the_state_in_float32_and_clocks_exact(model, kernel):
    network, x = backbone(model, kernel=kernel).float(), inputs().float()
    state = network.initial_state(B, x.device, x.dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(x, state, trace=True)
        again = network(x, output.state)
    wanted = [leaf.dtype for leaf in leaves(state)]
    assert [leaf.dtype for leaf in leaves(again.state)] == wanted
    if output.trace.boundary is None:  # these updates depend on time alone
        assert torch.equal(output.trace.update, network(x, trace=True).trace.update)


@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (1, 13), (7, 1), (5, 33)])
def test_odd_sizes_work_and_the_given_state_is_not_written_to(model, kernel, batch, steps):
    network = backbone(model, kernel=kernel)
    state = used_state(network, batch)
    before = [leaf.clone() for leaf in leaves(state)]
    output = network(inputs(batch, steps), state)
    assert all(map(torch.equal, before, leaves(state)))
    assert all(level.isfinite().all() for level in output.levels)
    assert all(leaf.shape[0] == batch for leaf in leaves(output.state))


def test_a_wrong_input_is_refused_with_its_shape(model, kernel):
    network = backbone(model, kernel=kernel)
    for wrong in (torch.zeros(B, D), torch.zeros(B, T, D + 1), torch.zeros(B, 0, D)):
        with pytest.raises(ValueError, match=r"x must be \[B, T >= 1, 5\]; got"):
            network(wrong)


def test_a_probability_is_what_the_boundary_was_decided_from(model, kernel):
    network = backbone(model, kernel=kernel).eval()  # where every decision is a step, whatever it is in training
    steps = fold(network, 3 * inputs(steps=40), network.initial_state(B, "cpu", torch.float64), True)[2]
    if steps.probability is not None:
        assert ((steps.probability >= 0) & (steps.probability <= 1)).all()
        assert torch.equal(steps.boundary.bool(), steps.probability > 0.5)
        assert ((steps.probability > 0) & (steps.probability < 1)).any()
        assert not steps.probability.requires_grad
