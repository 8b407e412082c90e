"""What a run tells all of its loggers, at its beginning, on its way and at its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytorch_lightning.loggers import Logger

from multiscale.training.logging.base import RunLogger


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
