"""From a config and the facts of the data to a module; checkpoints back to modules."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from multiscale.config.foreign import check_foreign, read_packages
from multiscale.data.facts import Facts
from multiscale.training.checkpoint import files
from multiscale.training.module import SequenceModule
from multiscale.training.parts import Parts, build_parts

PARTS = ("model", "head", "task", "optim")


def build(config: DictConfig, facts: Facts) -> SequenceModule:
    """The module that the groups model, head, task and optim of ``config`` describe, for data of these facts.

    Raises:
        InvalidInput: for what the user got wrong.
    """
    return assemble(config, build_parts(config, facts), facts)


def assemble(config: DictConfig, parts: Parts, facts: Facts) -> SequenceModule:
    """The module of ``parts`` that were built from ``config``, with the recipe by which its checkpoints rebuild it."""
    module = SequenceModule(*parts, facts.streams)
    plain = {part: OmegaConf.to_container(config[part], resolve=True) for part in PARTS}
    # Plain values, so that a checkpoint loads with weights_only=True and can rebuild the module by itself.
    kind = f"{type(facts).__module__}.{type(facts).__qualname__}"
    module.facts, module.recipe = facts, {"config": plain, "facts": {"_target_": kind, **asdict(facts)}}
    return module


def load(path: str | Path, trust: Sequence[str] = ()) -> SequenceModule:
    """The trained module of a checkpoint, in eval mode on the CPU. ``trust`` names packages beside ours whose classes
    its config may name, as ("mine.",); whatever they do when imported, they do.

    Raises:
        InvalidInput: if the file is missing or not such a checkpoint, or if its config is more than data, as
            :func:`multiscale.config.foreign.check_foreign` has it.
    """
    checkpoint = files.load(path)
    recipe, weights = checkpoint["recipe"], checkpoint["state_dict"]
    check_foreign({**recipe["config"], "facts": recipe["facts"]}, read_packages(trust))
    module = build(OmegaConf.create(recipe["config"]), _facts(recipe["facts"]))
    module.load_state_dict(weights)
    return module.eval()


def _facts(stored: dict[str, Any]) -> Facts:
    """The facts that a checkpoint holds."""
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items() if name != "_target_"}
    return get_object(stored["_target_"])(**values)
