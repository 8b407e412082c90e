"""The folder of a run: one config, one process at a time, and how far it is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from multiscale.checks import InvalidInput
from multiscale.config.identity import PLACES, flatten
from multiscale.runs import files, status

NEW, UNFINISHED, FINISHED = "new", "unfinished", "finished"


def claim(config: DictConfig, command: str) -> str:
    """Make the folder of ``config`` its own, and tell how far the run in it is: new, unfinished or finished.

    ``command`` is the one that would start the same run anew.

    Raises:
        InvalidInput: if the folder holds a run of another config.
    """
    folder = Path(config.folder)
    if (folder / "config.yaml").exists():
        there = read(folder)
        if (there.get("identity") or {}).get("request") != config.identity.request:
            raise InvalidInput(f"{folder} holds another run{_difference(there, config)}; give it a folder of its own.")
        return state(folder)
    save(config)
    status.Status(folder).begin(status.WAITING, command)
    return NEW


def _difference(there: DictConfig, asked: DictConfig) -> str:
    """A few of the keys in which two configs differ."""
    one, other = (flatten(OmegaConf.to_container(c)) for c in (there, asked))
    keys = [k for k in {**one, **other} if one.get(k) != other.get(k) and k.split(".")[0] not in PLACES]
    shown = [f"{key} is {one.get(key)!r} there and {other.get(key)!r} here" for key in keys[:3]]
    return f" ({', '.join(shown)}{', ...' if len(keys) > 3 else ''})" if shown else ""


def state(folder: Path) -> str:
    """How far the run is."""
    finished = (folder / "summary.json").exists() and status.read(folder).get("state") == status.FINISHED
    return FINISHED if finished else UNFINISHED


def value(folder: Path) -> float:
    """The monitored metric of the best weights of a run; NaN if it has not finished."""
    try:
        (score,) = json.loads((folder / "summary.json").read_text())["val"].values()
    except (OSError, ValueError, KeyError):
        return float("nan")
    return float(score) if state(folder) == FINISHED else float("nan")


def save(config: DictConfig) -> None:
    """Write the config of a run into its folder."""
    files.write(Path(config.folder) / "config.yaml", OmegaConf.to_yaml(config).encode())


def read(folder: Path) -> DictConfig:
    """The config of the run in ``folder``, wherever that is now; raises :class:`InvalidInput` if there is none."""
    try:
        config = OmegaConf.load(folder / "config.yaml")
        assert isinstance(config, DictConfig)
    except Exception as error:
        raise InvalidInput(f"{folder} must be the folder of a run; its config.yaml cannot be read: {error}") from error
    config.folder = str(folder.resolve())
    return config


class InUse(InvalidInput):
    """Another process runs in this folder."""


@contextmanager
def held(folder: Path, rank: int) -> Iterator[None]:
    """The right to run in ``folder``, which one run has at a time; its first process takes it for all.

    Raises:
        InUse: if another has it; names that process.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        if rank == 0:
            lock.acquire()
    except Timeout as error:
        there = status.read(folder)
        raise InUse(
            f"{folder} is in use by process {there.get('pid', '?')} on {there.get('host', '?')}; "
            "wait for its end, or give this run another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()
