"""Lightning's notices that are true of every run here, and of no use to its user."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

QUIET = (
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*LeafSpec.*",
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # the loaders go on where it was
    ".*Experiment logs directory .* exists and is not empty.*",
    ".*ReduceLROnPlateau conditioned on metric .* which is not available.*",  # before the first validation
    ".*sync_dist=True.*",  # what is logged is that of all processes already
    ".*is smaller than the logging interval.*",  # steps are counted over epochs
    ".*distributed.nn.functional.all_gather is deprecated.*",  # Lightning's own use
)


@contextmanager
def silence() -> Iterator[None]:
    """Without the notices that say nothing to the user of a run."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in QUIET:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
