"""One job from its preparation to its summary: fit -> test -> summary, with no branch on a model's or a task's name."""

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from multiscale.cli import collect_as_usual
from multiscale.config.identity import to_plain
from multiscale.jobs.prepare import Prepared, prepare
from multiscale.jobs.summary import describe_levels, describe_run, show, summarise
from multiscale.runs import files
from multiscale.runs.folder import read, save
from multiscale.runs.processes import count_ranks, get_rank
from multiscale.runs.signals import Interrupted, Signals
from multiscale.runs.status import FINISHED, Status
from multiscale.training.checkpoint import weights
from multiscale.training.checkpoint.callback import Checkpoints
from multiscale.training.checkpoint.lightning_internals import end_at_epoch
from multiscale.training.checkpoint.snapshot import is_finished, open_to_validation
from multiscale.training.loaders import Loaders
from multiscale.training.logging.loggers import begin_logs, closing_lines, finish, log_numbers, log_table
from multiscale.training.silence import silence


def train(folder: Path, prepared: Prepared | None = None) -> float:
    """Run the job of a run's folder, from its last checkpoint if there is one, as it was ``prepared`` or else anew.

    Returns the monitored metric of the best weights.

    Raises:
        InvalidInput: for what the user got wrong.
        Interrupted: after a signal, when everything is saved.
    """
    with silence(), flush_denormals(), Signals() as signals:
        if get_rank() == 0:
            files.tidy(folder)
        status = Status(folder if get_rank() == 0 else None)
        status.begin()
        job = prepared or prepare(read(folder))
        if job.solved and get_rank() == 0:
            save(job.config)
        return _train(job, signals, status)


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Numbers below 1e-38 are 0 in float32: a processor takes ten times as long for them, and a gradient that vanishes
    over a thousand steps is made of them."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _train(job: Prepared, signals: Signals, status: Status) -> float:
    trainer, module, loggers = job.trainer, job.module, job.loggers
    trainer.precision_plugin.convert_module(module)  # else Lightning rounds weights of 64 bits when it loads them
    keeper = next((callback for callback in job.callbacks if isinstance(callback, Checkpoints)), None)
    last = keeper.last if keeper is not None and keeper.last.exists() else None
    checkpoint = weights.load_training(module, last, count_ranks()) if last else None
    resumed = checkpoint["resume"] if checkpoint else None
    begin_logs(loggers, resumed["rows"] if resumed else 0)
    if keeper is not None:
        keeper.attach(signals, status, resumed)
    loaders = Loaders(job.data, *(resumed["at"] if resumed else ()))
    try:
        with status.paused():  # a server that does not answer is waited for
            for logger in loggers:
                logger.log_hyperparams(to_plain(job.config))
        if checkpoint and is_finished(checkpoint["resume"], trainer):  # perhaps early; nothing is left to fit
            end_at_epoch(trainer, checkpoint["epoch"])
        elif checkpoint:
            open_to_validation(trainer, checkpoint)
        collect_as_usual()
        trainer.fit(module, loaders, ckpt_path=last, weights_only=True if last else None)
        best = keeper.best if keeper is not None and keeper.best.exists() else None
        measured = trainer.callback_metrics.get(module.task.monitor, math.nan)
        score = keeper.best_score if best and keeper else float(measured)
        if trainer.limit_test_batches:
            trainer.test(module, loaders, ckpt_path=best, weights_only=True if best else None, verbose=False)
        signals.deferred = True
        if trainer.is_global_zero:
            _conclude(job, score, status)
    except BaseException as error:
        signals.deferred = True
        if isinstance(error, SIGTERMException):  # Lightning's, while it had its handler in the place of ours
            error = Interrupted(signal.SIGTERM)
        finish(loggers, failed=True, interrupted=isinstance(error, Interrupted | KeyboardInterrupt))
        raise error
    finish(loggers)
    for line in closing_lines(loggers):
        print(line)
    status.update(FINISHED, epoch=trainer.current_epoch, step=trainer.global_step)
    return score


def _conclude(job: Prepared, score: float, status: Status) -> None:
    """Write the summary, send it to the loggers, and print it."""
    summary = summarise(job, score, status)
    files.write_json(Path(job.config.folder) / "summary.json", summary)
    log_table(job.loggers, "summary", {name: [value] for name, value in describe_run(summary).items()})
    log_table(job.loggers, "levels", describe_levels(summary))
    log_numbers(job.loggers, {f"cost/{name}": summary[name] for name in ("parameters", "seconds", "epochs")})
    show(summary)
