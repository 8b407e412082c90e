"""All that a training is made of between two of its steps, so that it goes on bit for bit as if never stopped.

Lightning's checkpoint holds weights, optimizers, schedules, callbacks and counters. What it leaves out is gathered
here, for each process: random states, the state carried along streams, gradients being accumulated, the metrics that
schedules watch, how many rows were logged. And its counters are settled, as if nothing after the last whole step had
begun.
"""

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, distributed

from multiscale.backbones.base import State
from multiscale.training.checkpoint import lightning_internals as internals
from multiscale.training.logging.loggers import logged_rows
from multiscale.training.module import SequenceModule

EDGE, MIDDLE, VALIDATION = "edge", "middle", "validation"  # where a training stands: before an epoch, a step, those
END = "end"  # after all


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of every generator that a training may draw from, as plain values and tensors."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    states = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Undo what was drawn since :func:`random_states`."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def take(
    trainer: pl.Trainer, module: SequenceModule, where: str, states: dict[str, Any], validated: int
) -> dict[str, Any]:
    """The snapshot of all processes, ``where`` the training is.

    ``states`` are this process's random states there, ``validated`` the batches of this epoch's validations before.
    """
    epoch, batch = internals.position(trainer)
    batch = batch if where in (MIDDLE, VALIDATION) else 0
    accumulating = batch % trainer.accumulate_grad_batches != 0
    mine = {
        "random": states,
        "carried": _cpu(module.carried.get("train")),
        "gradients": {n: _cpu(p.grad) for n, p in module.named_parameters() if accumulating and p.grad is not None},
    }
    everyones: list[Any] = [mine] * trainer.world_size
    if trainer.world_size > 1:
        distributed.all_gather_object(everyones, mine)
    return {
        "where": where,
        "at": [epoch, batch],
        "validated": validated,
        "accumulates": trainer.accumulate_grad_batches,
        "stepped": internals.logged_step(trainer),
        "metrics": {name: _cpu(value) for name, value in trainer.callback_metrics.items()},
        "rows": logged_rows(trainer.loggers),
        "until": [trainer.max_epochs, trainer.max_steps],
        "processes": everyones,
    }


def is_finished(snapshot: dict[str, Any], trainer: pl.Trainer) -> bool:
    """Whether the training had come to its end, and is not asked to go on for longer."""
    return snapshot["where"] == END and snapshot["until"] == [trainer.max_epochs, trainer.max_steps]


def open_to_validation(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """Let a training that was stopped in the validation after its last step have it; :func:`restore` ends it then."""
    if checkpoint["resume"]["where"] == VALIDATION and checkpoint["global_step"] == trainer.max_steps:
        internals.set_max_steps(trainer, trainer.max_steps + 1)


def settle(loops: dict[str, Any], where: str) -> None:
    """Make the counters of a Lightning checkpoint those of a training that stands still at ``where``."""
    internals.settle_counters(loops, in_epoch=where in (MIDDLE, VALIDATION), in_validation=where == VALIDATION)


def restore(trainer: pl.Trainer, module: SequenceModule, snapshot: dict[str, Any]) -> None:
    """Put back what :func:`take` took; called at the very place where it was taken."""
    mine = snapshot["processes"][trainer.global_rank]
    module.carried["train"] = _to(mine["carried"], module.device)
    for name, parameter in module.named_parameters():
        if name in mine["gradients"]:
            parameter.grad = mine["gradients"][name].to(parameter.device)
    trainer.accumulate_grad_batches = snapshot["accumulates"]  # which a callback may change at the start of an epoch
    internals.forget_restart(trainer)
    internals.set_logged_step(trainer, snapshot["stepped"])
    if snapshot["where"] == VALIDATION:
        internals.forget_validation(trainer, snapshot["validated"])
        internals.set_max_steps(trainer, snapshot["until"][1])
    metrics = {name: value.to(module.device) for name, value in snapshot["metrics"].items()}
    internals.restore_metrics(trainer, metrics)
    set_random_states(mine["random"], module.device)


def _cpu(value: Any) -> Any:
    return _to(value, torch.device("cpu"))


def _to(state: State | None, device: torch.device) -> Any:
    if isinstance(state, Tensor):
        return state.detach().to(device, copy=True)
    return None if state is None else tuple(_to(part, device) for part in state)
