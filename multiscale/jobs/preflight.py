"""The checks of every job before anything runs, in the second or two that torch needs, without importing Lightning.

Names and kinds of arguments are read from the sources of the classes; what is quick to build is built and asked. What
cannot be seen this way is left to :func:`multiscale.jobs.train.rehearse`.
"""

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from multiscale.checks import InvalidInput, in_range, nearest, positive_int, real
from multiscale.config.compose import Job
from multiscale.config.instantiate import check_arguments, check_kinds, look_up, plain
from multiscale.training.trainer_checks import check_values

CLASSES = ("model", "head", "data", "task", "trainer", "logger")  # groups that name one class or function
PARTS = ("optimizer", "scheduler")  # of the group optim

# What optimizers and schedules of torch have in common: the most that each may be; the least is 0.
MOST = {
    "optim.optimizer": dict.fromkeys(("lr", "weight_decay", "momentum", "eps"), inf),
    "optim.scheduler": {"factor": 1.0, "gamma": inf},
}

# Arguments that a run gives.
GIVEN = {
    "model": ("input_size",),
    "head": ("level_sizes", "output_size"),
    "optim.optimizer": ("params",),
    "optim.scheduler": ("optimizer",),
    "trainer": ("logger", "callbacks", "default_root_dir"),
}


def preflight(jobs: Sequence[Job]) -> None:
    """Check every job of a command line; what several have in common is tried once.

    Raises:
        InvalidInput: for the first mistake; with the job's own words if there are several.
    """
    for job in jobs:
        with job.named():
            check_names(job.config)
            check_start(job.config)

    from multiscale.jobs.trial import Trial  # torch takes a second

    trial = Trial()
    for job in jobs:
        with job.named():
            trial.check(job.config)


def check_start(config: DictConfig) -> None:
    """Raise :class:`InvalidInput` for what a job needs before its first process starts, and has not."""
    if config.init_from is not None and not Path(config.init_from).is_file():
        raise InvalidInput(f"init_from must be a checkpoint of a run; there is no file {str(config.init_from)!r}.")
    _, colon, port = str(config.rendezvous or "").rpartition(":")
    if config.rendezvous is not None and not (colon and port.isdigit()):
        raise InvalidInput(f"rendezvous must be host:port; got {config.rendezvous!r}.")
    if config.trainer.get("num_nodes", 1) > 1 and config.rendezvous is None:
        raise InvalidInput(
            f"rendezvous must be given, as host:port, for trainer.num_nodes={config.trainer.num_nodes}: a port of one "
            "of the nodes that all of them reach."
        )


def check_names(config: DictConfig) -> None:
    """What can be told without torch: names, kinds of values, and ranges; raises :class:`InvalidInput`."""
    _check_references(config, "")
    seed = config.seed
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InvalidInput(f"seed must be a whole number from 0 to 2^32 - 1; got {seed!r}.")
    if config.threads is not None:
        positive_int("threads", config.threads)
    known, name = look_up(config, "name", "name")
    if known and name in (None, ""):
        raise InvalidInput(f"name must be a word; got {name!r}.")
    for group in CLASSES:
        _check_class(config[group], group)
    for key in map(str, config.optim):
        if key not in PARTS:
            inner = [f"{part}.{key}" for part in PARTS if key in (config.optim.get(part) or {})]
            hint = f" Did you mean 'optim.{inner[0]}'?" if inner else nearest(key, PARTS)
            raise InvalidInput(f"optim.{key} does not exist; below optim there is {', '.join(PARTS)}.{hint}")
    for part in PARTS:
        if part not in config.optim:
            raise InvalidInput(f"optim.{part} must not be removed: every run needs it.")
        _check_class(config.optim._get_node(part), f"optim.{part}")
        if config.optim[part].get("_partial_") is not True:
            raise InvalidInput(f"optim.{part}._partial_ must be true: what it works on is given later.")
    for name in map(str, config.callbacks):
        _check_class(config.callbacks._get_node(name), f"callbacks.{name}")
    for where in (*CLASSES, "optim.optimizer", "optim.scheduler", "callbacks"):
        check_arguments(OmegaConf.select(config, where), where, GIVEN.get(where, ()))
    check_values(plain(config.trainer, "trainer"))
    for where, most in MOST.items():
        for name, value in plain(OmegaConf.select(config, where), where).items():
            if name in most and value is not None:
                in_range(f"{where}.{name}", real(f"{where}.{name}", value), 0, most[name])
    for group in ("trainer", "logger", "callbacks", "optim"):  # the others check themselves when they are built
        check_kinds(config[group], group)


def _check_references(node: DictConfig, prefix: str) -> None:
    """Raise :class:`InvalidInput` for a value below ``node`` that refers to a key which does not exist."""
    for key in map(str, node):
        known, value = look_up(node, key, f"{prefix}{key}")
        if known and isinstance(value, DictConfig):
            _check_references(value, f"{prefix}{key}.")


def _check_class(node: Any, where: str) -> None:
    """Raise :class:`InvalidInput` unless ``node`` names a class."""
    if not isinstance(node, DictConfig) or node._is_none() or "_target_" not in node:
        shown = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else node
        raise InvalidInput(f"{where} must name a class or function as _target_; got {shown!r}.")
