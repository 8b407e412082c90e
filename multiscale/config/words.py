"""Words of a command line: what each says, what of a group it chooses, and what it sweeps over."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from multiscale.checks import InvalidInput, first_line, nearest

SEVERAL = ("logger", "callbacks")  # groups of which a run may have several, as logger=[wandb,tensorboard]
NO_GROUPS = {"search": "python -m multiscale.search", "sweep": "wandb sweep"}  # folders that others read


def parse(text: str) -> Override:
    """A word as Hydra reads it; raises :class:`InvalidInput` for one that it cannot read."""
    if "=" not in text and not text.startswith("~"):
        raise InvalidInput(f"{text!r} is not of the form key=value.")
    try:
        return OverridesParser.create().parse_override(quote(text))
    except HydraException as error:
        quotes = "; such a value stands in quotes of its own, as 'key=\"value\"'"
        hint = quotes if "token recognition" in str(error) else ""
        raise InvalidInput(f"{text!r} is not of the form key=value: {first_line(error)}{hint}") from error


def quote(word: str) -> str:
    """A word as Hydra reads it: a value with letters that are not ASCII, as in the name of a file, in quotes."""
    key, equals, value = word.partition("=")
    plain = value.isascii() or not value.isprintable() or any(character in value for character in "'\"[]{},\\")
    return word if plain else f"{key}{equals}'{value}'"


def picks(override: Override, folders: Sequence[Path]) -> list[str]:
    """What a swept override takes, one value a job."""
    value = override.value()
    if isinstance(value, Glob):
        names = choices(override.key_or_group, folders)
        if picked := list(value.filter(names)):
            return picked
        raise InvalidInput(f"{override.input_line} must match one of {', '.join(names) or 'the choices of a group'}.")
    if not override.is_discrete_sweep():
        raise InvalidInput(f"{override.input_line} must list values, as a,b or range(1,4).")
    return list(override.sweep_string_iterator())


def word_of(override: Override, pick: str | None) -> str:
    """A word for one job, with what it takes of a sweep."""
    if pick is None:
        return str(override.input_line)
    return f"{override.get_key_element()}={pick}"


def choices(group: str, folders: Sequence[Path]) -> list[str]:
    tops = [folder / group for folder in folders]
    return sorted({str(file.relative_to(top).with_suffix("")) for top in tops for file in top.rglob("*.yaml")})


def check_choice(override: Override, value: str, folders: Sequence[Path]) -> None:
    """Raise :class:`InvalidInput` for a choice that a group does not have."""
    group = override.key_or_group
    if group in NO_GROUPS:
        raise InvalidInput(f"{group} is no group of a run; it is for `{NO_GROUPS[group]}`; got {group}={value}.")
    if override.is_delete() or not any((folder / group).is_dir() for folder in folders):
        return
    allowed = choices(group, folders)
    several = value.strip("[]").split(",") if group in SEVERAL else [value]
    for choice in map(str.strip, several):
        if choice not in allowed:
            raise InvalidInput(
                f"{group} must be one of {', '.join(allowed)}; got {choice!r}.{nearest(choice, allowed)}"
            )
