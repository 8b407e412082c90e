"""Loggers of Lightning's with the figures, tables and numbers of a run, begun at the first thing that they are told."""

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger

from multiscale.checks import InvalidInput
from multiscale.config.identity import to_plain
from multiscale.runs import files
from multiscale.runs.processes import get_rank
from multiscale.training.logging.base import RunLogger


class LightningLog(RunLogger):
    """One of Lightning's loggers, which nothing is sent twice by a training that goes on; of several processes the
    first alone writes."""

    package: str  # to import, and name of the extra that brings it

    def __init__(self) -> None:
        super().__init__()
        if find_spec(self.package) is None:
            raise InvalidInput(f"logger {self.package} needs: pip install 'multiscale-rnn[{self.package}]'.")
        self.to_skip = 0

    @abstractmethod
    def make(self) -> Logger:
        """Lightning's logger; it may write to the disk."""

    @cached_property
    def inner(self) -> Any:
        return self.make()

    @property
    def experiment(self) -> Any:
        return self.inner.experiment

    @property
    def name(self) -> str:
        return self.package

    @property
    def version(self) -> None:
        return None

    def begin(self, rows: int, again: int) -> None:
        """Do not write the next ``again`` rows: a resumed training makes them a second time."""
        self.to_skip = again

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        if get_rank() == 0:
            self.inner.log_hyperparams(to_plain(params))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self.to_skip > 0:
            self.to_skip -= 1
        elif get_rank() == 0:
            self.inner.log_metrics(dict(metrics), step)

    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        if get_rank() == 0:
            self.inner.log_metrics(dict(numbers), 0)

    def log_image(self, key: str, path: Path) -> None:
        if get_rank() == 0:
            self.picture(key, path)

    def log_table(self, key: str, columns: Mapping[str, Sequence[str]]) -> None:
        if get_rank() == 0:
            rows = [list(columns), ["---"] * len(columns), *zip(*columns.values(), strict=True)]
            self.text(key, "\n".join(f"| {' | '.join(row)} |" for row in rows))

    @abstractmethod
    def picture(self, key: str, path: Path) -> None:
        """Show a picture."""

    @abstractmethod
    def text(self, key: str, markdown: str) -> None:
        """Show a text."""

    def finalize(self, status: str) -> None:
        if get_rank() == 0 and "inner" in self.__dict__:
            self.inner.finalize(status)


class TensorBoardLog(LightningLog):
    """Event files for TensorBoard, in ``tensorboard`` of the run's folder.

    Args:
        folder: the run's folder.

    Raises:
        InvalidInput: where TensorBoard is not installed.
    """

    package = "tensorboard"

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.shown: dict[str, int] = {}

    def make(self) -> Logger:
        return TensorBoardLogger(str(self.folder), name="", version="tensorboard")

    def picture(self, key: str, path: Path) -> None:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB"))
        self.shown[key] = self.shown.get(key, 0) + 1
        self.experiment.add_image(key, pixels, self.shown[key], dataformats="HWC")

    def text(self, key: str, markdown: str) -> None:
        self.experiment.add_text(key, markdown)

    def closing_lines(self) -> list[str]:
        return [f"tensorboard --logdir {self.folder / 'tensorboard'}"]


class MLflowLog(LightningLog):
    """A run of MLflow, by default in files on this machine.

    Args:
        folder: the run's folder; ``mlflow_id.txt`` in it makes a resumed training one run with what it resumes.
        experiment, name: of MLflow's.
        tracking_uri: a folder, as ``file:mlruns``, or a server's address.

    Raises:
        InvalidInput: where MLflow is not installed.
    """

    package = "mlflow"

    def __init__(self, folder: str, experiment: str, name: str, tracking_uri: str = "file:mlruns") -> None:
        super().__init__()
        self.path = Path(folder) / "mlflow_id.txt"
        self.words: dict[str, Any] = {"experiment_name": experiment, "run_name": name, "tracking_uri": tracking_uri}

    def make(self) -> Logger:
        if self.words["tracking_uri"].startswith("file:"):  # which MLflow 3 wants to be asked for by name
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read as MLflow is imported
        known = self.path.read_text().strip() if self.path.exists() else None
        inner: Any = MLFlowLogger(**self.words, run_id=known)
        files.write(self.path, f"{inner.run_id}\n".encode())
        return inner  # type: ignore[no-any-return]

    def picture(self, key: str, path: Path) -> None:
        self.experiment.log_artifact(self.inner.run_id, str(path), key.rpartition("/")[0] or None)

    def text(self, key: str, markdown: str) -> None:
        self.experiment.log_text(self.inner.run_id, markdown, f"{key}.md")

    def closing_lines(self) -> list[str]:
        where = self.words["tracking_uri"]
        return [f"mlflow ui --backend-store-uri {where}"] if where.startswith("file:") else [f"MLflow: {where}"]
