"""The callback that keeps the best weights and, at any step, all that is needed to go on."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning.callbacks import WeightAveraging
from torch import distributed

from multiscale.checks import in_range, positive_int
from multiscale.runs.signals import Interrupted, Signals
from multiscale.runs.status import Status
from multiscale.training.checkpoint import files, snapshot
from multiscale.training.checkpoint.lightning_internals import validated
from multiscale.training.module import SequenceModule

SAVE_DUE = 1  # what processes agree on at a step; a signal's number is larger and counts more


class WholeFiles(CheckpointIO):
    """Lightning's checkpoints as files that are whole or not there, verified when read."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        files.save(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return files.load(path, map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def _in_training(trainer: pl.Trainer) -> bool:
    """Whether a validation is one of a training, and not one before it that only sees whether all goes well."""
    return trainer.state.fn == "fit" and not trainer.sanity_checking


def _find_averaging(trainer: pl.Trainer) -> list[WeightAveraging]:
    return [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]  # type: ignore[attr-defined]


@contextmanager
def _averaged(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator[None]:
    """Put averaged weights, if any are kept, in the place of the network's own, as while they are validated."""
    averaging = _find_averaging(trainer)
    for callback in averaging:
        callback.on_validation_epoch_start(trainer, module)
    yield
    for callback in averaging:
        callback.on_validation_epoch_end(trainer, module)


class Checkpoints(pl.Callback):
    """Keeps ``best.ckpt`` (weights), ``last.ckpt`` (a whole training) and ``previous.ckpt``, the ``last`` before that.

    ``last`` is written at the end of each epoch, every so often within it, when the training is over, and when a signal
    asks for the end, which then comes by :class:`Interrupted`: between two steps, or out of a validation, which is
    then done again. Several processes agree at a step's end; they finish a validation, and so does a training whose
    weights are averaged: its ``best.ckpt`` holds the averaged ones, which were validated. It must stand before
    callbacks that log at the start of an epoch.

    Args:
        folder: where to.
        monitor: the metric by which weights are the best; the smaller the better.
        every_minutes: between two saves within an epoch; None for none.
        every_n_steps: the same, in steps (batches).
    """

    def __init__(
        self, folder: str, monitor: str, every_minutes: float | None = 5.0, every_n_steps: int | None = None
    ) -> None:
        self.folder, self.monitor = Path(folder), monitor
        self.every = None if every_minutes is None else 60 * in_range("every_minutes", every_minutes, 0, open_low=True)
        self.every_n_steps = None if every_n_steps is None else positive_int("every_n_steps", every_n_steps)
        self.best_score = math.inf
        self.signals, self.status = Signals(), Status(None)
        self.resumed: dict[str, Any] | None = None
        self._where = snapshot.EDGE
        self._random: dict[str, Any] = {}
        self._validated = 0
        self._saving = False
        self._saved_at = time.monotonic()

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    def attach(self, signals: Signals, status: Status, resumed: dict[str, Any] | None) -> None:
        """Who tells of signals, who is told of progress, and the snapshot that the training begins from, if any."""
        self.signals, self.status, self.resumed = signals, status, resumed

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score = state_dict["best_score"]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.signals.deferred = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.signals.install()  # Lightning has put its own in their place, which end a run as if it were done

    on_sanity_check_start = on_test_start = on_train_start

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.signals.deferred = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        fresh = self._enter(trainer, pl_module, snapshot.EDGE)
        wanted = self._agree(trainer)
        if wanted or (trainer.current_epoch and fresh):
            self._save(trainer, pl_module)
        self._stop_if_asked(wanted)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            return
        self._enter(trainer, pl_module, snapshot.MIDDLE)
        if wanted := self._agree(trainer, batch_idx):
            self._save(trainer, pl_module)
            self._stop_if_asked(wanted)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if _in_training(trainer):
            self._enter(trainer, pl_module, snapshot.VALIDATION)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        alone = trainer.world_size == 1 and not _find_averaging(trainer)  # which has the network's own weights now
        if _in_training(trainer) and alone and self.signals.received:
            self._save(trainer, pl_module)
            raise Interrupted(self.signals.received)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        score = trainer.callback_metrics.get(self.monitor)
        if _in_training(trainer) and score is not None and score.item() < self.best_score:
            self.best_score = score.item()
            with _averaged(trainer, pl_module):
                trainer.save_checkpoint(self.best, weights_only=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._enter(trainer, pl_module, snapshot.END)
        self._save(trainer, pl_module)

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0 or trainer.world_size == 1:
            self._stop_if_asked(self._agree(trainer))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._saving and isinstance(pl_module, SequenceModule):
            checkpoint["resume"] = snapshot.take(trainer, pl_module, self._where, self._random, self._validated)
            snapshot.settle(checkpoint["loops"], self._where)

    def _enter(self, trainer: pl.Trainer, module: pl.LightningModule, where: str) -> bool:
        """Note where the training stands; if this is where it was left, put back what it had. Was it not?"""
        assert isinstance(module, SequenceModule)
        left = self.resumed["where"] if self.resumed else None
        resumed = left == where or (left == snapshot.END and where == snapshot.EDGE)
        if resumed:
            snapshot.restore(trainer, module, self.resumed or {})
            self.resumed = None
        self._where, self._random, self._validated = where, {}, validated(trainer)
        if where in (snapshot.EDGE, snapshot.VALIDATION):
            self._random = snapshot.random_states(module.device)
        return not resumed

    def _agree(self, trainer: pl.Trainer, batch: int = 0) -> int:
        """What this step asks for, in any process: nothing (0), to save, or to end by a signal."""
        due = self.every is not None and time.monotonic() - self._saved_at > self.every
        due = due or (self.every_n_steps is not None and batch % self.every_n_steps == 0)
        wanted = self.signals.received or (SAVE_DUE if due and batch else 0)
        if trainer.world_size == 1:
            return wanted
        together = torch.tensor(wanted, device=trainer.strategy.root_device)
        distributed.all_reduce(together, distributed.ReduceOp.MAX)
        return int(together)

    def _stop_if_asked(self, wanted: int) -> None:
        if wanted > SAVE_DUE:
            raise Interrupted(wanted)

    def _save(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not self._random:
            self._random = snapshot.random_states(module.device)
        if trainer.is_global_zero:
            files.keep(self.last, "previous.ckpt")
        self._saving = True
        trainer.save_checkpoint(self.last)
        self._saving = False
        if trainer.is_global_zero:
            self.status.update("running", epoch=trainer.current_epoch, step=trainer.global_step)
        self._saved_at = time.monotonic()
