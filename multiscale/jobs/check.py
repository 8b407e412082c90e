"""What is wrong with a config that can be told without torch, and so in a part of a second."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from multiscale.checks import InvalidInput, in_range, nearest, one_of, positive_int, real, seed_number
from multiscale.config.compose import Job
from multiscale.config.identity import flatten, to_plain
from multiscale.training.devices import count_processes
from multiscale.training.trainer import check_ranges

CLASSES = ("model", "head", "data", "task", "trainer")  # groups that name one class or function
OPTIM = ("optimizer", "scheduler", "interval")  # what the group optim consists of
INTERVALS = ("epoch", "step")

# What optimizers and schedules of torch have in common: the most that each may be; the least is 0.
MOST = {
    "optim.optimizer": dict.fromkeys(("lr", "weight_decay", "momentum", "eps"), float("inf")),
    "optim.scheduler": {"factor": 1.0, "gamma": float("inf")},
}

LENGTHS = ("max_epochs", "max_steps", "max_time")  # any of which ends a training


def check_words(jobs: Sequence[Job]) -> None:
    """Raise :class:`InvalidInput` for what can be told of any of these jobs before torch is there."""
    for job in jobs:
        with job.named():
            check_start(job.config)
            check_plain(job.config)


def check_plain(config: DictConfig) -> None:
    """Raise :class:`InvalidInput` for what can be told from the config alone."""
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
