"""From a config to all that a training is made of, once: *check* is to prepare and stop, *run* to prepare and fit.

What takes longest is imported last: a mistake in names, data, model, head, task or optimiser is told before Lightning.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch.optim.lr_scheduler import ReduceLROnPlateau

from multiscale.checks import InvalidInput, nearest
from multiscale.config.compose import Job
from multiscale.config.identity import digest, identify, science, to_plain
from multiscale.config.instantiate import check_names, describe_mistake, locate, make
from multiscale.data.files import DataError
from multiscale.data.module import DataModule
from multiscale.jobs.check import OPTIM, check_plain, check_words
from multiscale.runs.processes import is_rank
from multiscale.training.devices import count_processes
from multiscale.training.parts import Parts, build_parts
from multiscale.training.silence import silence
from multiscale.training.tasks.base import Task
from multiscale.training.trainer import check_batches, check_kinds, check_resumable

if TYPE_CHECKING:
    from pytorch_lightning import Callback, Trainer
    from pytorch_lightning.loggers import Logger

    from multiscale.training.module import SequenceModule

SPLITS = ("train", "val", "test")
LOGGED = ("train/", "trace/")  # what else than the task's metrics may be monitored

GIVEN = {  # arguments that a run gives
    "model": ("input_size",),
    "head": ("level_sizes", "output_size"),
    "optim.optimizer": ("params",),
    "optim.scheduler": ("optimizer",),
    "trainer": ("logger", "callbacks", "default_root_dir"),
}


@dataclass
class Prepared:
    """A job, ready to fit; ``solved`` says that ``config`` has the size that ``match`` asked for."""

    config: DictConfig
    solved: bool
    data: DataModule
    module: "SequenceModule"
    callbacks: list["Callback"]
    loggers: list["Logger"]
    trainer: "Trainer"


def prepare(config: DictConfig) -> Prepared:
    """Read the data and build the network, loggers, callbacks and trainer of a frozen config; writes nothing.

    Raises:
        InvalidInput: for the first mistake, with its place in the config and what is allowed there.
    """
    if OmegaConf.is_missing(config, "folder"):  # to check only
        config = OmegaConf.merge(config, {"folder": str(Path("a run's folder").absolute())})  # type: ignore[assignment]
    check_config(config)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    seed_all(config.seed)
    data = _read_data(config)
    solved = config.get("match") is not None
    if solved:
        config = _solve_size(config, data)
    parts = build_parts(config, data.facts)
    _check_monitors(config, parts.task)
    _check_optim(config, parts)
    return _finish(config, solved, data, parts)


def check_jobs(jobs: Sequence[Job]) -> None:
    """Prepare every job of a command line, those that differ in seed, name and place alone once, and drop it.

    Raises:
        InvalidInput: for the first mistake; with the job's own words if there are several.
    """
    done = set()
    check_words(jobs)
    for job in jobs:
        with job.named():
            check_config(job.config)
    for job in jobs:
        with job.named():
            plain: Any = OmegaConf.to_container(job.config)
            loggers = [{key: one[key] for key in one if key != "name"} for one in plain["logger"].values()]
            key = digest([science(plain), plain["trainer"], plain["callbacks"], loggers])
            if key not in done:
                prepare(job.config)
            done.add(key)


def check_config(config: DictConfig) -> None:
    """Raise :class:`InvalidInput` for what can be told without reading data and without Lightning."""
    check_plain(config)
    for where in ("model", "head", "data", "task", *(f"optim.{part}" for part in OPTIM)):
        check_names(config, where, GIVEN.get(where, ()))


def seed_all(seed: int) -> None:
    """Seed every generator that a training may draw from, as Lightning's ``seed_everything``, which takes seconds."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    os.environ |= {"PL_GLOBAL_SEED": str(seed), "PL_SEED_WORKERS": "1"}


