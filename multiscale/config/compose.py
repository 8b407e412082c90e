"""From words to configs: the jobs of a command line, composed once, with what is wrong in one line."""

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Glob, Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from multiscale.checks import InvalidInput, first_line, nearest
from multiscale.config.hydra_internals import make_parser
from multiscale.config.identity import FOLDER, MISSING, freeze
from multiscale.config.instantiate import read_arguments
from multiscale.config.words import check_choice, parse, picks, quote, word_of

_PACKAGE = Path(__file__).parent.parent
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())

OTHERS = ("trainer", "optim", "callbacks", "logger")  # groups of classes that take more than their files set
PLACED = {"scheduler": "optim"}  # groups whose values stand below another's
RESOLVER = re.compile(r"\$\{[^{}$]*:|\}\s*:")  # what asks the environment, the clock, or for a text to be decoded
OWN = {"choices": ": it tells of the groups", "identity": "", "folder": "; hydra.run.dir=... names a run's folder"}
LEFT_TO_HYDRA = (  # options that run nothing, or another config than ours
    *("help", "hydra_help", "cfg", "info", "shell_completion"),
    *("config_name", "config_path", "experimental_rerun"),
)


class NeedsPlus(InvalidInput):
    """An argument that a class takes and the config does not set, for which Hydra wants a plus sign."""

    def __init__(self, key: str, target: str) -> None:
        super().__init__(f"{key} is an argument of {target} that the config does not set; write +{key}=...")
        self.key = key


def add_plus(words: Sequence[str], missing: NeedsPlus) -> list[str]:
    """The words with the plus sign that Hydra wants."""
    return [f"+{word}" if word.partition("=")[0] == missing.key else word for word in words]


@dataclass(frozen=True)
class CommandLine:
    """A command line of runs: its overrides, its options, where more YAML is, whether it sweeps or is Hydra's alone."""

    words: tuple[str, ...]
    options: tuple[str, ...]
    config_dir: str | None
    sweeps: bool
    left_to_hydra: bool


@dataclass(frozen=True)
class Job:
    """One job of a command line: its frozen config, and the words that tell it from the other jobs of its sweep.

    ``composed`` is the config as Hydra knows it, with its own part.
    """

    config: DictConfig
    words: tuple[str, ...] = ()
    composed: DictConfig = field(default_factory=OmegaConf.create)

    @contextmanager
    def named(self) -> Iterator[None]:
        """A mistake inside is told with the job that it is in."""
        try:
            yield
        except InvalidInput as error:
            if not self.words:
                raise
            raise InvalidInput(f"{error} This is the job {' '.join(self.words)}.") from error


def read_line(arguments: Sequence[str]) -> CommandLine:
    """What the arguments of a run's command line ask for; raises :class:`InvalidInput` for an unknown option."""
    known, more = make_parser().parse_known_args(list(arguments))
    if unknown := [word for word in more if word.startswith("-")]:
        raise InvalidInput(
            f"{unknown[0]} is not an option; values have no dashes, as model=hmlstm, and --help names all."
        )
    words = (*known.overrides, *more)
    options = tuple(word for word in arguments if word not in words)
    sweeps = known.multirun or "hydra.mode=MULTIRUN" in words
    left = any(getattr(known, name) for name in LEFT_TO_HYDRA)
    return CommandLine(words, options, known.config_dir, sweeps, left)


def check_foreign_words(words: Sequence[str]) -> None:
    """Raise :class:`InvalidInput` for a word of another's command line that sets Hydra, or asks the environment."""
    for word in words:
        override = parse(word)
        places = (override.key_or_group, override.package or "")
        if any(re.split("[./]", place)[0] == "hydra" for place in places) or RESOLVER.search(word):
            raise InvalidInput(f"a sweep that is read may only set keys of its runs, to values; it has {word!r}.")


def jobs(overrides: Sequence[str], config_dir: str | None = None, multirun: bool = False) -> list[DictConfig]:
    """The frozen config of every job of a command line; arguments and errors as of :func:`compose_jobs`."""
    return [job.config for job in compose_jobs(overrides, config_dir, multirun=multirun)]


