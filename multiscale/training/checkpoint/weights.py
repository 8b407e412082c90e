"""Weights of a checkpoint in another module, if it is of the same architecture and reads the same symbols."""

from pathlib import Path
from typing import Any

from torch import nn

from multiscale.checks import InvalidInput
from multiscale.training.checkpoint import files
from multiscale.training.module import SequenceModule

SHOWN = 8  # differences that an error lists


def differences(module: nn.Module, weights: dict[str, Any]) -> list[str]:
    """In which tensors the ``weights`` of a checkpoint are not those of ``module``, in words."""
    own = module.state_dict()
    shapes = {name: (list(tensor.shape), list(weights[name].shape)) for name, tensor in own.items() if name in weights}
    lines = [f"{name} is {theirs} there and {ours} here" for name, (ours, theirs) in shapes.items() if ours != theirs]
    lines += [f"{name} {list(own[name].shape)} is only here" for name in own if name not in weights]
    lines += [f"{name} {list(weights[name].shape)} is only there" for name in weights if name not in own]
    return lines


def check(module: SequenceModule, checkpoint: dict[str, Any], path: Path) -> None:
    """Raise :class:`InvalidInput` unless the checkpoint fits ``module``; lists what differs."""
    lines = differences(module, checkpoint["state_dict"])
    theirs, ours = (recipe.get("facts", {}).get("vocabulary") for recipe in (checkpoint["recipe"], module.recipe))
    if not lines and theirs and ours and list(theirs) != list(ours):
        lines = [f"the vocabulary has {len(theirs)} symbols there, {''.join(theirs)!r:.60}, and others here"]
    if lines:
        more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise InvalidInput(f"{path} is of another network: {'; '.join(lines[:SHOWN])}{more}.")


def adopt(module: SequenceModule, path: str | Path) -> None:
    """Begin with the weights of a checkpoint; raises :class:`InvalidInput` if it is damaged or does not fit."""
    checkpoint = files.load(path)
    check(module, checkpoint, Path(path))
    module.load_state_dict(checkpoint["state_dict"])


def load_training(module: SequenceModule, path: Path, processes: int) -> dict[str, Any]:
    """The checkpoint of a training that ``processes`` of ``module`` can go on with.

    Raises:
        InvalidInput: if it is damaged, does not fit, has weights only, or is of another number of processes.
    """
    checkpoint = files.load(path)
    check(module, checkpoint, path)
    if "resume" not in checkpoint:
        raise InvalidInput(f"{path} has weights and no whole training: init_from={path} begins a new one with them.")
    there = len(checkpoint["resume"]["processes"])
    if there != processes:
        raise InvalidInput(f"{path} is of a training in {there} processes; it cannot go on in {processes}.")
    return checkpoint
