"""The config tree, and the checks of a command line before anything runs."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from multiscale.checks import InvalidInput, nearest

_PACKAGE = Path(__file__).parent.parent
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())

NO_GROUPS = {"search": "python -m multiscale.search", "sweep": "wandb sweep"}  # folders of CONF, and who reads them


@dataclass(frozen=True)
class Job:
    """One job of a command line, and the words that tell it from the other jobs of its sweep."""

    config: DictConfig
    words: tuple[str, ...] = ()

    @contextmanager
    def named(self) -> Iterator[None]:
        """A mistake found inside is told with the job that it is in."""
        try:
            yield
        except InvalidInput as error:
            if not self.words:
                raise
            raise InvalidInput(f"{error} This is the job {' '.join(self.words)}.") from error


def jobs(overrides: Sequence[str], config_dir: str | None = None, multirun: bool = False) -> list[DictConfig]:
    """The composed config of every job of a command line; arguments and errors as of :func:`composed`."""
    return [job.config for job in composed(overrides, config_dir, multirun=multirun)]


def composed(
    overrides: Sequence[str], config_dir: str | None = None, several: bool = True, multirun: bool = False
) -> list[Job]:
    """Every job of a command line: one, or the product of its lists.

    ``config_dir`` is searched for YAML after the project's own. ``several`` says that there may be more than one job.
    With ``multirun`` the lists that the config itself sweeps over, ``hydra.sweeper.params``, come first, but for keys
    that the command line gives. Values that only exist inside a run, such as its folder, are left as interpolations.

    Raises:
        InvalidInput: for an override that cannot be read, a group, choice or key that does not exist, or a value of a
            wrong kind; names the nearest valid one.
    """
    folders = [CONF, *([Path(config_dir).resolve()] if config_dir else [])]
    if config_dir and not folders[-1].is_dir():
        raise InvalidInput(f"--config-dir must be a folder; got {config_dir!r}.")
    parsed = [_parse(text) for text in overrides]
    lists = [o for o in parsed if o.is_sweep_override()]
    if lists and not several:
        raise InvalidInput(
            f"{lists[0].input_line} asks for several jobs, which takes -m; a list is written in brackets, as "
            f"{lists[0].get_key_element()}=[...]."
        )
    extra = [f"hydra.searchpath=[file://{folders[1]}]"] if config_dir else []
    made = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        if multirun:
            parsed = [*_swept_by_experiment(parsed, folders, extra), *parsed]
        choices = [_picks(o, folders) if o.is_sweep_override() else [None] for o in parsed]
        for picked in itertools.product(*choices):
            words = [_word(o, pick) for o, pick in zip(parsed, picked, strict=True)]
            for override, word in zip(parsed, words, strict=True):
                _check_choice(override, word.partition("=")[2], folders)
            job = Job(_compose(words, extra), tuple(w for w, pick in zip(words, picked, strict=True) if pick))
            with job.named():
                _check_top(job.config)
            made.append(job)
    return made


def _parse(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise InvalidInput(f"{text!r} is not of the form key=value: {_first_line(error)}") from error


def _picks(override: Override, folders: Sequence[Path]) -> list[str]:
    """What a swept override takes, one value a job."""
    value = override.value()
    if isinstance(value, Glob):
        return list(value.filter(_choices(override.key_or_group, folders)))
    if not override.is_discrete_sweep():
        raise InvalidInput(f"{override.input_line} must list values, as a,b or range(1,4).")
    return list(override.sweep_string_iterator())


def _swept_by_experiment(parsed: Sequence[Override], folders: Sequence[Path], extra: Sequence[str]) -> list[Override]:
    """The sweeps of the config itself, but for keys that the command line gives."""
    single = [override for override in parsed if not override.is_sweep_override()]
    words = [_word(override, None) for override in single]
    for override, word in zip(single, words, strict=True):
        _check_choice(override, word.partition("=")[2], folders)
    params = _compose(words, extra, with_hydra=True).hydra.sweeper.params or {}
    given = {override.get_key_element() for override in parsed}
    return [_parse(f"{key}={value}") for key, value in params.items() if key not in given]


def _word(override: Override, pick: str | None) -> str:
    if pick is None:
        return str(override.input_line)
    return f"{override.get_key_element()}={pick}"


def _choices(group: str, folders: Sequence[Path]) -> list[str]:
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})


def _check_choice(override: Override, value: str, folders: Sequence[Path]) -> None:
    """Raise :class:`InvalidInput` for a choice that a group does not have."""
    group = override.key_or_group
    if group in NO_GROUPS:
        raise InvalidInput(f"{group} is no group of a run; it is for `{NO_GROUPS[group]}`; got {group}={value}.")
    if override.is_delete() or not any((folder / group).is_dir() for folder in folders):
        return
    allowed = _choices(group, folders)
    if value not in allowed:
        raise InvalidInput(f"{group} must be one of {', '.join(allowed)}; got {value!r}.{nearest(value, allowed)}")


def _compose(words: Sequence[str], extra: Sequence[str], with_hydra: bool = False) -> DictConfig:
    try:
        return compose("config", overrides=[*words, *extra], return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException) as error:
        chosen = [word for word in words if (CONF / word.partition("=")[0]).is_dir()]
        try:
            known = compose("config", overrides=[*chosen, *extra])
        except (HydraException, OmegaConfBaseException):
            raise InvalidInput(_first_line(error)) from error
        for word in words:
            if word not in chosen:  # an experiment is no key of what it composes
                _check_key(word.partition("=")[0].lstrip("~"), known)
        raise InvalidInput(_first_line(error)) from error


def _check_key(path: str, known: DictConfig) -> None:
    """Raise :class:`InvalidInput` for a dotted key that ``known`` does not have, with the nearest that it has."""
    if path.startswith(("+", "hydra")):
        return
    node: Any = known
    walked: list[str] = []
    for part in path.split("."):
        keys = [str(key) for key in node] if isinstance(node, DictConfig) else []
        if part not in keys:
            where = f"below {'.'.join(walked)}" if walked else "at the top"
            raise InvalidInput(
                f"{path} does not exist; {where} there is {', '.join(keys) or 'nothing'}.{nearest(part, keys)}"
            )
        walked.append(part)
        node = node._get_node(part)


@cache
def _top() -> dict[str, bool]:
    """The keys at the top of a config, each with whether it is a group."""
    config = compose("config")
    return {str(key): (CONF / str(key)).is_dir() for key in config}


@cache
def _optional() -> list[str]:
    """The groups of which a config may have none, and has none by default."""
    choices = [entry for entry in OmegaConf.load(CONF / "config.yaml").defaults if isinstance(entry, DictConfig)]
    return [str(group) for entry in choices for group, choice in entry.items() if choice is None]


def _check_top(config: DictConfig) -> None:
    """Raise :class:`InvalidInput` for a key at the top that nothing reads, and for one that is missing."""
    keys, known = list(map(str, config)), _top()
    for key in keys:
        if key not in (*known, *_optional()) and f"${{{key}" not in OmegaConf.to_yaml(config):
            raise InvalidInput(f"{key} does not exist; at the top there is {', '.join(known)}.{nearest(key, known)}")
    for key, group in known.items():
        if key not in keys or (group and not isinstance(config._get_node(key), DictConfig)):
            raise InvalidInput(f"{key} must not be removed or emptied: every run needs it.")
        if OmegaConf.is_missing(config, key):
            raise InvalidInput(f"{key} must be given, as {key}=...")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
