"""The Lightning module: carried state, schedules, exact evaluation, checkpoints, seeds."""

import csv
import math

import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from multiscale.checks import InvalidInput
from multiscale.data.batch import IGNORE
from multiscale.data.streams import Streams
from multiscale.data.text_file import TextFile
from multiscale.training.build import load
from multiscale.training.loaders import Loaders
from multiscale.training.logging.csv_log import CSVLog
from tests.conftest import TEXT, network, trainer


class Spy(pl.Callback):
    """What state each chunk began with, and what the slope was."""

    def __init__(self):
        self.began: list[tuple[int, bool]] = []
        self.slopes: list[tuple[float, float]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.began.append((batch_idx, pl_module.carried["train"] is None))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        epoch = trainer.current_epoch + batch_idx / trainer.num_training_batches
        self.slopes.append((epoch, pl_module.backbone.slope.item()))


def test_the_state_is_carried_between_chunks_and_new_with_each_epoch(data, tmp_path):
    spy = Spy()
    trainer(tmp_path, callbacks=[spy]).fit(network(data), datamodule=Loaders(data))
    assert len(spy.began) > 10
    assert all(fresh == (batch == 0) for batch, fresh in spy.began)


def test_the_annealed_slope_reaches_the_backbone_at_every_step(data, tmp_path):
    spy = Spy()
    trainer(tmp_path, callbacks=[spy], max_epochs=3).fit(
        network(data, "model.slope.rate=0.5"), datamodule=Loaders(data)
    )
    assert all(slope == pytest.approx(min(5.0, 1 + 0.5 * epoch)) for epoch, slope in spy.slopes)
    assert spy.slopes[-1][1] > 2


class Kept(pl.Callback):
    """The backbone's parameters after every epoch."""

    def __init__(self):
        self.epochs: list[dict[str, torch.Tensor]] = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append({name: p.detach().clone() for name, p in pl_module.backbone.named_parameters()})


def test_what_a_backbone_holds_is_moved_by_no_step_whatever_momentum_or_decay_it_has(data, tmp_path):
    kept = Kept()
    words = ["model=history_compressor", "model.training=in_turn", "model.num_levels=3", "model.hidden_size=5"]
    words += ["optim.optimizer._target_=torch.optim.AdamW", "+optim.optimizer.weight_decay=0.1"]
    module = network(data, *words)
    first = {name: p.detach().clone() for name, p in module.backbone.named_parameters()}
    trainer(tmp_path, callbacks=[kept], max_epochs=4, limit_train_batches=3).fit(module, datamodule=Loaders(data))
    for learning, (before, after) in enumerate(zip([first, *kept.epochs], kept.epochs, strict=False)):
        moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
        assert moved == {str(min(learning, 2))}, learning


PARTS = ("inputs", "targets")


@pytest.mark.parametrize("model", ["stacked_lstm", "hmlstm", "clockwork", "learned_clock"])
def test_evaluation_reads_each_stream_whole_and_counts_every_character_once(data, tmp_path, model):
    module = network(data, f"model={model}").eval()
    measured = trainer(tmp_path).validate(module, datamodule=Loaders(data), verbose=False)[0]["val/bpc"]
    chunks = data.loader("val").dataset
    inputs, targets = (torch.cat([getattr(chunks[k], part) for k in range(len(chunks))], 1) for part in PARTS)
    assert (targets != IGNORE).sum() == len(data.symbols("val"))
    assert inputs.numel() > 2 * len(data.symbols("val"))  # and what the streams are warmed up on
    with torch.no_grad():
        logits, _ = module(inputs)
    by_hand = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=IGNORE)
    assert measured == pytest.approx(by_hand.item() / len(data.symbols("val")) / math.log(2), rel=1e-5)


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_is_the_same_reading_for_every_batch_size(tmp_path, split):
    (tmp_path / "text.txt").write_text(TEXT * 40)  # several streams
    scores = []
    for batch_size, steps in ((2, 16), (8, 16), (8, 50)):
        data = TextFile(str(tmp_path / "text.txt"), batch_size, steps, split=(0.8, 0.1, 0.1))
        data.setup()
        run = getattr(trainer(tmp_path), {"val": "validate", "test": "test"}[split])
        scores.append(
            run(network(data, "model=hmlstm_paper").eval(), datamodule=Loaders(data), verbose=False)[0][f"{split}/bpc"]
        )
    assert len(data.loader(split).dataset.begins) > 1
    assert scores == pytest.approx([scores[0]] * 3, rel=1e-6)
    stream = Streams(data._symbols, *data.bounds[split], 1, 10**6)[0]
    with torch.no_grad():
        logits, _ = network(data, "model=hmlstm_paper").eval()(stream.inputs)
    contiguous = F.cross_entropy(logits.flatten(0, 1), stream.targets.flatten()).item() / math.log(2)
    assert scores[0] == pytest.approx(contiguous, rel=1e-4)


