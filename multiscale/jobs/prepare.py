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

from multiscale.checks import InvalidInput, in_range, nearest, one_of, positive_int, real, seed_number
from multiscale.config.compose import Job
from multiscale.config.identity import digest, flatten, identify, science, to_plain
from multiscale.config.instantiate import check_names, describe_mistake, locate, make
from multiscale.data.files import DataError
from multiscale.data.module import DataModule
from multiscale.runs.processes import is_rank
from multiscale.training.devices import count_processes
from multiscale.training.parts import Parts, build_parts
from multiscale.training.silence import silence
from multiscale.training.tasks.base import Task
from multiscale.training.trainer import check_batches, check_ranges, check_resumable, check_words

if TYPE_CHECKING:
    from pytorch_lightning import Callback, Trainer
    from pytorch_lightning.loggers import Logger

    from multiscale.training.module import SequenceModule

CLASSES = ("model", "head", "data", "task", "trainer")  # groups that name one class or function
SPLITS = ("train", "val", "test")
OPTIM = ("optimizer", "scheduler", "interval")  # what the group optim consists of
INTERVALS = ("epoch", "step")
LOGGED = ("train/", "trace/")  # what else than the task's metrics may be monitored

# What optimizers and schedules of torch have in common: the most that each may be; the least is 0.
MOST = {
    "optim.optimizer": dict.fromkeys(("lr", "weight_decay", "momentum", "eps"), float("inf")),
    "optim.scheduler": {"factor": 1.0, "gamma": float("inf")},
}

LENGTHS = ("max_epochs", "max_steps", "max_time")  # any of which ends a training

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
    for job in jobs:
        with job.named():
            check_start(job.config)
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
    seed_number("seed", config.seed)
    if config.threads is not None:
        positive_int("threads", config.threads)
    if (
        not isinstance(config.name, str)
        or not config.name.isprintable()
        or not config.name.strip(" .")
        or "/" in config.name
    ):
        raise InvalidInput(f"name must be a word without a slash; got {to_plain(config.name)!r}.")
    for key, value in flatten(OmegaConf.to_container(config)).items():
        _check_value(key, value)
    _check_classes(config)
    if all(config.trainer.get(key) is None for key in LENGTHS):
        raise InvalidInput(f"trainer.max_epochs must be given, or another of {', '.join(LENGTHS)}: a run has an end.")
    for where in ("model", "head", "data", "task", *(f"optim.{part}" for part in OPTIM)):
        check_names(config, where, GIVEN.get(where, ()))
    check_ranges(to_plain(config.trainer))
    count_processes(to_plain(config.trainer))
    for where, most in MOST.items():
        for name, value in (to_plain(OmegaConf.select(config, where)) or {}).items():
            if name in most and value is not None:
                in_range(f"{where}.{name}", real(f"{where}.{name}", value), 0, most[name])


def _check_value(where: str, value: Any) -> None:
    """Raise :class:`InvalidInput` for a value that could not be kept, or would not fit where it is used."""
    if isinstance(value, list):
        for i, inner in enumerate(value):
            _check_value(f"{where}[{i}]", inner)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidInput(f"{where} must be a number of at most 64 bits; got {value}.")
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{where} must be text that can be written; got {value!r}.") from error


def check_start(config: DictConfig) -> None:
    """Raise :class:`InvalidInput` for what a job needs before its first process starts, and has not."""
    start = config.init_from
    if start is not None and not (isinstance(start, str) and Path(start).is_file()):
        raise InvalidInput(f"init_from must be a checkpoint of a run; there is no file {start!r}.")
    _, colon, port = str(config.rendezvous or "").rpartition(":")
    if config.rendezvous is not None and not (colon and port.isdigit()):
        raise InvalidInput(f"rendezvous must be host:port; got {config.rendezvous!r}.")
    nodes = config.trainer.get("num_nodes")
    if nodes is not None and positive_int("trainer.num_nodes", nodes) > 1 and config.rendezvous is None:
        raise InvalidInput(
            f"rendezvous must be given, as host:port, for trainer.num_nodes={nodes}: a port of one "
            "of the nodes that all of them reach."
        )


def _check_classes(config: DictConfig) -> None:
    """Raise :class:`InvalidInput` for a part that names no class, and for one that optim does not have or lacks."""
    for key in map(str, config.optim):
        if key not in OPTIM:
            inner = [f"{part}.{key}" for part in OPTIM if key in (config.optim.get(part) or {})]
            hint = f" Did you mean 'optim.{inner[0]}'?" if inner else nearest(key, OPTIM)
            raise InvalidInput(f"optim.{key} does not exist; below optim there is {', '.join(OPTIM)}.{hint}")
    for part in OPTIM:
        if part not in config.optim:
            raise InvalidInput(f"optim.{part} must not be removed: every run needs it.")
    named = [f"{group}.{name}" for group in ("logger", "callbacks") for name in config[group]]
    named += ["match"] if config.get("match") is not None else []
    one_of("optim.interval", config.optim.interval, INTERVALS)
    rates = ("optimizer", *(["scheduler"] if config.optim.scheduler is not None else []))
    for where in (*CLASSES, *(f"optim.{part}" for part in rates), *named):
        node = OmegaConf.select(config, where)
        if not isinstance(node, DictConfig) or "_target_" not in node:
            raise InvalidInput(f"{where} must name a class or function as _target_; got {to_plain(node)!r}.")
    for part in rates:
        if config.optim[part].get("_partial_") is not True:
            raise InvalidInput(f"optim.{part}._partial_ must be true: what it works on is given later.")


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
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

    from multiscale.training.build import assemble
    from multiscale.training.checkpoint import weights
    from multiscale.training.checkpoint.callback import Checkpoints, WholeFiles
    from multiscale.training.data_check import DataCheck, FitCheck

    with silence():
        for where in ("trainer", "logger", "callbacks"):
            check_names(config, where, GIVEN.get(where, ()))
        check_words(to_plain(config.trainer))
        module = assemble(config, parts, data.facts)
        loggers, callbacks = list(make(config, "logger").values()), make(config, "callbacks")
        check_resumable(to_plain(config.trainer), callbacks)
        for name, callback in callbacks.items():
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
