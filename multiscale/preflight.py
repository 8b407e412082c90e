"""The checks of every job before anything runs, in the second or two that torch needs, without importing Lightning.

Names and kinds of arguments are read from the sources of the classes; what is quick to build is built and asked. What
cannot be seen this way is left to :func:`multiscale.session.rehearse`.
"""

import sys
from collections.abc import Sequence
from typing import Any, get_args, get_type_hints

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from multiscale.checks import InvalidInput, in_range, nearest, positive_int
from multiscale.configuration import Job
from multiscale.data.facts import Facts
from multiscale.data.module import DataModule, SequenceDataModule
from multiscale.data.text import StreamDataModule
from multiscale.instantiation import check_arguments, check_kinds, look_up, make, mistake
from multiscale.training.parts import parts
from multiscale.training.tasks import Task
from multiscale.training.trainer_checks import check_trainer

CLASSES = ("model", "head", "data", "task", "trainer", "logger")  # groups that name one class or function
PARTS = ("optimizer", "scheduler")  # of the group optim
STAND_IN = 8  # input size or classes, where the data are not read yet
LOGGED = ("train/", "trace/")  # what else than the task's metrics may be monitored

# Lowest allowed values of what optimizers of torch have in common.
OPTIMIZER = {"lr": 0.0, "weight_decay": 0.0, "momentum": 0.0, "eps": 0.0}

# Arguments that a run gives.
GIVEN = {
    "model": ("input_size",),
    "head": ("level_sizes", "output_size"),
    "trainer": ("logger", "callbacks", "default_root_dir"),
}


def preflight(jobs: Sequence[Job]) -> None:
    """Check every job of a command line; what several have in common is built once.

    Raises:
        InvalidInput: for the first mistake; with the job's own words if there are several.
    """
    data: dict[str, Any] = {}
    built: set[str] = set()
    for job in jobs:
        with job.named():
            _static(job.config)
    for job in jobs:
        with job.named():
            _build(job.config, data, built)


def _static(config: DictConfig) -> None:
    """What can be told without torch: names, kinds, ranges."""
    seed = config.seed
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InvalidInput(f"seed must be a whole number from 0 to 2^32 - 1; got {seed!r}.")
    if config.threads is not None:
        positive_int("threads", config.threads)
    for group in CLASSES:
        _check_class(config[group], group)
    for key in map(str, config.optim):
        if key not in PARTS:
            raise InvalidInput(
                f"optim.{key} does not exist; below optim there is {', '.join(PARTS)}."
                f"{nearest(key, [f'optimizer.{key}', *PARTS])}"
            )
    for part in PARTS:
        if part not in config.optim:
            raise InvalidInput(f"optim.{part} must not be removed: every run needs it.")
        _check_class(config.optim._get_node(part), f"optim.{part}")
        if config.optim[part].get("_partial_") is not True:
            raise InvalidInput(f"optim.{part}._partial_ must be true: the parameters are given later.")
    for name in map(str, config.callbacks):
        _check_class(config.callbacks._get_node(name), f"callbacks.{name}")
    for group in (*CLASSES, "optim", "callbacks"):
        check_arguments(config[group], group, GIVEN.get(group, ()))
    for group in ("logger", "callbacks"):  # the others are built, and have better words of their own
        check_kinds(config[group], group)


def _check_class(node: Any, where: str) -> None:
    """Raise :class:`InvalidInput` unless ``node`` names a class."""
    if not isinstance(node, DictConfig) or node._is_none() or "_target_" not in node:
        shown = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else node
        raise InvalidInput(f"{where} must name a class or function as _target_; got {shown!r}.")


def _build(config: DictConfig, read: dict[str, Any], built: set[str]) -> None:
    """What is quick to build; ``read`` are the data modules made so far, ``built`` the jobs' common parts."""
    data = _data(config, read)
    values = {str(key): value for key in config.trainer for known, value in [_plain(config.trainer, key)] if known}
    check_trainer(values, data.batch_size)
    check_kinds(config.trainer, "trainer")
    if (text := "".join(OmegaConf.to_yaml(config[group]) for group in (*CLASSES[:4], "optim", "callbacks"))) in built:
        return
    try:
        if data.quick():
            made = parts(config, data.facts)
            task, optimizer, scheduler = made.task, made.optimizer, made.scheduler
        else:
            task, optimizer, scheduler = _stand_ins(config, data)
    except InstantiationException:
        for group in ("model", "head", "task"):  # a class of the user's may leave it to us to tell
            check_kinds(config[group], group)
        raise
    for group in ("model", "head", "task"):
        check_kinds(config[group], group)
    _check_monitors(config.callbacks, task)
    _check_optim(config, optimizer, scheduler)
    built.add(text)


def _plain(node: DictConfig, key: Any) -> tuple[bool, Any]:
    """(whether it is known, the value of ``key`` as a plain value)."""
    known, value = look_up(node, key, f"trainer.{key}")
    return known, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _data(config: DictConfig, read: dict[str, Any]) -> DataModule:
    text = OmegaConf.to_yaml(config.data)
    if text not in read:
        data = make(config, "data")
        if not isinstance(data, DataModule):
            raise InvalidInput(f"data._target_ must be a DataModule; got {config.data._target_!r}.")
        check_kinds(config.data, "data")
        if data.quick():
            try:
                data.setup()
            except InvalidInput as error:
                raise InvalidInput(f"data.{error}") from error
        read[text] = data
    return read[text]


def _stand_ins(config: DictConfig, data: DataModule) -> tuple[Task, Any, Any]:
    """The task and the makers of optimizer and schedule, of data that are not read; model and head are tried too."""
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
    for name, low in OPTIMIZER.items():
        if name in config.optim.optimizer and config.optim.optimizer[name] is not None:
            in_range(f"optim.optimizer.{name}", config.optim.optimizer[name], low, sys.float_info.max)
    check_kinds(config.optim, "optim")
    where = "optim.optimizer"
    try:
        made = optimizer([torch.nn.Parameter(torch.zeros(1))])
        where = "optim.scheduler"
        scheduler(made)
    except Exception as error:
        raise mistake(error, where, config) or error from error
