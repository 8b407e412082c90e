"""From a node of the config to the object that its ``_target_`` names, with what a user got wrong in one line."""

import inspect
import logging
import sys
from collections.abc import Collection, Mapping
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, NamedTuple

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from multiscale.checks import InvalidInput, first_line, nearest
from multiscale.config.identity import MISSING, to_plain
from multiscale.config.kinds import find_wrong_kind

ALLOWED = ("multiscale.", "torch.optim.", "pytorch_lightning.")
SPECIAL = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")  # Hydra's own keys
logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it tells what cannot be found beside raising it

FEW = 30  # more arguments than that are not listed beside a hint


class Arguments(NamedTuple):
    """What a class or function takes by name; ``anything`` if all names are taken."""

    named: dict[str, inspect.Parameter]
    anything: bool


def make(config: DictConfig, key: str, **given: Any) -> Any:
    """Instantiate the node at ``key``, which may have dots, with what is ``given`` beside it; lists and mappings plain.

    Raises:
        InvalidInput: for what a user got wrong.
    """
    return _make(to_plain(OmegaConf.select(config, key)), key, given)


def _make(node: Any, where: str, given: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_make(inner, f"{where}[{i}]", {}) for i, inner in enumerate(node)]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {key: _make(inner, f"{where}.{key}", {}) for key, inner in node.items()}
    _check_node(node, where, given)
    nested = node.get("_recursive_", True)
    values = {key: inner for key, inner in node.items() if key not in SPECIAL}
    target, wrong = locate(str(node["_target_"])), _wrong_kind(node, where)
    if wrong and wrong.at_top:
        raise wrong.error
    values = {key: _make(inner, f"{where}.{key}", {}) if nested else inner for key, inner in values.items()}
    call = partial(target, *node.get("_args_", ()), **values, **given)
    if node.get("_partial_", False):
        made: Any = call
    else:
        try:
            made = call()
        except Exception as error:
            raise describe_mistake(error, where, str(node["_target_"])) or error from error
    if wrong:  # the class took it, and might have told it better
        raise wrong.error
    return made


def describe_mistake(cause: BaseException | None, where: str, target: str) -> InvalidInput | None:
    """What ``target`` raised as a user's mistake at ``where``; None if it is none of the user's.

    A class from elsewhere says with a ValueError or TypeError what it does not take; of ours only
    :class:`InvalidInput` is meant for the user.
    """
    if isinstance(cause, InvalidInput):
        return InvalidInput(f"{where}.{cause}")
    refusals: tuple[type[BaseException], ...] = (ValueError, TypeError) if target.startswith(ALLOWED[1:]) else ()
    # Lightning's own kind of refusal; it can only have been raised if the module that defines it is loaded.
    lightning = sys.modules.get("pytorch_lightning.utilities.exceptions")
    refusals += (lightning.MisconfigurationException,) if lightning else ()
    if not isinstance(cause, refusals):
        return None
    return InvalidInput(f"{where} is refused by {target}: {first_line(cause)}")


def check_names(config: DictConfig, key: str, given: Collection[str] = ()) -> None:
    """Raise :class:`InvalidInput` for a key at or below ``key`` that is missing, or that its class does not take.

    ``given`` are the arguments that the node gets from elsewhere, and may not set.
    """
    _check_all(to_plain(OmegaConf.select(config, key)), key, given)


def _check_all(node: Any, where: str, given: Collection[str]) -> None:
    if isinstance(node, list):
        for i, inner in enumerate(node):
            _check_all(inner, f"{where}[{i}]", ())
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if value == MISSING:
            raise InvalidInput(f"{where}.{key} must be given, as {where}.{key}=...")
    if "_target_" in node:
        _check_node(node, where, given)
    for key, value in node.items():
        _check_all(value, f"{where}.{key}", ())


def _check_node(node: Mapping[str, Any], where: str, given: Collection[str]) -> None:
    target = str(node["_target_"])
    try:
        takes = read_arguments(target)
    except InvalidInput as error:
        raise InvalidInput(f"{where}.{error}") from error
    if not isinstance(node.get("_args_", []), list):
        raise InvalidInput(f"{where}._args_ must be a list; got {node['_args_']!r}.")
    allowed = [name for name in takes.named if name not in given]
    for key in map(str, node):
        if key not in SPECIAL and key in given:
            raise InvalidInput(f"{where}.{key} is not for you to set: a run gives it. Remove it.")
        if key not in SPECIAL and key not in allowed and (key.startswith("_") or not takes.anything):
            hint = nearest(key, allowed)
            told = "" if hint and len(allowed) > FEW else f"; allowed are {', '.join(allowed) or 'none'}"
            raise InvalidInput(f"{where}.{key} is not an argument of {target}{told}.{hint}")
    if "_args_" in node or ("_partial_" in node and not given):
        return
    for name, parameter in takes.named.items():
        if parameter.default is parameter.empty and name not in (*given, *node):
            raise InvalidInput(f"{where}.{name} must be given, as {where}.{name}=...; {target} needs it.")


def _wrong_kind(node: Mapping[str, Any], where: str) -> Any:
    """The first value of a node that is of another kind than its class annotates, if there is one."""
    target, takes = locate(str(node["_target_"])), read_arguments(str(node["_target_"])).named
    for key, value in node.items():
        if key in takes and (wrong := find_wrong_kind(f"{where}.{key}", value, target, takes[key])):
            return wrong
    return None


@cache
def read_arguments(target: str) -> Arguments:
    """What the class or function of this dotted name takes; raises :class:`InvalidInput` if there is none."""
    try:
        parameters = inspect.signature(locate(target)).parameters.values()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"_target_ must name a class or function; got {target!r}: {first_line(error)}") from error
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return Arguments(named, any(p.kind is p.VAR_KEYWORD for p in parameters))


def locate(target: str) -> Any:
    """The class or function of a dotted name; raises :class:`InvalidInput` if there is none."""
    module, _, name = target.rpartition(".")
    if not module:
        raise InvalidInput(f"_target_ must be of the form package.module.Class; got {target!r}.")
    try:
        return get_object(target)
    except Exception as error:  # what a module does while it is imported is its own affair
        if not _is_installed(target.partition(".")[0]):
            raise InvalidInput(
                f"_target_ must name a class or function; got {target!r}, whose package is not found."
            ) from error
        try:
            holder = get_object(module)
        except Exception:
            raise InvalidInput(
                f"_target_ must name a class or function; got {target!r}: {first_line(error)}"
            ) from error
        raise InvalidInput(
            f"_target_ must be in {module}, which has no {name!r}.{nearest(name, dir(holder))}"
        ) from error


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ValueError, ImportError):
        return False
