"""``resume=<folder>``: go on with a run, or with what is left of a sweep."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from multiscale.checks import InvalidInput, nearest, positive_int
from multiscale.config.compose import jobs
from multiscale.jobs import start, sweep
from multiscale.runs import folder
from multiscale.training.build import check_targets
from multiscale.training.checkpoint import files

ALLOWED = ("resume", "trainer.max_epochs", "trust")


def resume(words: list[str]) -> list[str]:
    """Run the run that ``words`` name to its end and exit; or give the words that run the rest of a sweep.

    ``resume=`` is the folder of a run or sweep, or one of a run's whole checkpoints. ``trainer.max_epochs=`` lets a run
    go on for longer; ``trust=[package.]`` names packages beside ours whose classes its config may name.

    Raises:
        InvalidInput: for a folder that is neither, a run that is finished, or a config with classes of others.
    """
    given = _arguments(words)
    path, trusted = Path(given["resume"]), tuple(given.get("trust", ()))
    if path.suffix == ".ckpt":
        path = _from_checkpoint(path)
    if (path / "multirun.yaml").exists():
        if "trainer.max_epochs" in given:
            raise InvalidInput("a sweep goes on as it was begun; trainer.max_epochs is for a single run.")
        words = sweep.command(path.resolve())
        for config in jobs(words[1:]):
            check_targets(OmegaConf.to_container(config), trusted)
        return words
    config = folder.read(path)
    check_targets(OmegaConf.to_container(config), trusted)
    _lengthen(config, given)
    sys.exit(start.apart(path) if start.processes(config) > 1 else start.work(path))


def _arguments(words: list[str]) -> dict[str, Any]:
    given = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in ALLOWED:
            raise InvalidInput(
                f"with resume= there may only be {', '.join(ALLOWED[1:])}; got {word!r}. A run goes on as it was "
                f"begun; init_from=<checkpoint> begins another with its weights.{nearest(key, ALLOWED)}"
            )
        given[key] = OmegaConf.to_container(OmegaConf.from_dotlist([f"x={text}"]))["x"] if key != "resume" else text  # type: ignore[call-overload,index]
    return given


def _from_checkpoint(path: Path) -> Path:
    """Put a run's other checkpoint in the place of its last, which stays aside; returns the run's folder."""
    if "resume" not in files.load(path):
        raise InvalidInput(f"{path} has weights and no whole training; use init_from={path} to begin with them.")
    last = path.with_name("last.ckpt")
    if path != last:
        files.keep(last, "replaced.ckpt")
        files.keep(path, "last.ckpt")
    return path.parent.parent


def _lengthen(config: DictConfig, given: dict[str, Any]) -> None:
    """Take a new ``trainer.max_epochs``, larger than the old; without it, a finished run is done."""
    place, old = Path(config.folder), config.trainer.max_epochs
    if "trainer.max_epochs" in given:
        longer = positive_int("trainer.max_epochs", given["trainer.max_epochs"])
        if longer < old:
            raise InvalidInput(f"trainer.max_epochs must be at least the {old} of the run; got {longer}.")
        config.trainer.max_epochs = longer
        folder.save(config)
    if folder.state(place) == folder.FINISHED and config.trainer.max_epochs == old:
        raise InvalidInput(f"{place} holds a finished run; trainer.max_epochs={old + 1} or more lets it go on.")
