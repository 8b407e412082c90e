"""Chunks of streams that overlap: how far back the gradient of a target reaches, and that nothing else changes."""

import pytest
import torch

from multiscale.data.text_file import TextFile
from tests.conftest import network


def overlapping(data, overlap):
    module = TextFile(data.paths, data.batch_size, data.steps, overlap=overlap)
    module.setup()
    return module


@pytest.mark.parametrize("overlap", [0, 5, 16, 40])
def test_the_gradient_of_every_target_reaches_back_to_where_its_chunk_begins(data, overlap, monkeypatch):
    module = network(data, "model=rnn").double()
    seen = []
    encode = module.encoder.forward
    monkeypatch.setattr(module.encoder, "forward", lambda x: seen.append(encode(x)) or seen[-1])
    for k, batch in zip(range(4), overlapping(data, overlap).loader("train"), strict=False):
        outputs, _ = module._read("train", batch)
        again = min(overlap, k * data.steps)
        first = outputs[:, again].sum()  # the prediction of the first target that counts
        *earlier, mine = torch.autograd.grad(first, seen, allow_unused=True)
        reached = mine.abs().sum((0, 2)) > 0
        assert reached.tolist() == [step <= again for step in range(len(reached))]
        assert all(gradient is None for gradient in earlier)


def test_nothing_before_a_document_reaches_what_is_read_of_it(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name * 95 + "\n")
    data = TextFile(str(tmp_path), batch_size=1, steps=180, split=(0.98, 0.01, 0.01), reset=True)
    data.setup()
    module, (batch, *_) = network(data, "model=hmlstm").double(), data.loader("train")
    embedded = []
    module.encoder.register_forward_hook(lambda *all_of_it: embedded.append(all_of_it[2]))
    outputs, _ = module._read("train", batch)
    for step, reaches in ((95, True), (96, False), (150, False)):
        (gradient,) = torch.autograd.grad(outputs[0, step].sum(), embedded, retain_graph=True)
        assert bool(gradient[0, :96].any()) == reaches


@pytest.mark.parametrize("overlap", [5, 40])  # less than a chunk, more than two
@pytest.mark.parametrize("model", ["stacked_lstm", "clockwork", "learned_clock"])
def test_as_long_as_the_weights_stand_an_epoch_comes_to_the_same_loss(data, model, overlap):
    module, totals = network(data, f"model={model}").double(), []
    for p in module.parameters():
        p.data.mul_(3)  # else an LSTM hardly knows what it read before
    for each in (0, overlap):
        module.on_train_epoch_start()
        measures = []
        with torch.no_grad():
            for batch in overlapping(data, each).loader("train"):
                outputs, _ = module._read("train", batch)
                measures.append(module.task.measure(outputs, batch)["loss"])
        assert sum(m.weight for m in measures) == len(data.symbols("train")) - 1  # nothing precedes the first
        totals.append(sum(m.total for m in measures))
    torch.testing.assert_close(*totals, atol=0, rtol=1e-6)  # summed in 32 bits
