"""A job's parts, built to see whether they can be: the second half of :mod:`multiscale.jobs.preflight`, with torch."""

from typing import Any, get_args, get_type_hints

import torch
from omegaconf import DictConfig, OmegaConf

from multiscale.checks import InvalidInput, nearest
from multiscale.config.instantiate import check_kinds, look_up, make, mistake, plain
from multiscale.data.facts import Facts
from multiscale.data.module import DataModule, SequenceDataModule
from multiscale.data.python_docs import PythonDocs
from multiscale.data.text import StreamDataModule
from multiscale.data.text_file import TextFile
from multiscale.training.parts import parts
from multiscale.training.tasks.base import Task
from multiscale.training.trainer_checks import check_devices

STAND_IN = 8  # input size and classes, where the data are not read
LOGGED = ("train/", "trace/")  # what else than the task's metrics may be monitored
READ = (PythonDocs, TextFile)  # at once, and without a network
BUILT = ("model", "head", "task")


class Trial:
    """Builds the parts of one job after another, those of the same config only once."""

    def __init__(self) -> None:
        self.data: dict[str, DataModule] = {}
        self.built: set[str] = set()

    def check(self, config: DictConfig) -> None:
        """Raise :class:`InvalidInput` for what the parts refuse, alone or together."""
        data = self._read(config)
        check_devices(plain(config.trainer, "trainer"), data.batch_size)
        text = "".join(OmegaConf.to_yaml(config[group]) for group in (*BUILT, "data", "optim", "callbacks"))
        if text in self.built:
            return
        task, optimizer, scheduler = _with_data(config, data) if isinstance(data, READ) else _stand_ins(config, data)
        for group in BUILT:
            check_kinds(config[group], group)
        _check_monitors(config.callbacks, task)
        _check_optim(config, optimizer, scheduler)
        self.built.add(text)

    def _read(self, config: DictConfig) -> DataModule:
        """The data module, set up if that is quick."""
        text = OmegaConf.to_yaml(config.data)
        if text not in self.data:
            data = make(config, "data")
            if not isinstance(data, DataModule):
                raise InvalidInput(f"data._target_ must be a DataModule; got {config.data._target_!r}.")
            check_kinds(config.data, "data")
            if isinstance(data, READ):
                try:
                    data.setup()
                except InvalidInput as error:
                    raise InvalidInput(f"data.{error}") from error
            self.data[text] = data
        return self.data[text]


def _with_data(config: DictConfig, data: DataModule) -> tuple[Task, Any, Any]:
    """The task and the makers of optimizer and schedule, of data that are read; model and head are built too."""
    made = parts(config, data.facts)
    return made.task, made.optimizer, made.scheduler


def _stand_ins(config: DictConfig, data: DataModule) -> tuple[Task, Any, Any]:
    """The task and the makers of optimizer and schedule, of data that are not; model and head are built too."""
    task = make(config, "task")
    kind = data_kind(data)
    if kind not in (None, task.kind):
        raise InvalidInput(
            f"task must be one for data of kind {kind!r}, which {type(data).__name__} is; "
            f"got {type(task).__name__}, for kind {task.kind!r}."
        )
    backbone = make(config, "model", input_size=STAND_IN)
    make(config, "head", level_sizes=backbone.level_sizes, output_size=STAND_IN)
    optim = make(config, "optim")
    return task, optim["optimizer"], optim["scheduler"]


def data_kind(data: DataModule) -> str | None:
    """The kind of facts that data not yet read will have, as their ``load`` is annotated; None if that is not told."""
    if not isinstance(data, StreamDataModule | SequenceDataModule):
        return None
    try:
        told = get_args(get_type_hints(type(data).load).get("return"))
    except NameError:  # of what is only imported to check types
        return None
    facts = told[0] if told and isinstance(told[0], type) and issubclass(told[0], Facts) else Facts
    return facts.__dict__.get("kind")


def _check_monitors(callbacks: DictConfig, task: Task) -> None:
    """Raise :class:`InvalidInput` for a callback that waits for a metric which the task does not measure."""
    measured = [f"{split}/{name}" for split in ("val", "train") for name in task.reported]
    for name, callback in callbacks.items_ex(resolve=False):
        if "monitor" not in callback:
            continue
        where = f"callbacks.{name!s}.monitor"
        known, value = look_up(callback, "monitor", where)
        if known and isinstance(value, str) and value not in measured and not value.startswith(LOGGED):
            raise InvalidInput(
                f"{where} must be one of {', '.join(measured)}, or begin with {' or '.join(LOGGED)}; got {value!r}."
                f"{nearest(value, measured)}"
            )


def _check_optim(config: DictConfig, optimizer: Any, scheduler: Any) -> None:
    """Raise :class:`InvalidInput` for what optimizer or schedule refuse."""
    where = "optim.optimizer"
    try:
        made = optimizer([torch.nn.Parameter(torch.zeros(1))])
        where = "optim.scheduler"
        scheduler(made)
    except Exception as error:
        raise mistake(error, where, config) or error from error
