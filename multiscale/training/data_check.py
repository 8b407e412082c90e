"""What callbacks ask of the data, checked before a run has a folder."""

from abc import ABC, abstractmethod

from multiscale.data.module import DataModule


class DataCheck(ABC):
    """A callback that not all data will do for."""

    @abstractmethod
    def check(self, data: DataModule) -> None:
        """Raise :class:`InvalidInput`, naming the argument first, if it cannot work on ``data``, which are set up."""