def _read_data(config: DictConfig) -> DataModule:
    """The data, read; that the task is one for them is seen before."""
    data = make(config, "data")
    if not isinstance(data, DataModule):
        raise InvalidInput(f"data._target_ must be a DataModule; got {config.data._target_!r}.")
    task = locate(config.task._target_)
    if data.kind not in (None, getattr(task, "kind", data.kind)):
        raise InvalidInput(
            f"task must be one for data of kind {data.kind!r}, which {type(data).__name__} is; "
            f"got {task.__name__}, for kind {task.kind!r}."
        )
    try:
        data.setup()
        data.share(count_processes(to_plain(config.trainer)))
        check_batches(to_plain(config.trainer), {split: len(data.loader(split)) for split in SPLITS})
    except DataError:
        raise
    except InvalidInput as error:
        text = str(error)
        raise InvalidInput(text if text.startswith(("data.", "trainer.")) else f"data.{text}") from error
    return data


def _solve_size(config: DictConfig, data: DataModule) -> DictConfig:
    """The config with the size that ``match`` asks for."""
    from multiscale.training.match import matched

    solved = matched(config, data.facts)
    identify(solved)
    return solved


def _check_monitors(config: DictConfig, task: Task) -> None:
    """Raise :class:`InvalidInput` for a callback that waits for a metric which the task does not measure."""
    measured = [f"{split}/{name}" for split in ("val", "train") for name in task.reported]
    for name, callback in to_plain(config.callbacks).items():
        value = callback.get("monitor")
        if isinstance(value, str) and value not in measured and not value.startswith(LOGGED):
            raise InvalidInput(
                f"callbacks.{name}.monitor must be one of {', '.join(measured)}, or begin with "
                f"{' or '.join(LOGGED)}; got {value!r}.{nearest(value, measured)}"
            )


def _check_optim(config: DictConfig, parts: Parts) -> None:
    """Raise :class:`InvalidInput` for what optimizer or schedule refuse."""
    where = "optim.optimizer"
    try:
        made = parts.optimizer([torch.nn.Parameter(torch.zeros(1))])
        if parts.scheduler is None:
            return
        where = "optim.scheduler"
        waits = isinstance(parts.scheduler(made), ReduceLROnPlateau)
    except Exception as error:
        raise describe_mistake(error, where, OmegaConf.select(config, where)._target_) or error from error
    if waits and parts.interval == "step":
        raise InvalidInput("optim.interval must be epoch for a schedule that waits for validations; got 'step'.")


def _finish(config: DictConfig, solved: bool, data: DataModule, parts: Parts) -> Prepared:
    """All that needs Lightning."""
    from multiscale.training.lean import import_lightning

    import_lightning()
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from pytorch_lightning.callbacks import EarlyStopping

    from multiscale.training.build import assemble
    from multiscale.training.checkpoint import weights
    from multiscale.training.checkpoint.callback import Checkpoints, WholeFiles
    from multiscale.training.data_check import DataCheck, FitCheck

    with silence():
        for where in ("trainer", "logger", "callbacks"):
            check_names(config, where, GIVEN.get(where, ()))
        check_kinds(to_plain(config.trainer))
        module = assemble(config, parts, data.facts)
        loggers, callbacks = list(make(config, "logger").values()), make(config, "callbacks")
        check_resumable(to_plain(config.trainer), callbacks)
        for name, callback in callbacks.items():
            if isinstance(callback, EarlyStopping):
                callback.strict = False  # a metric that was never measured is told in the end, not raised
            if isinstance(callback, DataCheck):
                try:
                    callback.check(data)
                except InvalidInput as error:
                    raise InvalidInput(f"callbacks.{name}.{error}") from error
        plugins = [WholeFiles(), TorchElasticEnvironment() if is_rank() else LightningEnvironment()]
        listed = list(callbacks.values())
        resumes = any(isinstance(callback, Checkpoints) and callback.last.exists() for callback in listed)
        if config.init_from is not None and not resumes:
            weights.adopt(module, config.init_from)
        places = {"logger": loggers, "callbacks": listed, "default_root_dir": config.folder, "plugins": plugins}
        trainer = make(config, "trainer", **places)
        for name, callback in callbacks.items():
            if isinstance(callback, FitCheck):
                try:
                    callback.check(trainer, module)
                except InvalidInput as error:
                    raise InvalidInput(f"callbacks.{name} {error}") from error
        return Prepared(config, solved, data, module, listed, loggers, trainer)
