"""The folder of a run: one config, one process at a time, and how far it is."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from multiscale.checks import InvalidInput
from multiscale.runs import files, status

NEW, UNFINISHED, FINISHED = "new", "unfinished", "finished"
PLACES = ("folder", "request", "rendezvous")  # of a config: where it runs, not what


def frozen(config: DictConfig) -> DictConfig:
    """The same config without anything that only exists while Hydra runs, and with ``request``, its fingerprint."""
    plain = OmegaConf.to_container(config, resolve=False)
    whole = OmegaConf.create(_without_hydra(plain, config))
    choices = {name: choice for name, choice in whole.choices.items() if not str(name).startswith("hydra/")}
    whole.choices = choices
    asked = {key: value for key, value in OmegaConf.to_container(whole).items() if key not in PLACES}  # type: ignore[union-attr]
    whole.request = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()
    return whole


def _without_hydra(plain: Any, config: Any) -> Any:
    """``plain`` with every value that asks Hydra or the clock replaced by what ``config`` says."""
    if isinstance(plain, dict):
        return {key: _without_hydra_value(value, config, key) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_without_hydra_value(value, config, i) for i, value in enumerate(plain)]
    return plain


def _without_hydra_value(value: Any, parent: Any, key: Any) -> Any:
    if isinstance(value, str) and ("${hydra:" in value or "${now:" in value):
        found = parent[key]
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    if isinstance(value, (dict, list)):
        return _without_hydra(value, parent._get_node(key))
    return value


def claim(config: DictConfig, command: str) -> str:
    """Make the folder of ``config`` its own, and tell how far the run in it is: new, unfinished or finished.

    ``command`` is the one that would start the same run anew.

    Raises:
        InvalidInput: if the folder holds a run of another config.
    """
    folder = Path(config.folder)
    if (folder / "config.yaml").exists():
        there = read(folder)
        if there.get("request") != config.request:
            raise InvalidInput(f"{folder} holds another run{_difference(there, config)}; give it a folder of its own.")
        return state(folder)
    if (folder / "summary.json").exists():
        raise InvalidInput(f"{folder} holds another run, of an earlier version; give it a folder of its own.")
    save(config)
    status.Status(folder).begin(status.WAITING, command)
    return NEW


def _difference(there: DictConfig, asked: DictConfig) -> str:
    """A few of the keys in which two configs differ."""
    one, other = (dict(_flat(OmegaConf.to_container(c))) for c in (there, asked))
    keys = [k for k in {**one, **other} if one.get(k) != other.get(k) and k.split(".")[0] not in PLACES]
    shown = [f"{key} is {one.get(key)!r} there and {other.get(key)!r} here" for key in keys[:3]]
    return f" ({', '.join(shown)}{', ...' if len(keys) > 3 else ''})" if shown else ""


def _flat(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, config


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