def compose_jobs(
    overrides: Sequence[str], config_dir: str | None = None, several: bool = True, multirun: bool = False
) -> list[Job]:
    """Every job of a command line: one, or the product of its lists.

    ``config_dir`` is searched for YAML after the project's own. ``several`` says that there may be more than one job;
    else the job has its folder, which is made by nobody yet. With ``multirun`` the lists that the config itself sweeps
    over, ``hydra.sweeper.params``, come first, but for keys that the command line gives.

    Raises:
        InvalidInput: for an override that cannot be read, a group, choice or key that does not exist, or a value that
            refers to one; names the nearest valid one.
    """
    folders = _folders(config_dir)
    parsed = [parse(text) for text in overrides]
    for override in parsed:
        _check_own(override)
    lists = [o for o in parsed if o.is_sweep_override()]
    if lists and not several:
        raise InvalidInput(
            f"{lists[0].input_line} asks for several jobs, which takes -m; a list is written in brackets, as "
            f"{lists[0].get_key_element()}=[...]."
        )
    extra = [f"hydra.searchpath=[file://{folders[1]}]"] if config_dir else []
    made: list[Job] = []
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="run"):
        if multirun:
            parsed = [*_swept_by_experiment(parsed, folders, extra), *parsed]
        choices = [picks(o, folders) if o.is_sweep_override() else [None] for o in parsed]
        for picked in itertools.product(*choices):
            words = [word_of(o, pick) for o, pick in zip(parsed, picked, strict=True)]
            for override, word in zip(parsed, words, strict=True):
                check_choice(override, word.partition("=")[2], folders)
            told_apart = tuple(word for word, of in zip(words, choices, strict=True) if len(of) > 1)
            composed = _compose(words, extra)
            with Job(composed, told_apart).named():
                config = _freeze(composed, words, single=not several)
            made.append(Job(config, told_apart, composed))
    return made


def _check_own(override: Override) -> None:
    """Raise :class:`InvalidInput` for a key that every run sets itself."""
    key = override.key_or_group.split(".")[0]
    if key in OWN:
        raise InvalidInput(f"{key} is not for you to set{OWN[key]}; got {override.input_line!r}.")


def spell_out(words: Sequence[str], config_dir: str | None = None) -> tuple[str, ...]:
    """The words as Hydra takes them: each glob as the list of what it matches, for its own sees no choices in folders
    of a group; and where experiments are swept over, each single value as a list of one, for it composes what is swept
    over last, and would look for the value before."""
    folders = _folders(config_dir)
    words = [quote(word) for word in words]
    parsed = [parse(word) for word in words]
    several = any(o.is_sweep_override() and o.key_or_group == "experiment" for o in parsed)
    spelled = []
    for override, word in zip(parsed, words, strict=True):
        key, _, value = word.partition("=")
        if isinstance(override.value(), Glob):
            word = f"{key}={','.join(picks(override, folders))}"
        elif several and "." in key and not override.is_sweep_override() and not key.startswith(("hydra.", "~", "+")):
            word = f"{key}=choice({value})"
        spelled.append(word)
    return tuple(spelled)


def _folders(config_dir: str | None) -> list[Path]:
    """Where YAML is searched for."""
    folders = [CONF, *([Path(config_dir).resolve()] if config_dir else [])]
    if not folders[-1].is_dir():
        raise InvalidInput(f"--config-dir must be a folder; got {config_dir!r}.")
    return folders


def _swept_by_experiment(parsed: Sequence[Override], folders: Sequence[Path], extra: Sequence[str]) -> list[Override]:
    """The sweeps of the config itself, as of the first job, but for keys that the command line gives."""
    first = [picks(override, folders)[0] if override.is_sweep_override() else None for override in parsed]
    words = [word_of(override, pick) for override, pick in zip(parsed, first, strict=True)]
    for override, word in zip(parsed, words, strict=True):
        check_choice(override, word.partition("=")[2], folders)
    params = _compose(words, extra).hydra.sweeper.params or {}
    given = {override.get_key_element() for override in parsed}
    return [parse(f"{key}={value}") for key, value in params.items() if key not in given]


