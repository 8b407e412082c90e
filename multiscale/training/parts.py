"""From a composed config and the facts of the data to the parts of a module, without Lightning."""

from collections.abc import Callable
from typing import Any, NamedTuple

from omegaconf import DictConfig
from torch import nn

from multiscale.backbones.base import Backbone
from multiscale.config.instantiate import make
from multiscale.data.facts import Facts
from multiscale.training.tasks.base import Task


class Parts(NamedTuple):
    """What a module is made of; ``reverse`` is the backbone that reads from the end, if the task wants one."""

    encoder: nn.Module
    backbone: Backbone
    head: nn.Module
    task: Task
    optimizer: Callable[..., Any]
    scheduler: Callable[..., Any] | None
    interval: str  # when that steps
    reverse: Backbone | None


def build_parts(config: DictConfig, facts: Facts) -> Parts:
    """The parts that the groups model, head, task and optim describe, for data of these facts.

    Raises:
        InvalidInput: for what the user got wrong.
    """
    task = make(config, "task")
    task.check(facts)
    encoder = task.encoder(facts)
    directions = 2 if task.bidirectional else 1
    backbones = [make(config, "model", input_size=encoder.output_size) for _ in range(directions)]
    wide = tuple(directions * size for size in backbones[0].level_sizes)
    head = make(config, "head", level_sizes=wide, output_size=task.output_size(facts))
    optim = make(config, "optim")
    reverse = backbones[1] if task.bidirectional else None
    return Parts(encoder, backbones[0], head, task, optim["optimizer"], optim["scheduler"], optim["interval"], reverse)
