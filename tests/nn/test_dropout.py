"""Dropout with one mask a sequence, by itself and around a backbone."""

import pytest
import torch
from hydra.utils import instantiate

from multiscale.checks import InvalidInput
from multiscale.config.compose import CONF, jobs
from multiscale.nn.dropout import Locked, rate_pair
from tests.conftest import network

TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))


def test_a_sequence_loses_the_same_units_at_all_of_its_steps_and_keeps_its_mean():
    torch.manual_seed(0)
    x = 1 + torch.rand(50, 7, 400)
    dropped = Locked(0.25)(x)
    gone = dropped == 0
    assert torch.equal(gone, gone[:, :1].expand_as(gone))
    assert abs(gone.double().mean() - 0.25) < 0.01
    assert not torch.equal(gone[0], gone[1])
    torch.testing.assert_close(dropped[~gone], x[~gone] / 0.75)


def test_evaluation_and_a_rate_of_zero_change_and_draw_nothing():
    x, before = torch.randn(2, 3, 4), torch.get_rng_state()
    assert Locked(0.0)(x) is x
    assert Locked(0.5).eval()(x) is x
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, r"dropout must be a number at least 0 and at most 1; got 1.5"),
        ("much", r"dropout must be a number at least 0 and at most 1; got 'much'"),
        ([0.1, -0.1], r"dropout\[1\] must be a number at least 0 and at most 1; got -0.1"),
        ([0.1], r"dropout must be one number or 2 of them; got \[0.1\]"),
    ],
)
def test_rates_that_cannot_be_are_refused_by_name(value, message):
    with pytest.raises(InvalidInput, match=message):
        rate_pair("dropout", value)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_it_and_starts_without(task):
    config = jobs([f"task={task}"])[0].task
    assert instantiate(config).dropout == (0, 0)
    assert instantiate(config, dropout=0.2).dropout == (0.2, 0.2)
    assert instantiate(config, dropout=[0.1, 0.3]).dropout == (0.1, 0.3)


def read_by(module):
    """What its backbone and its head will have read, as lists that fill."""
    found: dict[str, list[torch.Tensor]] = {"backbone": [], "head": []}
    module.backbone.register_forward_pre_hook(lambda _, given: found["backbone"].append(given[0]))
    module.head.register_forward_pre_hook(lambda _, given: found["head"].extend(given[0]))
    return found


def test_it_falls_on_what_the_backbone_and_on_what_the_head_reads_of_each_level(data):
    module = network(data, "model=stacked_lstm", "task.dropout=[0.2,0.6]")
    found, symbols = read_by(module), torch.randint(5, (64, 6))
    module(symbols)
    gone = [x == 0 for parts in found.values() for x in parts]
    assert len(gone) == 1 + len(module.level_sizes)
    for zeros, rate in zip(gone, (0.2, *[0.6] * len(module.level_sizes)), strict=True):
        assert torch.equal(zeros, zeros[:, :1].expand_as(zeros))
        assert abs(zeros.double().mean() - rate) < 0.05
    assert not torch.equal(gone[1], gone[2])  # each level has its own mask


def test_evaluation_of_a_module_draws_nothing(data):
    module, without = (network(data, "model=stacked_lstm", f"task.dropout={rate}").eval() for rate in (0.5, 0.0))
    symbols, before = torch.randint(5, (3, 6)), torch.get_rng_state()
    assert torch.equal(module(symbols)[0], without(symbols)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_every_kernel_has_it_alike(data):
    module = network(data, "model=stacked_lstm", "task.dropout=0.5").double()
    symbols, found = torch.randint(5, (3, 6)), []
    for kernel in ("fused", "reference"):
        module.backbone.use(kernel)
        torch.manual_seed(1)
        found.append(module(symbols)[0])
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
