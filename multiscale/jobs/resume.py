"""``resume=<folder>``: go on with a run, or with what is left of a sweep."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf

from multiscale.checks import InvalidInput, first_line, nearest, positive_int
from multiscale.config.compose import check_foreign_words, jobs
from multiscale.config.foreign import check_foreign, read_packages
from multiscale.jobs.start import needs_processes, run_here, run_in_process
from multiscale.jobs.sweep import PLACE, read_words
from multiscale.runs import folder as folders
from multiscale.training.checkpoint import files

ALLOWED = ("resume", "trainer.max_epochs", "trust")
HYDRA = ("hydra.", "hydra/")  # words that a sweep takes as well


class Request(NamedTuple):
    """What is to go on: the folder of a run or sweep, a run's new length, packages whose classes it may name, and words
    for Hydra, such as a sweep's launcher."""

    folder: Path
    max_epochs: Any = None
    trusted: tuple[str, ...] = ()
    hydra: tuple[str, ...] = ()


def read_request(words: Sequence[str]) -> Request:
    """What ``words`` ask to go on with.

    ``resume=`` is the folder of a run or sweep, or one of a run's whole checkpoints. ``trainer.max_epochs=`` lets a run
    go on for longer; ``trust=[package.]`` names packages beside ours whose classes its config may name. A sweep takes
    words for Hydra anew: those it was begun with are not taken from its folder.

    Raises:
        InvalidInput: for other words, or a checkpoint that has weights only.
    """
    path = Path(next(word for word in words if word.startswith("resume=")).partition("=")[2])
    sweeps = (path / "multirun.yaml").exists()
    given, hydra = {}, []
    for word in words:
        key, equals, text = word.partition("=")
        if sweeps and equals and word.startswith(HYDRA) and not word.startswith(PLACE):
            hydra.append(word)
            continue
        if not equals or key not in ALLOWED:
            raise InvalidInput(
                f"with resume= there may only be {', '.join(ALLOWED[1:])}; got {word!r}. A run goes on as it was "
                f"begun; init_from=<checkpoint> begins another with its weights.{nearest(key, ALLOWED)}"
            )
        given[key] = text if key == "resume" else _read_value(word)
    folder = _restore(path) if path.suffix == ".ckpt" else path
    return Request(folder, given.get("trainer.max_epochs"), read_packages(given.get("trust", [])), tuple(hydra))


def _read_value(word: str) -> Any:
    """What stands after the sign of a word."""
    try:
        return yaml.safe_load(word.partition("=")[2])
    except yaml.YAMLError as error:
        raise InvalidInput(f"{word!r} is not of the form key=value: {first_line(error)}") from error


def read_sweep(request: Request) -> list[str]:
    """The words that run what is left of a sweep; raises :class:`InvalidInput` if they may not."""
    if request.max_epochs is not None:
        raise InvalidInput("a sweep goes on as it was begun; trainer.max_epochs is for a single run.")
    words, theirs = read_words(request.folder)
    check_foreign_words(words)
    for config in jobs(words):
        _check(config, request.trusted)
    if left := [word for word in theirs if word not in request.hydra]:
        line = f"not taken from {request.folder}: {shlex.join(left)}; add it to resume=... if you want it"
        print(line, file=sys.stderr)
    return ["-m", *words, *request.hydra, f"hydra.sweep.dir={request.folder.resolve()}"]


def resume_run(request: Request) -> int:
    """Run a run to its end; returns the exit code.

    Raises:
        InvalidInput: for a folder that is none, a run that is finished, or a config with classes of others.
    """
    config = folders.read(request.folder)
    folders.make(request.folder, "resume")
    _check(config, request.trusted)
    _lengthen(config, request.max_epochs)
    return run_in_process(request.folder) if needs_processes(config) else run_here(request.folder)


def _check(config: DictConfig, trusted: Sequence[str]) -> None:
    plain: Any = OmegaConf.to_container(config)
    check_foreign(plain, trusted)


def _restore(path: Path) -> Path:
    """Put a run's other checkpoint in the place of its last, which stays aside; returns the run's folder."""
    if "resume" not in files.load(path):
        raise InvalidInput(f"{path} has weights and no whole training; use init_from={path} to begin with them.")
    folders.make(path.parent, "resume")
    last = path.with_name("last.ckpt")
    if path != last:
        files.keep(last, "replaced.ckpt")
        files.keep(path, "last.ckpt")
    return path.parent.parent


def _lengthen(config: DictConfig, max_epochs: Any) -> None:
    """Take a new ``trainer.max_epochs``, larger than the old; without it, a finished run is done."""
    folder, old = Path(config.folder), config.trainer.max_epochs
    if max_epochs is not None:
        longer = positive_int("trainer.max_epochs", max_epochs)
        if longer < old:
            raise InvalidInput(f"trainer.max_epochs must be at least the {old} of the run; got {longer}.")
        config.trainer.max_epochs = longer
        folders.save(config)
    if folders.state(folder) == folders.FINISHED and config.trainer.max_epochs == old:
        raise InvalidInput(f"{folder} holds a finished run; trainer.max_epochs={old + 1} or more lets it go on.")
