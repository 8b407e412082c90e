"""Configs from elsewhere, as in run folders and checkpoints: data, until each object is known to be of its place."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from omegaconf import OmegaConf

from multiscale.checks import InvalidInput
from multiscale.config.instantiate import ALLOWED, SPECIAL, locate
from multiscale.config.kinds import read_classes, read_hints

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # many times as fast as OmegaConf's
DEEPEST = 50  # levels of mappings and lists; ours have about ten
TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"

KINDS = {  # of what an object must be, by its place at the top of a config
    "model": ("multiscale.backbones.base.Backbone",),
    "head": ("torch.nn.Module",),
    "data": ("multiscale.data.module.DataModule",),
    "facts": ("multiscale.data.facts.Facts",),
    "task": ("multiscale.training.tasks.base.Task",),
    "optim": ("torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"),
    "trainer": ("pytorch_lightning.Trainer",),
    "logger": ("pytorch_lightning.loggers.Logger",),
    "callbacks": ("pytorch_lightning.Callback",),
    "match": ("multiscale.training.match.Target",),
}


def parse_yaml(content: bytes) -> Any:
    """YAML as plain values; raises :class:`ValueError` for what is none, refers to itself, or is nested too deep."""
    depth = 0
    try:
        for event in yaml.parse(content, Loader=LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it refers to parts of itself")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(TOO_DEEP)
        return yaml.load(content, Loader=LOADER)
    except (yaml.YAMLError, OverflowError, AttributeError, TypeError) as error:  # its dates and keys fail in many ways
        if "nesting depth" in str(error):  # libyaml reads ahead, and has a limit of its own
            raise ValueError(TOO_DEEP) from error
        raise ValueError(str(error)) from error


def check_data(config: Any) -> None:
    """Raise :class:`InvalidInput` for a value that refers to another; ``${folder}`` is all that a config keeps."""
    for text in _texts(config):
        if OmegaConf.is_interpolation(OmegaConf.create({"value": text.replace("${folder}", "")}), "value"):
            raise InvalidInput(f"a config that is read must be data, and refer to nothing; it has {text!r}.")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if "${" in value:
            yield value
        return
    parts = (*value, *value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for part in parts:
        yield from _texts(part)


def read_packages(value: Any) -> tuple[str, ...]:
    """The packages that are to be trusted, each as the prefix of its names: ``mine.`` for ``mine``; raises
    :class:`InvalidInput` for what is no list of names."""
    packages = [value] if isinstance(value, str) else value
    if not isinstance(packages, list | tuple) or not all(isinstance(n, str) and n.strip(".") for n in packages):
        raise InvalidInput(f"trust must be a list of packages, as trust=[my_package.]; got {value!r}.")
    return tuple(name if name.endswith(".") else f"{name}." for name in packages)


def check_foreign(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> None:
    """Raise :class:`InvalidInput` unless a config of plain values is data whose objects are of their places' kinds.

    Each ``_target_`` must name a class that is defined in one of ``ALLOWED`` or of the packages in ``trusted``
    (prefixes, as ``their_package.``), and derives from what stands in that place: a backbone for the model, deeper
    down what the argument of the class above is annotated with.
    """
    check_data(config)
    for place, value in config.items():
        if _has_target(value):
            _check(value, str(place), tuple(map(locate, KINDS.get(str(place), ()))), (*ALLOWED, *trusted))


def _has_target(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (isinstance(value, dict) and "_target_" in value) or any(map(_has_target, inner))


def _check(value: Any, where: str, kinds: tuple[type, ...], allowed: tuple[str, ...]) -> None:
    if isinstance(value, list):
        for i, inner in enumerate(value):
            _check(inner, f"{where}[{i}]", kinds, allowed)
    if not isinstance(value, dict):
        return
    hints: dict[str, Any] | None = None
    if "_target_" in value:
        hints = read_hints(_find_class(value["_target_"], where, kinds, allowed))
    for key, inner in value.items():
        below = kinds if hints is None else () if key in SPECIAL else tuple(read_classes(hints.get(key)))
        _check(inner, f"{where}.{key}", below, allowed)


def _find_class(target: Any, where: str, kinds: tuple[type, ...], allowed: tuple[str, ...]) -> type:
    """The class that a foreign config names, if it may stand there."""
    if not str(target).startswith(allowed):
        raise InvalidInput(
            f"{where}._target_ must start with one of {', '.join(allowed)}; the config has {target!r}. "
            "If you know where it is from, trust=[its package.] lets it."
        )
    found = locate(str(target))
    if not isinstance(found, type) or not f"{found.__module__}.".startswith(allowed):
        raise InvalidInput(f"{where}._target_ must be a class that is defined in an allowed package; got {target!r}.")
    if not kinds or not issubclass(found, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise InvalidInput(
            f"{where}._target_ must be a kind of {wanted}; got {target!r}."
            if kinds
            else f"{where} must be plain values; got an object, {target!r}."
        )
    return found