def _compose(words: Sequence[str], extra: Sequence[str]) -> DictConfig:
    try:
        return compose("config", overrides=[*words, *extra], return_hydra_config=True)
    except Exception as error:  # Hydra has no one kind for what it does not take
        chosen = [word for word in words if (CONF / word.partition("=")[0]).is_dir()]
        try:
            known = compose("config", overrides=[*chosen, *extra])
        except Exception:
            raise InvalidInput(first_line(error)) from error
        for word in words:
            if word not in chosen:  # an experiment is no key of what it composes
                _check_key(word.partition("=")[0].lstrip("~"), known)
        raise InvalidInput(first_line(error)) from error


def _check_key(path: str, known: DictConfig) -> None:
    """Raise :class:`InvalidInput` for a dotted key that ``known`` does not have, with the nearest that it has, or as
    :class:`NeedsPlus` for an argument that its class takes."""
    if path.startswith(("+", "hydra")):
        return
    node: Any = OmegaConf.to_container(known, resolve=False)
    walked: list[str] = []
    if (place := PLACED.get(path.split(".")[0])) is not None:
        raise InvalidInput(f"{path} does not exist; what that group chooses stands below {place}: {place}.{path}.")
    for part in path.split("."):
        keys = list(map(str, node)) if isinstance(node, dict) else []
        if part not in keys:
            takes = read_arguments(str(node["_target_"])).named if "_target_" in keys and walked[0] in OTHERS else ()
            if part in takes:
                raise NeedsPlus(path, str(node["_target_"]))
            where = f"below {'.'.join(walked)}" if walked else "at the top"
            hint = nearest(part, [*keys, *takes])
            raise InvalidInput(f"{path} does not exist; {where} there is {', '.join(keys) or 'nothing'}.{hint}")
        walked.append(part)
        node = node[part]


def _freeze(composed: DictConfig, words: Sequence[str], single: bool) -> DictConfig:
    """The frozen config of a job; that of a ``single`` run has its folder."""
    _check_top(composed)
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(composed)
        with read_write(composed.hydra), open_dict(composed.hydra):
            composed.hydra.job.num, composed.hydra.job.id = 0, "0"
            composed.hydra.runtime.output_dir = FOLDER
            config = freeze(_own(composed), words)
            if single:
                config.folder = str(Path(composed.hydra.run.dir).absolute())
                composed.hydra.run.dir = composed.hydra.runtime.output_dir = config.folder
        return config
    finally:
        HydraConfig.instance().cfg = before


def _own(composed: DictConfig) -> DictConfig:
    """The config without Hydra's part."""
    own = composed.copy()
    with read_write(own), open_dict(own):
        del own["hydra"]
    return own


def _check_top(composed: DictConfig) -> None:
    """Raise :class:`InvalidInput` for a key at the top that nothing reads, and for one that is missing."""
    first = OmegaConf.load(CONF / "config.yaml")
    groups = {str(group): choice for entry in first.defaults if entry != "_self_" for group, choice in entry.items()}
    known = [str(key) for key in first if key not in ("defaults", "hydra")]
    known += [g for g, choice in groups.items() if choice is not None and " " not in g and g not in PLACED]
    plain: Any = OmegaConf.to_container(composed, resolve=False)
    del plain["hydra"]
    written = str(plain)
    for key in plain:
        if key not in (*known, *groups) and f"${{{key}" not in written:
            raise InvalidInput(f"{key} does not exist; at the top there is {', '.join(known)}.{nearest(key, known)}")
    for key in known:
        if key not in plain or (key in groups and not isinstance(plain[key], dict)):
            raise InvalidInput(f"{key} must not be removed or emptied: every run needs it.")
        if plain[key] == MISSING:
            raise InvalidInput(f"{key} must be given, as {key}=...")
