"""Loggers: metrics as CSV in the run's folder always, Weights & Biases beside it if wanted and possible."""

import logging
import os
from collections.abc import Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from multiscale.checks import one_of

log = logging.getLogger(__name__)


def csv(folder: str) -> list[Logger]:
    """``metrics.csv`` in ``folder`` and nothing else."""
    return [CSVLogger(folder, name="", version="")]


def wandb(
    folder: str,
    project: str,
    name: str,
    group: str | None = None,
    tags: Sequence[str] = (),
    mode: str = "auto",
) -> list[Logger]:
    """``metrics.csv`` and a Weights & Biases run, both in ``folder``.

    ``mode`` is ``online``, ``offline`` or ``auto``: what ``WANDB_MODE`` says, else online where a key is found
    (``WANDB_API_KEY`` or a netrc file), else offline. It never asks, and a run that cannot start is one warning.
    """
    one_of("mode", mode, ("auto", "online", "offline"))
    loggers = csv(folder)
    if getattr(rank_zero_only, "rank", 0):
        return loggers
    try:
        import wandb as client

        run = client.init(
            dir=folder,
            project=project,
            name=name,
            group=group,
            tags=list(tags),
            mode=_mode(mode),
            settings=client.Settings(silent=True, console="off", disable_git=True, init_timeout=30),
            reinit="finish_previous",
        )
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        loggers.append(WandbLogger(experiment=run, save_dir=folder))
    except Exception as error:  # whatever W&B does, training goes on
        log.warning("Weights & Biases is off: %s", error)
    return loggers


def _mode(mode: str) -> Any:
    if mode != "auto":
        return mode
    return os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")


def _has_key() -> bool:
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].strip("/")
    try:
        stored = netrc(os.environ.get("NETRC", Path.home() / ".netrc")).authenticators(host)
    except (OSError, NetrcParseError):
        stored = None
    return bool(os.environ.get("WANDB_API_KEY") or stored)


def log_image(loggers: Sequence[Logger], key: str, path: Path) -> None:
    """Send a picture to every logger that shows pictures."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [str(path)])


def log_table(loggers: Sequence[Logger], key: str, columns: Mapping[str, Sequence[str]]) -> None:
    """Send a table, given by its columns, to every logger that shows tables."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(
                key, columns=list(columns), data=[list(row) for row in zip(*columns.values(), strict=True)]
            )


def finish(loggers: Sequence[Logger], failed: bool = False) -> None:
    """Close the loggers; a W&B run ends as finished or failed."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=int(failed))
