"""What of a config is science and what is place, said once: for run folders, W&B's groups and the comparison."""

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationKeyError, InterpolationToMissingValueError, OmegaConfBaseException

from multiscale.checks import InvalidInput

OWN = "own"  # stands for the run's own seed wherever the config refers to it
MISSING = "???"
PLACES = ("folder", "identity", "rendezvous")  # of a config: where it runs, not what
NOT_SCIENCE = {*PLACES, "seed", "name", "threads", "logger", "choices"}  # nor of one run, or of how it is told
NOT_TRAINING = {  # of a trainer: what is shown and where it is kept
    "default_root_dir",
    "enable_model_summary",
    "enable_progress_bar",
    "log_every_n_steps",
    "logger",
    "num_sanity_val_steps",
}
WATCHERS = {  # callbacks that change no number
    "Figures",
    "LearningRateMonitor",
    "Progress",
    "RichProgressBar",
    "TQDMProgressBar",
}
KEPT_WHERE = {"dirpath", "filename", "folder", "enable_version_counter", "every_minutes", "every_n_steps"}  # callbacks'
FOLDER = "\0folder\0"  # stands for the run's folder while everything else is filled in


def freeze(config: DictConfig, overrides: Iterable[str] = (), folder: str = MISSING) -> DictConfig:
    """The config as plain values with its identity: nothing in it asks Hydra, the clock or the environment any more.

    Only what lies in the run's folder still says so, as ``${folder}/...``: a folder may be moved. ``identity`` holds

    - ``request``: the same for the same config, whatever its places;
    - ``science``: the same for what differs in the seed, the fold, the name, the logs or the number of threads alone;
    - ``seeded``: keys whose value is the seed's;
    - ``changed``: whether the ``overrides`` change the science of what model and data bring.

    Raises:
        InvalidInput: for a value that refers to a key that does not exist or is not given, or cannot be filled in.
    """
    plain = _resolve(config, {})
    plain["choices"] = {key: choice for key, choice in plain["choices"].items() if not str(key).startswith("hydra/")}
    try:
        other = _resolve(config, {"seed": OWN})
    except InvalidInput:  # the seed goes through arithmetic
        other = plain
    leaves = flatten({key: value for key, value in plain.items() if key not in PLACES})
    theirs = flatten(other)
    plain["folder"] = folder
    plain["identity"] = {
        "request": digest(leaves, 64),
        "seeded": [key for key, value in leaves.items() if theirs.get(key, value) != value],
    }
    kept = science(plain)
    plain["identity"] |= {"science": digest(kept), "changed": _changes(overrides, kept)}
    return OmegaConf.create(plain)


def _resolve(config: DictConfig, stand_ins: Mapping[str, Any]) -> dict[str, Any]:
    """Every value of a config, its folder's as a reference."""
    filled = copy.deepcopy(config)
    with open_dict(filled):
        for key, value in {**stand_ins, "folder": FOLDER}.items():
            filled[key] = value
    try:
        plain: Any = OmegaConf.to_container(filled, resolve=True)
    except OmegaConfBaseException as error:
        raise _unresolved(error, filled) from error
    return _refer(plain)


def _refer(value: Any) -> Any:
    """The value with references to the folder where it stood, and what only looks like a reference marked as text."""
    if isinstance(value, dict):
        return {key: _refer(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_refer(inner) for inner in value]
    return value.replace("${", "\\${").replace(FOLDER, "${folder}") if isinstance(value, str) else value


def _unresolved(error: OmegaConfBaseException, config: DictConfig) -> InvalidInput:
    where = error.full_key or "a value"
    raw = flatten(OmegaConf.to_container(config, resolve=False)).get(where)
    line = str(error).strip().splitlines()[0]
    if isinstance(error, InterpolationKeyError):
        return InvalidInput(f"{where} must refer to a key that exists; got {raw!r}. {line}.")
    if isinstance(error, InterpolationToMissingValueError):
        return InvalidInput(f"{where} must refer to a key that is given; got {raw!r}. {line}")
    return InvalidInput(f"{where} cannot be filled in; got {raw!r}. {line}")


def to_plain(node: Any) -> Any:
    """A config, or a value of one, as plain mappings, lists and values, with its references filled in."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def science(config: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of a frozen config, as plain values, that decides what is learned and measured.

    But for the seed, and which fold of the data is the test: over both a configuration is averaged.
    """
    seeded = (config.get("identity") or {}).get("seeded", ())
    kept = {key: value for key, value in config.items() if key not in NOT_SCIENCE and value is not None}
    kept = _replace(kept, set(seeded), OWN)
    if isinstance(data := kept.get("data"), Mapping):
        kept["data"] = {key: value for key, value in data.items() if key != "fold"}
    if isinstance(trainer := kept.get("trainer"), Mapping):
        kept["trainer"] = {key: value for key, value in trainer.items() if key not in NOT_TRAINING}
    if isinstance(callbacks := kept.get("callbacks"), Mapping):
        kept["callbacks"] = {
            name: {key: value for key, value in callback.items() if key not in KEPT_WHERE}
            for name, callback in callbacks.items()
            if isinstance(callback, Mapping) and not _watches(callback)
        }
    return kept


def _watches(callback: Mapping[str, Any]) -> bool:
    kind = str(callback.get("_target_", "")).rpartition(".")[2]
    keeps_all = kind == "ModelCheckpoint" and callback.get("monitor") is None  # and so chooses no weights
    return kind in WATCHERS or keeps_all


def _replace(value: Any, keys: set[str], by: Any, prefix: str = "") -> Any:
    """Nested mappings with what stands at the dotted ``keys`` replaced."""
    if prefix in keys:
        return by
    if not isinstance(value, Mapping):
        return value
    return {key: _replace(inner, keys, by, f"{prefix}.{key}" if prefix else str(key)) for key, inner in value.items()}


def _changes(overrides: Iterable[str], kept: Mapping[str, Any]) -> bool:
    """Does any override touch the science ``kept``, beside the choice of model and data?"""
    leaves = flatten(kept)
    for word in overrides:
        key = word.partition("=")[0].lstrip("+~").partition("@")[0]
        if key in ("model", "data") or key.split(".")[0] in (*NOT_SCIENCE, "hydra"):
            continue
        stands = any(leaf == key or leaf.startswith(f"{key}.") for leaf in leaves)
        if stands or word.startswith("~") or key in ("experiment", "match"):
            return True
    return False


def identify(config: DictConfig) -> None:
    """Let a frozen config that was changed, as by ``match``, name its science anew; what was asked for stays."""
    plain: Any = OmegaConf.to_container(config)  # the folder stays a reference
    config.identity.science = digest(science(plain))


def group_name(config: Mapping[str, Any]) -> str:
    """What runs of the same science are grouped under: ``<name>-<data>``, and six digits where it was changed."""
    identity = config["identity"]
    return f"{config['name']}-{config['choices']['data']}" + (
        f"-{identity['science'][:6]}" if identity["changed"] else ""
    )


def digest(value: Any, length: int = 12) -> str:
    """Letters that are the same for the same plain values, in whatever order their keys stand."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:length]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted keys; lists stay whole."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        leaves |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return leaves
