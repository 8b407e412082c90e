"""What a whole training needs of Lightning beyond its public face: every such access, each with a test of its own."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.loop import _Loop
from torch import Tensor

TRACKED = ("ready", "started", "processed", "completed")


def is_logging_step(trainer: pl.Trainer) -> bool:
    """Whether what the coming or present training step logs reaches the loggers."""
    return trainer._logger_connector.should_update_logs or bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


def logged_step(trainer: pl.Trainer) -> int:
    """The number under which the next row of a training is logged; Lightning adds to it what its loops make of it."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def set_logged_step(trainer: pl.Trainer, step: int) -> None:
    """Put :func:`logged_step` back: Lightning saves it before the step that it counts has ended."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = step


def restore_metrics(trainer: pl.Trainer, metrics: Mapping[str, Tensor]) -> None:
    """Put back what ``trainer.callback_metrics`` held, which a checkpoint does not."""
    trainer._logger_connector._callback_metrics.update(metrics)


def position(trainer: pl.Trainer) -> tuple[int, int]:
    """(epochs that are over, batches of the present one that are over)."""
    loop = trainer.fit_loop
    epochs = loop.epoch_progress.state_dict()["current"]["processed"]
    return epochs, loop.epoch_loop.batch_progress.current.completed


def end_at_epoch(trainer: pl.Trainer, epochs: int) -> None:
    """Have the coming fit end after so many epochs, whatever the trainer was made for."""
    trainer.fit_loop.max_epochs = epochs


def set_max_steps(trainer: pl.Trainer, steps: int) -> None:
    """Have a fit end after so many steps; of one that has made all of them Lightning skips the validation due then."""
    trainer.fit_loop.epoch_loop.max_steps = steps


def forget_restart(trainer: pl.Trainer) -> None:
    """Let a resumed epoch be as any other: of one that it entered midway, Lightning skips the schedules at the end.

    Not by the fit loop's own setter: where there is a limit of steps, that takes False for True.
    """
    _Loop.restarting.fset(trainer.fit_loop, False)  # type: ignore[attr-defined]


def validated(trainer: pl.Trainer) -> int:
    """Batches of the validations of this epoch that are over."""
    return trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.completed


def forget_validation(trainer: pl.Trainer, before: int = 0) -> None:
    """Let the validation that :func:`settle_counters` marked as begun start, after ``before`` batches of others."""
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.reset()
    progress.total.load_state_dict(dict.fromkeys(TRACKED, before))


def settle_counters(loops: dict[str, Any], in_epoch: bool, in_validation: bool) -> None:
    """Make the counters in a checkpoint's ``loops`` those of a training in which no step has been begun.

    Args:
        loops: of a Lightning checkpoint; changed.
        in_epoch: the epoch has begun and is not over.
        in_validation: the fit goes on with a validation, from its first batch.
    """
    fit = loops["fit_loop"]
    for key, progress in fit.items():
        if key == "epoch_progress" and in_epoch:
            continue
        trackers = [progress] if "total" in progress else list(progress.get("optimizer", {}).values())
        for tracker in trackers:
            for counts in (tracker["total"], tracker["current"]):
                counts.update({name: counts["completed"] for name in TRACKED if name in counts})
    if in_validation:  # Lightning's sign for: begin with the validation
        begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        fit["epoch_loop.val_loop.batch_progress"].update(total=dict(begun), current=dict(begun))
    else:
        fit["epoch_loop.batch_progress"]["is_last_batch"] = False
