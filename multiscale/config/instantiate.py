"""From a node of the config to the object that its ``_target_`` names, with what a user got wrong in one line."""

import re
import sys
from collections.abc import Collection, Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from multiscale.checks import InvalidInput, nearest
from multiscale.config.annotations import check_kind
from multiscale.config.signatures import signature

ALLOWED = ("multiscale.", "torch.optim.", "pytorch_lightning.")
SPECIAL = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")  # Hydra's own keys
FEW = 30  # more arguments than that are not listed beside a hint


def make(config: DictConfig, key: str, **given: Any) -> Any:
    """Instantiate the node at ``key``, which may have dots, with what is ``given`` beside it.

    Raises:
        InvalidInput: for what a user got wrong.
    """
    node = OmegaConf.select(config, key)
    check_arguments(node, key, given)
    try:
        return instantiate(node, **given)
    except InstantiationException as error:
        place = re.search(r"^full_key: (\S+)$", str(error), re.MULTILINE)
        where = place[1] if place and place[1].startswith(f"{key}.") else key
        if found := mistake(error.__cause__, where, config):
            raise found from error
        check_kinds(node, key)  # a class of the user's may leave it to us to tell
        raise


def mistake(cause: BaseException | None, where: str, config: DictConfig) -> InvalidInput | None:
    """What a constructor raised as a user's mistake; None if it is none of the user's.

    A class from elsewhere says with a ValueError or TypeError what it does not take; of ours only
    :class:`InvalidInput` is meant for the user.
    """
    if isinstance(cause, InvalidInput):
        return InvalidInput(f"{where}.{cause}")
    node = OmegaConf.select(config, where)
    target = str(node.get("_target_", "")) if isinstance(node, DictConfig) else ""
    refusals: tuple[type[BaseException], ...] = (ValueError, TypeError) if target.startswith(ALLOWED[1:]) else ()
    # Lightning's own kind of refusal; it can only have been raised if the module that defines it is loaded.
    lightning = sys.modules.get("pytorch_lightning.utilities.exceptions")
    refusals += (lightning.MisconfigurationException,) if lightning else ()
    if not isinstance(cause, refusals):
        return None
    return InvalidInput(f"{where} is refused by {target}: {first_line(cause)}")


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its kind if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def check_arguments(node: Any, where: str, given: Collection[str] = ()) -> None:
    """Raise :class:`InvalidInput` for a key below ``node`` that is not set, missing, or that its class does not take.

    ``given`` are the arguments that ``node`` gets from elsewhere, and may not set.
    """
    if isinstance(node, ListConfig):
        for i in range(len(node)):
            check_arguments(node._get_node(i), f"{where}[{i}]")
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return
    for key in node:
        if OmegaConf.is_missing(node, key):
            raise InvalidInput(f"{where}.{key!s} must be given, as {where}.{key!s}=...")
    if "_target_" in node:
        _check_names(node, where, given)
    for key, value in node.items_ex(resolve=False):
        check_arguments(value, f"{where}.{key!s}")


def _check_names(node: DictConfig, where: str, given: Collection[str]) -> None:
    try:
        takes = signature(str(node._target_))
    except InvalidInput as error:
        raise InvalidInput(f"{where}.{error}") from error
    allowed = [name for name in takes.arguments if name not in given]
    for key in map(str, node):
        if key not in SPECIAL and key in given:
            raise InvalidInput(f"{where}.{key} is not for you to set: a run gives it. Remove it.")
        if key not in SPECIAL and key not in allowed and (key.startswith("_") or not takes.anything):
            hint = nearest(key, allowed)
            told = "" if hint and len(allowed) > FEW else f"; allowed are {', '.join(allowed) or 'none'}"
            raise InvalidInput(f"{where}.{key} is not an argument of {node._target_}{told}.{hint}")
    if "_args_" in node or ("_partial_" in node and not given):
        return
    for name, argument in takes.arguments.items():
        if argument.required and name not in (*given, *node):
            raise InvalidInput(f"{where}.{name} must be given, as {where}.{name}=...; {node._target_} needs it.")


def check_kinds(node: Any, where: str) -> None:
    """Raise :class:`InvalidInput` for a value below ``node`` of another kind than its class annotates."""
    if not isinstance(node, DictConfig) or node._is_none():
        return
    takes = signature(str(node._target_)).arguments if "_target_" in node else {}
    for key in map(str, node):
        known, value = look_up(node, key, f"{where}.{key}")
        if not known:
            continue
        if key in takes:
            check_kind(f"{where}.{key}", value, takes[key].annotation, takes[key].nullable)
        check_kinds(value, f"{where}.{key}")


def look_up(node: DictConfig, key: str, where: str) -> tuple[bool, Any]:
    """(whether it is known before a run, the value of ``key``); a run's folder, for one, is not.

    Raises:
        InvalidInput: for an interpolation of a key that does not exist.
    """
    try:
        return True, node[key]
    except InterpolationKeyError as error:
        written = OmegaConf.to_container(node, resolve=False)
        shown = written.get(key) if isinstance(written, dict) else None
        raise InvalidInput(f"{where} must refer to a key that exists; got {shown!r}. {first_line(error)}.") from error
    except OmegaConfBaseException:
        return False, None


def plain(node: DictConfig, where: str) -> dict[str, Any]:
    """The values below ``node`` that are known before a run, as plain ones."""
    values = {str(key): look_up(node, str(key), f"{where}.{key!s}") for key in node}
    return {k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, (known, v) in values.items() if known}


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