def test_every_evaluation_starts_from_the_initial_state(data, tmp_path):
    module, run = network(data).eval(), trainer(tmp_path)
    for evaluate in (run.validate, run.test):
        first, second = (evaluate(module, datamodule=Loaders(data), verbose=False)[0] for _ in range(2))
        assert first == second


def test_training_learns_what_can_be_learned(data, tmp_path):
    module = network(data, "model=stacked_lstm")
    run = trainer(tmp_path, max_epochs=8)
    run.fit(module, datamodule=Loaders(data))
    assert run.callback_metrics["val/bpc"] < 2.0  # the text repeats itself; log2(28 symbols) is 4.8


def test_the_penalty_enters_the_training_loss_with_its_weight(data):
    module = network(data, "model=learned_clock_dct", "model.clock.num_modules=4", "task.penalty_weight=3").double()
    module.log = module.log_dict = lambda *_, **__: None
    batch = next(iter(data.loader("train")))
    loss = module.training_step(batch, 0)
    module.carried.clear()
    module.task.penalty_weight = 0.0
    assert (loss - module.training_step(batch, 0)).item() == pytest.approx(3 * module.backbone.penalty().item())


def test_updates_are_asked_for_on_the_steps_that_are_logged_and_are_the_same_there(data, tmp_path):
    columns = {}
    for often in (1, 3):
        module, asked = network(data, "model=clockwork"), []
        note = lambda _, args, given, asked=asked: asked.append(given["trace"])  # noqa: E731
        module.backbone.register_forward_pre_hook(note, with_kwargs=True)
        logger = CSVLog(tmp_path / str(often))
        quiet = {"limit_train_batches": 7, "limit_val_batches": 1, "max_epochs": 2}
        trainer(tmp_path, logger=logger, log_every_n_steps=often, **quiet).fit(module, datamodule=Loaders(data))
        steps = [(step + 1) % often == 0 for step in range(14)]
        assert asked == [*steps[:7], True, *steps[7:], True]  # and in each validation
        with logger.path.open() as file:
            columns[often] = {row["step"]: row["train/updates"] for row in csv.DictReader(file) if row["train/updates"]}
    assert list(columns[3]) == ["2", "5", "8", "11"]
    assert columns[3] == {step: columns[1][step] for step in columns[3]}
    assert len(set(columns[3].values())) > 1


def test_a_checkpoint_holds_plain_values_and_gives_the_same_network_back(data, tmp_path):
    module = network(data)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, datamodule=Loaders(data))
    run.save_checkpoint(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    again = load(tmp_path / "a.ckpt")
    inputs = data.symbols("val")[None, :20].long()
    assert torch.equal(module.eval()(inputs)[0], again(inputs)[0])


def test_what_is_not_a_checkpoint_is_refused_by_name(tmp_path):
    (tmp_path / "x.ckpt").write_text("nonsense")
    for path in (tmp_path / "x.ckpt", tmp_path / "missing.ckpt"):
        with pytest.raises(InvalidInput, match=path.name):
            load(path)


def test_the_same_seed_gives_the_same_numbers(data, tmp_path):
    losses = []
    for _ in range(2):
        pl.seed_everything(3, verbose=False)
        run = trainer(tmp_path, max_epochs=1)
        run.fit(network(data), datamodule=Loaders(data))
        losses.append(run.callback_metrics["val/bpc"].item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("head", ["gated", "concat", "top"])
@pytest.mark.parametrize("model", ["stacked_lstm", "hmlstm", "clockwork", "learned_clock"])
def test_every_backbone_trains_with_every_head_in_half_precision(data, tmp_path, head, model):
    module = network(data, f"head={head}", f"model={model}")
    run = trainer(tmp_path, max_epochs=1, precision="bf16-mixed", limit_train_batches=2, limit_val_batches=1)
    run.fit(module, datamodule=Loaders(data))
    assert math.isfinite(run.callback_metrics["val/bpc"])
