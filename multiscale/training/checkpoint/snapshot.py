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
from multiscale.training.logging.csv_log import logged_rows
from multiscale.training.module import SequenceModule

EDGE, MIDDLE, VALIDATION, END = (
    "edge",
    "middle",
    "validation",
    "end",
)  # before an epoch, a step, a validation; after all
TRACKED = ("ready", "started", "processed", "completed")


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


def take(trainer: pl.Trainer, module: SequenceModule, where: str, states: dict[str, Any]) -> dict[str, Any]:
    """The snapshot of all processes, ``where`` the training is; ``states`` are this one's random states there."""
    loop = trainer.fit_loop.epoch_loop
    batch = loop.batch_progress.current.completed if where in (MIDDLE, VALIDATION) else 0
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
        "at": [trainer.fit_loop.epoch_progress.state_dict()["current"]["processed"], batch],
        "stepped": loop._batches_that_stepped,
        "metrics": {name: _cpu(value) for name, value in trainer.callback_metrics.items()},
        "rows": logged_rows(trainer.loggers),
        "until": [trainer.max_epochs, trainer.max_steps],
        "processes": everyones,
    }


def over(snapshot: dict[str, Any], trainer: pl.Trainer) -> bool:
    """Whether the training had come to its end, and is not asked to go on for longer."""
    return snapshot["where"] == END and snapshot["until"] == [trainer.max_epochs, trainer.max_steps]


def settle(loops: dict[str, Any], where: str) -> None:
    """Make the counters of a Lightning checkpoint those of a training that stands still at ``where``."""
    fit = loops["fit_loop"]
    for key, progress in fit.items():
        trackers = [progress] if "total" in progress else list(progress.get("optimizer", {}).values())
        if key == "epoch_progress" and where in (MIDDLE, VALIDATION):
            continue  # this epoch has begun and is not over
        for tracker in trackers:
            for counts in (tracker["total"], tracker["current"]):
                for name in TRACKED:
                    if name in counts:
                        counts[name] = counts["completed"]
    if where != VALIDATION:
        fit["epoch_loop.batch_progress"]["is_last_batch"] = False
    else:  # Lightning's sign for: begin with the validation
        begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        fit["epoch_loop.val_loop.batch_progress"].update(total=dict(begun), current=dict(begun))


def restore(trainer: pl.Trainer, module: SequenceModule, snapshot: dict[str, Any]) -> None:
    """Put back what :func:`take` took; called at the very place where it was taken."""
    mine = snapshot["processes"][trainer.global_rank]
    module.carried["train"] = _to(mine["carried"], module.device)
    for name, parameter in module.named_parameters():
        if name in mine["gradients"]:
            parameter.grad = mine["gradients"][name].to(parameter.device)
    fit = trainer.fit_loop
    # Lightning holds that an epoch entered in its middle is special until its end, and skips schedules then.
    fit.restarting = False
    fit.epoch_loop._batches_that_stepped = snapshot["stepped"]
    if snapshot["where"] == VALIDATION:
        fit.epoch_loop.val_loop.batch_progress.reset()
    metrics = {name: value.to(module.device) for name, value in snapshot["metrics"].items()}
    trainer._logger_connector._callback_metrics.update(metrics)
    set_random_states(mine["random"], module.device)


def _cpu(value: Any) -> Any:
    return _to(value, torch.device("cpu"))


def _to(state: State | None, device: torch.device) -> Any:
    if isinstance(state, Tensor):
        return state.detach().to(device, copy=True)
    return None if state is None else tuple(_to(part, device) for part in state)
