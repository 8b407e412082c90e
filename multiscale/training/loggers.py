"""Loggers: metrics as CSV in the run's folder always, Weights & Biases beside it if wanted and possible."""

import os
from collections.abc import Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from multiscale.checks import in_range, one_of
from multiscale.training.csv_log import CSVLog
from multiscale.training.tracking import SafeWandb


def csv(folder: str) -> list[Logger]:
    """``metrics.csv`` in ``folder`` and nothing else."""
    return [CSVLog(folder)]


def wandb(
    folder: str,
    project: str,
    name: str,
    monitor: str,
    choices: Mapping[str, str | None],
    group: str | None = None,
    tags: Sequence[str] = (),
    mode: str = "auto",
    timeout: float = 30.0,
) -> list[Logger]:
    """``metrics.csv`` and a Weights & Biases run, both in ``folder``.

    The run's group is its configuration without the seed, unless ``group`` says another; its tags are the ``choices``
    of model, data, head and experiment, and ``tags``. ``mode`` is ``online``, ``offline`` or ``auto``: what
    ``WANDB_MODE`` says, else online where a key is found (``WANDB_API_KEY`` or a netrc file), else offline. It never
    asks and never ends a run: what fails is one warning. ``monitor`` and ``timeout`` are those of :class:`SafeWandb`.
    """
    one_of("mode", mode, ("auto", "online", "offline"))
    in_range("timeout", timeout, 0, open_low=True)
    loggers = csv(folder)
    if not getattr(rank_zero_only, "rank", 0):
        chosen = [choices[key] for key in ("model", "data", "head", "experiment")]
        start = {
            "project": project,
            "name": name,
            "group": group,
            "job_type": choices["experiment"] or choices["data"],
            "tags": list(dict.fromkeys([*filter(None, chosen), *tags])),
            "mode": _mode(mode),
        }
        loggers.append(SafeWandb(folder, start, monitor, choices, timeout))
    return loggers


def _mode(mode: str) -> str:
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
        if isinstance(logger, SafeWandb):
            logger.log_image(key, path)


def log_table(loggers: Sequence[Logger], key: str, columns: Mapping[str, Sequence[str]]) -> None:
    """Send a table, given by its columns, to every logger that shows tables."""
    for logger in loggers:
        if isinstance(logger, SafeWandb):
            logger.log_table(key, columns)


def log_numbers(loggers: Sequence[Logger], numbers: Mapping[str, float]) -> None:
    """Send numbers of the whole run, such as ``cost/parameters``, to every logger that has a summary."""
    for logger in loggers:
        if isinstance(logger, SafeWandb):
            logger.log_numbers(numbers)


def finish(loggers: Sequence[Logger], failed: bool = False, interrupted: bool = False) -> None:
    """Close the loggers; a W&B run ends as finished, failed or, by a signal, preempted."""
    for logger in loggers:
        logger.finalize("failed" if failed or interrupted else "success")
        if isinstance(logger, SafeWandb):
            logger.finish("interrupted" if interrupted else "failed" if failed else "finished")


def closing_lines(loggers: Sequence[Logger]) -> list[str]:
    """What the loggers have to say under a run's summary, once they are closed."""
    return [line for logger in loggers if isinstance(logger, SafeWandb) for line in logger.closing_lines()]
