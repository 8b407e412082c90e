"""Loggers: metrics as CSV in the run's folder always, Weights & Biases beside it if wanted and possible."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from multiscale.checks import one_of
from multiscale.training.csv_log import CSVLog
from multiscale.training.tracking import mode_of

log = logging.getLogger(__name__)


def csv(folder: str) -> list[Logger]:
    """``metrics.csv`` in ``folder`` and nothing else."""
    return [CSVLog(folder)]


def wandb(
    folder: str,
    project: str,
    name: str,
    group: str | None = None,
    tags: Sequence[str] = (),
    mode: Literal["auto", "online", "offline"] = "auto",
) -> list[Logger]:
    """``metrics.csv`` and a Weights & Biases run, both in ``folder``.

    ``mode`` is ``online``, ``offline`` or ``auto``: what ``WANDB_MODE`` says, else online where a key is found
    (``WANDB_API_KEY`` or a netrc file), else offline. It never asks and never ends a run: what fails is one warning.
    """
    one_of("mode", mode, ("auto", "online", "offline"))
    loggers = csv(folder)
    if not getattr(rank_zero_only, "rank", 0):
        start = {"dir": folder, "project": project, "name": name, "group": group, "tags": list(tags)}
        loggers.append(SafeWandb(folder, {**start, "mode": mode_of(mode)}))
    return loggers


class SafeWandb(Logger):
    """A W&B run that a training outlives: the first call that fails is a warning, and the last one that is made.

    Args:
        folder: the run's folder.
        start: arguments of ``wandb.init``.
    """

    def __init__(self, folder: str, start: dict[str, Any]) -> None:
        super().__init__()
        self.folder = folder
        self.inner: WandbLogger | None = None
        self.alive = True
        self._try(lambda: self._start(start))

    def _start(self, start: dict[str, Any]) -> None:
        import wandb as client

        settings = client.Settings(silent=True, console="off", disable_git=True, init_timeout=30)
        run = client.init(**start, settings=settings, reinit="finish_previous")
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        self.inner = WandbLogger(experiment=run, save_dir=self.folder)

    def _try(self, call: Callable[[], Any]) -> None:
        if not self.alive:
            return
        try:
            call()
        except Exception as error:  # whatever W&B does, training goes on
            self.alive = False
            log.warning("Weights & Biases is off from here: %s: %s", type(error).__name__, error)

    @property
    def name(self) -> str:
        return "wandb"

    @property
    def version(self) -> None:
        return None

    @property
    def _run(self) -> WandbLogger:
        assert self.inner is not None
        return self.inner

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._try(lambda: self._run.log_metrics(metrics, step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self._try(lambda: self._run.log_hyperparams(params))

    def log_image(self, key: str, path: Path) -> None:
        self._try(lambda: self._run.log_image(key, [str(path)]))

    def log_table(self, key: str, columns: Mapping[str, Sequence[str]]) -> None:
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        self._try(lambda: self._run.log_table(key, columns=list(columns), data=rows))

    def finish(self, failed: bool) -> None:
        self._try(lambda: self._run.experiment.finish(exit_code=int(failed)))


def log_image(loggers: Sequence[Logger], key: str, path: Path) -> None:
    """Send a picture to every logger that shows pictures."""
    for logger in loggers:
        if isinstance(logger, SafeWandb):
            logger.log_image(key, path)


def log_table(loggers: Sequence[Logger], key: str, columns: Mapping[str, Sequence[str]]) -> None:
    """Send a table, given by its columns, to every logger that shows tables."""
    for logger in loggers:
        if isinstance(logger, SafeWandb):
            logger.log_table(key, columns)


def finish(loggers: Sequence[Logger], failed: bool = False) -> None:
    """Close the loggers; a W&B run ends as finished or failed."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
        if isinstance(logger, SafeWandb):
            logger.finish(failed)
