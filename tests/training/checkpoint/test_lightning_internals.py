"""Each access to what Lightning does not promise does what it is for; these fail first where a version changes it."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.loggers import Logger

from multiscale.training.checkpoint import lightning_internals as internals
from tests.conftest import trainer

BATCHES = 5


class Rows(Logger):
    """Keeps the step of each row of a training."""

    name = version = ""

    def __init__(self):
        super().__init__()
        self.steps: list[int] = []

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        if "loss" in metrics:
            self.steps.append(step)


class Model(BoringModel):
    """Logs its loss at each step; notes which batches and validations it has seen, in their order."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)["loss"]
        self.log("loss", loss)
        self.seen.append(f"batch {batch_idx}")
        return loss

    def validation_step(self, batch, batch_idx):
        self.seen.append("validation")

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "loss"}}


class At(pl.Callback):
    """Does something at a hook, whenever it comes."""

    def __init__(self, hook, action):
        setattr(self, hook, action)


def fit(folder, *callbacks, ckpt_path=None, **settings):
    """(the trainer, the model) after a fit; the last epoch has ``BATCHES`` batches and one validation."""
    model = Model()
    limits = {"limit_train_batches": BATCHES, "limit_val_batches": 1, "max_epochs": 1, **settings}
    fitted = trainer(folder, callbacks=list(callbacks), **limits)
    fitted.fit(model, ckpt_path=ckpt_path)
    return fitted, model


@pytest.mark.parametrize("settings", [{"log_every_n_steps": 2}, {"log_every_n_steps": 2, "accumulate_grad_batches": 2}])
def test_a_logging_step_is_one_whose_row_is_written(tmp_path, settings):
    logger, steps = Rows(), []
    ask = At("on_train_batch_start", lambda run, *_: steps.append((run.global_step, internals.is_logging_step(run))))
    fit(tmp_path, ask, logger=logger, max_epochs=2, **settings)
    assert logger.steps
    assert logger.steps == sorted({step for step, logs in steps if logs})


def test_the_number_of_the_next_row_can_be_read_and_put_back(tmp_path):
    logger, read = Rows(), []

    def jump(run, *_):
        read.append(internals.logged_step(run))
        if len(read) == 3:
            internals.set_logged_step(run, 90)

    fit(tmp_path, At("on_train_batch_start", jump), logger=logger, log_every_n_steps=1)
    assert read == [0, 1, 2, 91, 92]
    assert logger.steps == [0, 1, 90, 91, 92]


def test_metrics_are_put_back(tmp_path):
    kept = []
    put = At("on_train_start", lambda run, *_: internals.restore_metrics(run, {"old": torch.tensor(3.0)}))
    look = At("on_train_batch_end", lambda run, *_: kept.append(run.callback_metrics.get("old")))
    fit(tmp_path, put, look)
    assert kept == [torch.tensor(3.0)] * BATCHES


def test_the_position_counts_what_is_over(tmp_path):
    places = []
    fit(tmp_path, At("on_train_batch_start", lambda run, *_: places.append(internals.position(run))), max_epochs=2)
    assert places == [(epoch, batch) for epoch in range(2) for batch in range(BATCHES)]


def test_a_fit_ends_at_the_epoch_that_it_is_given(tmp_path):
    fitted = trainer(tmp_path, limit_train_batches=1, limit_val_batches=0, max_epochs=7)
    internals.end_at_epoch(fitted, 2)
    fitted.fit(Model())
    assert fitted.current_epoch == 2


def test_a_fit_ends_after_the_steps_that_it_is_given(tmp_path):
    start = At("on_train_start", lambda run, *_: internals.set_max_steps(run, 3))
    fitted, _ = fit(tmp_path, start, max_steps=7, max_epochs=-1)
    assert fitted.global_step == 3


def test_the_validated_are_those_of_the_epoch(tmp_path):
    counts = []
    look = At("on_train_batch_start", lambda run, *_: counts.append(internals.validated(run)))
    fit(tmp_path, look, limit_val_batches=3, val_check_interval=2, max_epochs=2)
    assert counts == [0, 0, 3, 3, 6] * 2


def save(path, hook, time, **where):
    """A callback that saves a settled checkpoint at a hook, before what follows it, the ``time``-th time it comes."""
    count = []

    def action(run, *_):
        count.append(hook)
        if len(count) == time:
            run.save_checkpoint(path)
            saved = torch.load(path)
            internals.settle_counters(saved["loops"], **where)
            torch.save(saved, path)

    return At(hook, action)


@pytest.mark.parametrize(("hook", "time", "batches"), [("batch", 3, 2), ("batch", 8, 7), ("epoch", 2, 5)])
def test_a_training_goes_on_with_the_very_step_before_which_it_was_saved(tmp_path, hook, time, batches):
    keep = save(tmp_path / "a", f"on_train_{hook}_start", time, in_epoch=hook == "batch", in_validation=False)
    _, whole = fit(tmp_path, keep, max_epochs=2)
    fitted, rest = fit(tmp_path, ckpt_path=tmp_path / "a", max_epochs=2)
    assert not torch.load(tmp_path / "a")["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
    left = 2 * BATCHES - batches + (2 if batches < BATCHES else 1)
    assert rest.seen == whole.seen[-left:]
    progress = fitted.fit_loop.epoch_loop.batch_progress.total
    assert {progress.ready, progress.started, progress.processed, progress.completed} == {2 * BATCHES}


def test_a_training_goes_on_with_the_validation_before_which_it_was_saved(tmp_path):
    keep = save(tmp_path / "a", "on_validation_start", 1, in_epoch=True, in_validation=True)
    _, whole = fit(tmp_path, keep, limit_val_batches=3)
    counts = []

    def start(run, *_):
        internals.forget_validation(run)
        progress = run.fit_loop.epoch_loop.val_loop.batch_progress
        counts.extend([progress.total.ready, progress.current.ready])

    fitted, rest = fit(tmp_path, At("on_validation_start", start), ckpt_path=tmp_path / "a", limit_val_batches=3)
    assert rest.seen == whole.seen[BATCHES:] == ["validation"] * 3
    assert counts == [0, 0]
    assert fitted.global_step == BATCHES


def test_a_validation_is_begun_after_those_before_it(tmp_path):
    keep = save(tmp_path / "a", "on_validation_start", 2, in_epoch=True, in_validation=True)
    often = {"limit_val_batches": 3, "val_check_interval": 2}
    fit(tmp_path, keep, **often)
    counts = []

    def start(run, *_):
        if not counts:
            internals.forget_validation(run, 3)
        counts.append(internals.validated(run))

    fit(tmp_path, At("on_validation_start", start), ckpt_path=tmp_path / "a", **often)
    assert counts == [3]


@pytest.mark.parametrize("limit", [{}, {"max_steps": 50}])
@pytest.mark.parametrize("forget", [True, False])
def test_only_where_its_restart_is_forgotten_a_resumed_epoch_ends_with_a_step_of_its_schedule(tmp_path, forget, limit):
    fit(tmp_path, save(tmp_path / "a", "on_train_batch_start", 3, in_epoch=True, in_validation=False), **limit)

    def start(run, _, batch, number):
        if number == 2:
            assert run.fit_loop.restarting
            if forget:
                internals.forget_restart(run)

    fitted, _ = fit(tmp_path, At("on_train_batch_start", start), ckpt_path=tmp_path / "a", **limit)
    assert fitted.lr_scheduler_configs[0].scheduler.last_epoch == int(forget)
