"""What is written of a passage is what the network did on it, and where its words really end."""

import json

import pytest
import torch

from multiscale.analysis import excerpt
from multiscale.analysis.figures import Figures
from multiscale.data.text_file import TextFile
from multiscale.training.loaders import Loaders
from tests.conftest import backbone, network, trainer

TEXT = "one two. three four, five six! seven eight nine ten? eleven " * 30


@pytest.fixture
def made(tmp_path):
    """A made text, of which the validation split starts in the middle of a word."""
    (tmp_path / "made.txt").write_text(TEXT)
    data = TextFile(str(tmp_path / "made.txt"), batch_size=2, steps=8, split=(0.501, 0.309, 0.19))
    data.setup()
    return data


@pytest.mark.parametrize("length", [20, 10**6])
def test_true_ends_are_at_the_symbols_that_end_something(made, length, monkeypatch):
    monkeypatch.setattr(excerpt, "LENGTH", length)
    shown = excerpt.read(network(made, "model.hidden_size=9").eval(), made)
    start, stop = made.bounds["val"]
    text = "".join(shown.symbols)
    first = start + (excerpt.WARM_UP if length == 20 else 0)
    assert text == TEXT[first : min(first + length, stop)]
    assert shown.start == first - start
    after = TEXT[first + len(text)]
    pairs = list(zip(text, text[1:] + after, strict=True))
    wanted = [i for i, (a, b) in enumerate(pairs) if a.isalnum() and not b.isalnum() and first + i < stop - 1]
    assert shown.truth["word_ends"] == wanted
    assert shown.truth["spaces"] == [i for i, a in enumerate(text) if a == " " and first + i < stop - 1]
    assert len(wanted) > 2


def test_an_excerpt_is_what_the_network_does_on_the_passage(made):
    module = network(made, "model.hidden_size=9").eval()
    shown = excerpt.read(module, made)
    with torch.no_grad():
        whole = module(made.passage(10**6).inputs, trace=True)[1]
    part = slice(shown.start, shown.start + len(shown.symbols))
    assert torch.equal(shown.boundary, whole.trace.boundary[0, part])
    assert torch.equal(shown.update, whole.trace.update[0, part])
    assert torch.equal(shown.boundary.bool(), shown.probability > 0.5)
    assert shown.boundary[:, 0].any()


def test_the_probability_is_equation_4_before_its_threshold():
    cell = backbone("hmlstm_paper", num_layers=2)
    x = torch.randn(1, 1, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    trace = cell.step(x[:, 0], cell.initial_state(1, x.device, x.dtype))[2]
    layer = cell.layers[0]
    pre = x[0, 0] @ layer.bottom_up[-1] + layer.bias[-1]
    assert trace.probability[0, 0].item() == pytest.approx(((cell.slope * pre + 1) / 2).clamp(0, 1).item())
    assert trace.probability[0, 1] == 0  # the top has no detector


@pytest.mark.parametrize("copy_boundary", ["recompute", "hold", "zero"])
def test_the_boundary_follows_from_the_probability_on_copy_steps_too(copy_boundary):
    cell = backbone("hmlstm_paper", copy_boundary=copy_boundary, kernel="reference").eval()
    trace = cell(torch.randn(4, 60, 5, generator=torch.Generator().manual_seed(1)).double() * 3, trace=True).trace
    assert (trace.update[..., 1] == 0).any()
    assert torch.equal(trace.boundary.bool(), trace.probability > 0.5)


def test_the_callback_writes_the_excerpt_beside_the_figures(made, tmp_path):
    module = network(made, "model=learned_clock", "model.hidden_size=12")
    run = trainer(tmp_path, callbacks=[Figures(str(tmp_path / "run" / "figures"), 5)], max_epochs=2)
    run.fit(module, datamodule=Loaders(made))
    assert not (tmp_path / "run" / "excerpt.json").exists()
    run.test(module, datamodule=Loaders(made), verbose=False)
    written = json.loads((tmp_path / "run" / "excerpt.json").read_text())
    shown = excerpt.read(module.eval(), made)
    assert written["symbols"] == list(shown.symbols)
    assert written["levels"] == list(module.level_names)
    assert written["boundary"] is None
    assert written["probability"] is None
    torch.testing.assert_close(torch.tensor(written["update"]).T, shown.update, atol=1e-4, rtol=0)
    assert written["truth"] == shown.truth
    assert written["start"] == shown.start
    assert [len(epoch) for epoch in written["periods"]] == [len(module.level_names)] * 2
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["excerpt.json", "figures"]


def test_learned_links_are_drawn_and_written_of_the_weights_that_were_tested(made, tmp_path):
    module = network(made, "model=clockwork", "model.hidden_size=12", "model.links=learned")
    module.backbone.link_gates.scores.data.normal_()
    run = trainer(tmp_path, callbacks=[Figures(str(tmp_path / "run" / "figures"), 5)], max_epochs=2)
    logged = run.validate(module, datamodule=Loaders(made), verbose=False)[0]
    run.test(module, datamodule=Loaders(made), verbose=False)
    strengths = module.backbone.matrices()["links"]
    written = json.loads((tmp_path / "run" / "excerpt.json").read_text())["matrices"]["links"]
    torch.testing.assert_close(torch.tensor(written), strengths, atol=1e-4, rtol=0)
    assert (tmp_path / "run" / "figures" / "links.png").exists()
    others = (strengths.sum(1) - 1) / (len(strengths) - 1)
    assert [logged[f"trace/reads_{i}"] for i in range(1, 9)] == pytest.approx(others.tolist())


def test_periods_are_told_of_every_epoch_of_a_run_that_was_taken_up_again(made, tmp_path):
    for epochs in (1, 2):
        module = network(made, "model=learned_clock", "model.hidden_size=12")
        run = trainer(tmp_path, callbacks=[Figures(str(tmp_path / "figures"), 5)], max_epochs=epochs)
        run.fit(module, datamodule=Loaders(made), ckpt_path=tmp_path / "last.ckpt" if epochs == 2 else None)
        run.save_checkpoint(tmp_path / "last.ckpt")
    run.test(module, datamodule=Loaders(made), verbose=False)
    assert len(json.loads((tmp_path / "excerpt.json").read_text())["periods"]) == 2
