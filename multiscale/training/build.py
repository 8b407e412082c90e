"""From a composed config and the facts of the data to a module; checkpoints back to modules."""

import inspect
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from multiscale.checks import InvalidInput, nearest
from multiscale.data.facts import Facts
from multiscale.training import storage
from multiscale.training.module import SequenceModule

PARTS = ("model", "head", "task", "optim")
ALLOWED = ("multiscale.", "torch.optim.", "pytorch_lightning.")


def make(config: DictConfig, key: str, **given: Any) -> Any:
    """Instantiate ``config[key]`` with ``given`` sizes; what a user got wrong raises :class:`InvalidInput`."""
    check_arguments(config[key], key)
    try:
        return instantiate(config[key], **given)
    except InstantiationException as error:
        if isinstance(error.__cause__, InvalidInput | MisconfigurationException):
            raise InvalidInput(f"{key}.{error.__cause__}") from error
        raise


def check_arguments(node: Any, where: str) -> None:
    """Raise :class:`InvalidInput` for a key below ``node`` that is not given or that its class does not take."""
    if not isinstance(node, DictConfig):
        return
    if "_target_" in node:
        allowed = inspect.signature(get_object(node._target_)).parameters
        for key in node:
            if not str(key).startswith("_") and key not in allowed:
                raise InvalidInput(
                    f"{where}.{key!s} is not an argument of {node._target_}; allowed are {', '.join(allowed)}."
                    f"{nearest(str(key), allowed)}"
                )
    for key, value in node.items_ex(resolve=False):
        if OmegaConf.is_missing(node, key):
            raise InvalidInput(f"{where}.{key!s} must be given, as {where}.{key!s}=...")
        check_arguments(value, f"{where}.{key!s}")


def build(config: DictConfig, facts: Facts) -> SequenceModule:
    """The module that ``config`` (with the groups model, head, task and optim) describes, for data of these facts."""
    task = make(config, "task")
    task.check(facts)
    encoder = task.encoder(facts)
    directions = 2 if task.bidirectional else 1
    backbones = [make(config, "model", input_size=encoder.output_size) for _ in range(directions)]
    wide = tuple(directions * size for size in backbones[0].level_sizes)
    head = make(config, "head", level_sizes=wide, output_size=task.output_size(facts))
    optim = make(config, "optim")
    reverse = backbones[1] if task.bidirectional else None
    schedule = (optim["optimizer"], optim["scheduler"])
    module = SequenceModule(encoder, backbones[0], head, task, *schedule, reverse, facts.streams)
    plain = {part: OmegaConf.to_container(config[part], resolve=True) for part in PARTS}
    # Plain values, so that a checkpoint loads with weights_only=True and can rebuild the module by itself.
    kind = f"{type(facts).__module__}.{type(facts).__qualname__}"
    module.facts, module.recipe = facts, {"config": plain, "facts": {"_target_": kind, **asdict(facts)}}
    return module


def load(path: str | Path) -> SequenceModule:
    """The trained module of a checkpoint, in eval mode on the CPU.

    Raises:
        InvalidInput: if the file is missing or not such a checkpoint, or if its config names a class outside
            of ``multiscale``, ``torch.optim`` and ``pytorch_lightning``.
    """
    checkpoint = storage.load(path)
    recipe, weights = checkpoint["recipe"], checkpoint["state_dict"]
    check_targets([recipe["config"], recipe["facts"]])
    module = build(OmegaConf.create(recipe["config"]), _facts(recipe["facts"]))
    module.load_state_dict(weights)
    return module.eval()


def _facts(stored: dict[str, Any]) -> Facts:
    """The facts that a checkpoint holds."""
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items() if name != "_target_"}
    kind: Any = get_object(stored["_target_"])
    if not (isinstance(kind, type) and issubclass(kind, Facts)):
        raise InvalidInput(f"_target_ of the facts must be a kind of Facts; the checkpoint has {stored['_target_']!r}.")
    make_facts: Any = kind
    return make_facts(**values)


def check_targets(config: Any, trusted: Sequence[str] = ()) -> None:
    """Raise :class:`InvalidInput` for a ``_target_`` anywhere in a foreign config that is not on the allowlist.

    ``trusted`` are prefixes of other classes that it may name.
    """
    allowed = (*ALLOWED, *trusted)
    values = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    target = config.get("_target_", ALLOWED[0]) if isinstance(config, dict) else ALLOWED[0]
    if not str(target).startswith(allowed):
        raise InvalidInput(
            f"_target_ must start with one of {', '.join(allowed)}; the config has {target!r}. "
            "If you know where it is from, trust=[its package.] lets it."
        )
    for value in values:
        check_targets(value, trusted)
