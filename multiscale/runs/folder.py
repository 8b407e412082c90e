"""The folder of a run: one config, one process at a time, and how far it is."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from multiscale.checks import InvalidInput, describe_error, read_file
from multiscale.config.foreign import check_data, parse_yaml
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
        changed = _differing(there, config)
        same = (there.get("identity") or {}).get("request") == config.identity.request
        if not same or any(not _is_set_later(key, config) for key in changed):
            raise InvalidInput(f"{folder} holds another run{_tell(changed)}; give it a folder of its own.")
        return state(folder)
    save(config)
    status.Status(folder).begin(status.WAITING, command)
    return NEW


def _differing(there: DictConfig, asked: DictConfig) -> dict[str, tuple[Any, Any]]:
    """The keys in which two configs differ, with what stands in each."""
    one, other = (flatten(OmegaConf.to_container(c)) for c in (there, asked))
    keys = [k for k in {**one, **other} if one.get(k) != other.get(k) and k.split(".")[0] not in PLACES]
    return {key: (one.get(key), other.get(key)) for key in keys}


def _is_set_later(key: str, asked: DictConfig) -> bool:
    """Whether a run changes this of its config itself: the size that it solved for, and how long it was made."""
    return key == "trainer.max_epochs" or (key == "model.hidden_size" and asked.get("match") is not None)


def _tell(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """A few of the keys in which two configs differ."""
    shown = [f"{key} is {there!r} there and {here!r} here" for key, (there, here) in [*changed.items()][:3]]
    return f" ({', '.join(shown)}{', ...' if len(changed) > 3 else ''})" if shown else ""


def state(folder: Path) -> str:
    """How far the run is."""
    finished = (folder / "summary.json").exists() and status.read(folder).get("state") == status.FINISHED
    return FINISHED if finished else UNFINISHED


def value(folder: Path) -> float:
    """The monitored metric of the best weights of a run; NaN if it has not finished."""
    try:
        (score,) = files.parse_json(read_file(folder / "summary.json"))["val"].values()
        return float(score) if state(folder) == FINISHED else float("nan")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no summary, or that of no validation
        return float("nan")


def save(config: DictConfig) -> None:
    """Write the config of a run into its folder."""
    files.write(Path(config.folder) / "config.yaml", OmegaConf.to_yaml(config).encode())


def read(folder: Path) -> DictConfig:
    """The config of the run in ``folder``, wherever that is now; raises :class:`InvalidInput` if there is none."""
    try:
        content = read_file(folder / "config.yaml")
        parse_yaml(content)  # else OmegaConf might never come to an end with it
        config = OmegaConf.create(content.decode())
        assert isinstance(config, DictConfig), "it is no mapping"
        check_data(OmegaConf.to_container(config))
    except Exception as error:
        told = describe_error(error)
        raise InvalidInput(f"{folder} must be the folder of a run; its config.yaml cannot be read: {told}") from error
    config.folder = str(folder.resolve())
    return config


def make(folder: Path, argument: str) -> None:
    """Make a folder, if it is not there; raises :class:`InvalidInput`, naming ``argument``, if it takes no file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidInput(
            f"{argument} must be a folder to write to; got {str(folder)!r}: {error.strerror}."
        ) from error


class InUse(InvalidInput):
    """Another process runs in this folder."""


@contextmanager
def held(folder: Path, rank: int, wait: float = 0) -> Iterator[None]:
    """The right to run in ``folder``, which one run has at a time; its first process takes it for all.

    Raises:
        InUse: if another has it, and still after ``wait`` seconds; names that process.
    """
    lock = FileLock(folder / ".lock", timeout=wait)
    try:
        if rank == 0:
            lock.acquire()
    except Timeout as error:
        there = status.read(folder)
        raise InUse(
            f"{folder} is in use by process {there.get('pid', '?')} on {there.get('host', '?')}; "
            "wait for its end, or give this run another folder."
        ) from error
    except OSError as error:
        raise InvalidInput(f"{folder} must be a folder to write to: {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()
