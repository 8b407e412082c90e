"""What callbacks ask of the data, checked before a run has a folder."""

from abc import ABC, abstractmethod
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from multiscale.checks import InvalidInput
from multiscale.config.instantiate import look_up, make
from multiscale.data.module import DataModule


class DataCheck(ABC):
    """A callback that not all data will do for."""

    @abstractmethod
    def check(self, data: DataModule) -> None:
        """Raise :class:`InvalidInput`, naming the argument first, if it cannot work on ``data``, which are set up."""


def check_callbacks(config: DictConfig, data: DataModule) -> None:
    """Make every callback of a job and hold it against the data; raises :class:`InvalidInput`."""
    with TemporaryDirectory() as folder:
        trial = config.copy()
        _settle(trial.callbacks, "callbacks", folder)
        for name in map(str, trial.callbacks):
            callback = make(trial, f"callbacks.{name}")
            if isinstance(callback, DataCheck):
                try:
                    callback.check(data)
                except InvalidInput as error:
                    raise InvalidInput(f"callbacks.{name}.{error}") from error


def _settle(node: DictConfig, where: str, stand_in: str) -> None:
    """Put ``stand_in`` for every value below ``node`` that only a run has, such as its folder."""
    for key in map(str, node):
        known, value = look_up(node, key, f"{where}.{key}")
        if not known:
            node[key] = stand_in
        elif isinstance(value, DictConfig):
            _settle(value, f"{where}.{key}", stand_in)
