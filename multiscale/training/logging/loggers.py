"""Loggers: metrics as CSV in the run's folder always, Weights & Biases beside it if wanted and possible."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pytorch_lightning.loggers import Logger

from multiscale.checks import in_range, one_of
from multiscale.runs.processes import get_rank
from multiscale.training.logging.base import RunLogger
from multiscale.training.logging.csv_log import CSVLog
from multiscale.training.logging.wandb_log import SafeWandb
from multiscale.training.logging.wandb_mode import mode_of


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
    mode: Literal["auto", "online", "offline"] = "auto",
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
    if get_rank() == 0:
        chosen = [choices[key] for key in ("model", "data", "head", "experiment")]
        start = {
            "project": project,
            "name": name,
            "group": group,
            "job_type": choices["experiment"] or choices["data"],
            "tags": list(dict.fromkeys([*filter(None, chosen), *tags])),
            "mode": mode_of(mode),
        }
        loggers.append(SafeWandb(folder, start, monitor, choices, timeout))
    return loggers


def begin_logs(loggers: Sequence[Logger], rows: int) -> None:
    """Let the logs go on after their first ``rows`` rows; those that come again are sent nowhere twice."""
    again = max(logged_rows(loggers) - rows, 0)
    for logger in _ours(loggers):
        logger.begin(rows, again)


def logged_rows(loggers: Sequence[Logger]) -> int:
    """How many rows of metrics have been logged, as far as a logger knows."""
    return max((logger.rows for logger in _ours(loggers)), default=0)


def log_image(loggers: Sequence[Logger], key: str, path: Path) -> None:
    """Send a picture to every logger that shows pictures."""
    for logger in _ours(loggers):
        logger.log_image(key, path)


def log_table(loggers: Sequence[Logger], key: str, columns: Mapping[str, Sequence[str]]) -> None:
    """Send a table, given by its columns, to every logger that shows tables."""
    for logger in _ours(loggers):
        logger.log_table(key, columns)


def log_numbers(loggers: Sequence[Logger], numbers: Mapping[str, float]) -> None:
    """Send numbers of the whole run, such as ``cost/parameters``, to every logger that has a summary."""
    for logger in _ours(loggers):
        logger.log_numbers(numbers)


def finish(loggers: Sequence[Logger], failed: bool = False, interrupted: bool = False) -> None:
    """Close the loggers; a W&B run ends as finished, failed or, by a signal, preempted."""
    for logger in loggers:
        logger.finalize("failed" if failed or interrupted else "success")
    for logger in _ours(loggers):
        logger.finish("interrupted" if interrupted else "failed" if failed else "finished")


def closing_lines(loggers: Sequence[Logger]) -> list[str]:
    """What the loggers have to say under a run's summary, once they are closed."""
    return [line for logger in _ours(loggers) for line in logger.closing_lines()]


def _ours(loggers: Sequence[Logger]) -> list[RunLogger]:
    """Those that do more than log metrics; a logger of Lightning's beside them is welcome."""
    return [logger for logger in loggers if isinstance(logger, RunLogger)]
