"""What callbacks ask of the data and of what is trained, checked before a run has a folder."""

from abc import ABC, abstractmethod

import pytorch_lightning as pl

from multiscale.data.module import DataModule
from multiscale.training.module import SequenceModule


class DataCheck(ABC):
    """A callback that not all data will do for."""

    @abstractmethod
    def check(self, data: DataModule) -> None:
        """Raise :class:`InvalidInput`, naming the argument first, if it cannot work on ``data``, which are set up."""


class FitCheck(ABC):
    """A callback that not every network and trainer will do for."""

    @abstractmethod
    def check(self, trainer: pl.Trainer, module: SequenceModule) -> None:
        """Raise :class:`InvalidInput`, with what it needs, if it cannot work with these."""
