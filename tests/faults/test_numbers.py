"""A loss or gradient that is no number does not reach the weights."""

import logging

import pytest
import torch

from multiscale.training.checkpoint import files
from multiscale.training.finite import NotFinite
from tests.faults.breaking import run

pytestmark = pytest.mark.slow

WORDS = ["model=hmlstm", "trainer.max_epochs=1", "+callbacks.poison._target_=tests.faults.breaking.Poison"]


NAMED = {"loss": "the loss is nan", "gradient": "the gradient of backbone.layers"}


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_it_ends_the_run_and_is_named_with_its_step(tmp_path, what):
    with pytest.raises(NotFinite, match=rf"{NAMED[what]}.* at step 4, epoch 0, batch 4; the weights are those before"):
        run(tmp_path, *WORDS, f"+callbacks.poison.what={what}", "+callbacks.poison.batches=[4]")


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_it_can_be_skipped(tmp_path, caplog, what):
    skip = ["callbacks.numbers.on_bad=skip", "callbacks.numbers.up_to=2"]
    with caplog.at_level(logging.WARNING, logger="multiscale"):
        run(tmp_path / "two", *WORDS, *skip, f"+callbacks.poison.what={what}", "+callbacks.poison.batches=[2,4]")
    assert sum("skipped a step" in record.getMessage() for record in caplog.records) == 2
    last = files.load(tmp_path / "two/checkpoints/last.ckpt")
    assert all(torch.isfinite(tensor).all() for tensor in last["state_dict"].values())
    assert {int(state["step"]) for state in last["optimizer_states"][0]["state"].values()} == {5}  # of 7 batches
    with pytest.raises(NotFinite, match="2 steps were skipped before it, as many as may be"):
        run(tmp_path / "three", *WORDS, *skip, f"+callbacks.poison.what={what}", "+callbacks.poison.batches=[1,2,4]")


def test_a_skipped_batch_leaves_the_carried_state_of_the_one_before(tmp_path):
    words = ["callbacks.numbers.on_bad=skip", "+callbacks.poison.what=loss", "+callbacks.poison.batches=[2]"]
    run(tmp_path, *WORDS, *words)
    carried = files.load(tmp_path / "checkpoints/last.ckpt")["resume"]["processes"][0]["carried"]

    def leaves(state):
        return [state] if torch.is_tensor(state) else [leaf for part in state for leaf in leaves(part)]

    assert all(torch.isfinite(leaf).all() for leaf in leaves(carried))
