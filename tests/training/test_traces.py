"""What is logged of boundaries and updates is what the network did, on every step of a split and no other."""

import logging
from collections import Counter

import pytest
import torch

from multiscale.analysis.boundaries import score
from multiscale.analysis.collapse import CollapseWarning
from multiscale.analysis.segmentation import BoundaryScores
from multiscale.backbones.base import Trace
from multiscale.checks import InvalidInput
from multiscale.training.loaders import Loaders
from multiscale.training.measure import Measure
from multiscale.training.tally import Tally
from tests.conftest import network, trainer

ALL = torch.ones(2, 3, dtype=torch.bool)
NOTHING = {"loss": Measure(torch.tensor(0.0), ALL.sum())}


def trace(boundary: list[list[int]] | None, update: float = 1.0) -> Trace:
    """Two streams of three steps with the same boundaries in both; two levels, the second without a detector."""
    marks = None if boundary is None else torch.tensor(boundary).T.float().expand(2, 3, 2)
    return Trace(torch.tensor([1.0, update]).expand(2, 3, 2), marks, ("layer 1", "layer 2"))


def test_rates_are_means_over_the_valid_steps():
    tally = Tally((10, 30))
    valid = ALL.clone()
    valid[1, 1:] = False
    tally.update({"loss": Measure(torch.tensor(8.0), valid.sum())}, trace([[1, 0, 1], [0, 0, 0]], update=0.5), valid)
    means, rates = tally.compute()
    assert means["loss"] == 2.0
    assert rates["update"].tolist() == [1.0, 0.5]
    assert rates["copy"].tolist() == [0.0, 0.5]
    assert rates["operations"] == pytest.approx((10 * 1 + 30 * 0.5) / 40)
    assert rates["boundary"].tolist() == [3 / 4, 0]


def test_a_flush_is_the_step_after_a_boundary_across_chunks_too():
    tally = Tally((10, 30))
    tally.update(NOTHING, trace([[0, 1, 1], [0, 0, 0]]), ALL)
    assert tally.compute()[1]["flush"][0] == pytest.approx(1 / 3)
    tally.update(NOTHING, trace([[0, 0, 0], [0, 0, 0]]), ALL)
    assert tally.compute()[1]["flush"][0] == pytest.approx(2 / 6)
    tally.reset()
    tally.update(NOTHING, trace([[0, 0, 0], [0, 0, 0]]), ALL)
    assert tally.compute()[1]["flush"][0] == 0


def test_a_backbone_without_boundaries_has_no_boundary_rates():
    tally = Tally((10, 30))
    tally.update(NOTHING, trace(None), ALL)
    assert set(tally.compute()[1]) == {"operations", "update", "copy", "active"}


@pytest.mark.parametrize(("split", "batches"), [("val", None), ("test", None), ("val", 2)])
def test_logged_scores_are_those_of_all_that_was_read_of_a_split(data, tmp_path, split, batches):
    data.steps = 5
    module = network(data, "model.hidden_size=9").eval()
    run = trainer(tmp_path, callbacks=[BoundaryScores("word_ends", offset=1)], limit_val_batches=batches)
    told = (run.validate if split == "val" else run.test)(module, datamodule=Loaders(data), verbose=False)[0]
    logged = run.callback_metrics
    streams = data.loader(split).dataset
    chunks = [streams[k] for k in range(batches or len(streams))]
    inputs, targets = (torch.cat(parts, 1) for parts in list(zip(*chunks, strict=True))[:2])
    with torch.no_grad():
        fired = module(inputs, trace=True)[1].trace.boundary[..., 0]
    valid = targets >= 0
    text, after = ([data.facts.vocabulary[i] for i in symbols[valid].tolist()] for symbols in (inputs, targets))
    ends = torch.tensor([a.isalnum() and not b.isalnum() for a, b in zip(text, after, strict=True)])
    expected = score(fired[valid], ends, offset=1)
    where = "trace" if split == "val" else "trace/test"
    assert 0 < expected.found < len(text)
    assert logged[f"{where}/f1_1"] == pytest.approx(expected.f1)
    assert logged[f"{where}/precision_1"] == pytest.approx(expected.precision)
    assert logged[f"{where}/boundary_1"] == pytest.approx(expected.found / len(text))
    assert f"{where}/f1_3" not in logged
    yes = Counter(zip(text, fired[valid].tolist(), strict=True))
    best = sum(max(yes[symbol, 0.0], yes[symbol, 1.0]) for symbol in set(text))
    assert logged[f"{where}/explained_1"] == pytest.approx(best / len(text))
    if split == "val":
        assert not {f"{where}/precision_random_1", f"{where}/f1_always", f"{where}/f1_symbol_1"} & set(logged)
        assert f"{where}/copy_1" in logged.keys() - told.keys()
    else:  # of the text that repeats itself, all spaces but those behind a comma or a full stop come after a word
        assert [key for key in told if key.startswith("trace")] == []
        assert logged[f"{where}/precision_always"] == pytest.approx(expected.true / len(text))
        ruled = torch.tensor([symbol in " ,." for symbol in text])
        assert logged[f"{where}/f1_symbol_1"] == logged[f"{where}/f1_symbol_2"] == score(ruled, ends, offset=1).f1


def test_all_stands_for_every_segmentation_that_the_data_know(data, tmp_path):
    run = trainer(tmp_path, callbacks=[BoundaryScores("all")])
    logged = run.validate(network(data, "model.hidden_size=9"), datamodule=Loaders(data), verbose=False)[0]
    found = {key for key in logged if key.startswith("trace/f1_") and key.endswith(("_ends_1", "_spaces_1"))}
    assert found == {f"trace/f1_{name}_1" for name in data.segmentations("val")}
    assert len(found) == 3


def test_a_level_that_never_fires_is_named_in_a_warning(data, tmp_path, caplog):
    module = network(data, "model=hmlstm_paper")
    for layer in module.backbone.layers[:-1]:
        layer.bias.data[-1] = -100.0
    run = trainer(tmp_path, callbacks=[CollapseWarning()])
    with caplog.at_level(logging.WARNING, logger="multiscale"):
        for _ in range(2):  # once in a run
            run.validate(module, datamodule=Loaders(data), verbose=False)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("multiscale")]
    lost = "(a boundary at 0.00% of the steps, 100% of its decisions pass no gradient)"
    (message,) = said
    assert message.startswith(f"collapsed in epoch 1: layer 1 {lost}; layer 2 {lost}. ")
    assert "Try model=hmlstm" in message


def test_an_unknown_reference_is_refused_with_the_known_ones(data, tmp_path):
    with pytest.raises(InvalidInput, match=r"one of spaces, word_ends, sentence_ends; got 'wordends'. Did you mean"):
        trainer(tmp_path, callbacks=[BoundaryScores("wordends")]).validate(
            network(data), datamodule=Loaders(data), verbose=False
        )
