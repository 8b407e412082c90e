"""When are two runs the same experiment with another seed? What of a config decides that, and how it is called."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OWN = "own"  # stands for the run's own seed wherever the config refers to it
NOT_SCIENCE = {  # of a config: of one run, of where it is, or of how it is told
    "seed",
    "name",
    "folder",
    "request",
    "rendezvous",
    "threads",
    "logger",
    "choices",
}
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
PLACES = {"dirpath", "filename", "folder", "enable_version_counter", "every_minutes", "every_n_steps"}  # of a callback
NAMED_APART = {"model", "data", "task", "experiment"}  # groups that a name need not tell
MISSING = object()
NOT_CONTENT = {"batch_size", "split", "verify"}  # of data: how they are read; the whole data have one checksum


def essence(config: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of a config that decides what is learned and measured, but for the seed."""
    kept = {key: value for key, value in config.items() if key not in NOT_SCIENCE and value is not None}
    if isinstance(trainer := kept.get("trainer"), Mapping):
        kept["trainer"] = {key: value for key, value in trainer.items() if key not in NOT_TRAINING}
    if isinstance(callbacks := kept.get("callbacks"), Mapping):
        kept["callbacks"] = {
            name: {key: value for key, value in callback.items() if key not in PLACES}
            for name, callback in callbacks.items()
            if isinstance(callback, Mapping) and not _watches(callback)
        }
    return kept


def _watches(callback: Mapping[str, Any]) -> bool:
    kind = str(callback.get("_target_", "")).rpartition(".")[2]
    keeps_all = kind == "ModelCheckpoint" and callback.get("monitor") is None  # and so chooses no weights
    return kind in WATCHERS or keeps_all


def content(data: Mapping[str, Any], streams: bool) -> dict[str, Any]:
    """What of a data config decides its checksum; contiguous ``streams`` are the same in chunks of any length."""
    return {key: value for key, value in data.items() if key not in NOT_CONTENT | ({"steps"} if streams else set())}


def digest(value: Any) -> str:
    """Twelve letters that are the same for the same plain values, in whatever order their keys stand."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted keys; lists stay whole."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        leaves |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return leaves


@dataclass(frozen=True)
class Identity:
    """A configuration to be named: its model, the chosen files of its groups, its essence."""

    model: str
    choices: Mapping[str, str]
    leaves: Mapping[str, Any]


def differences(identities: Sequence[Identity]) -> list[dict[str, str]]:
    """For each of several configurations, by key, what of it differs from any other, as ``hidden_size 64``.

    Values are compared among those that made the same choice for the value's group; of the groups themselves all but
    model, data and task are compared.
    """
    groups = sorted({group for one in identities for group in one.choices} - NAMED_APART)
    several = [g for g in groups if len({one.choices.get(g) for one in identities} - {None}) > 1]
    told = []
    for one in identities:
        found = {group: f"{group} {one.choices[group]}" for group in several if group in one.choices}
        for key, value in one.leaves.items():
            alike = [other for other in identities if _choice(key, other) == _choice(key, one)]
            if any(other.leaves.get(key, MISSING) != value for other in alike):
                found[key] = f"{_short(key, one.leaves)} {_value(value)}"
        told.append(dict(sorted(found.items(), key=lambda item: not item[0].startswith("model."))))
    return told


def labels(identities: Sequence[Identity]) -> list[str]:
    """A short name for each of several configurations: the model, then what tells it from others of the same model.

    Whatever else differs among the set is counted, as in ``hmlstm, hidden_size 64 (+2)``: nothing is hidden.
    """
    told = differences(identities)
    needed: dict[str, set[str]] = {}  # keys, by model
    for one, own in zip(identities, told, strict=True):
        rivals = [theirs for other, theirs in zip(identities, told, strict=True) if other.model == one.model]
        for key, text in own.items():
            left = [theirs for theirs in rivals if theirs.get(key) == text]
            if len(left) < len(rivals):
                needed.setdefault(one.model, set()).add(key)
            rivals = left
    written = []
    for one, own in zip(identities, told, strict=True):
        shown = [text for key, text in own.items() if key in needed.get(one.model, ())]
        rest = len(own) - len(shown)
        written.append(", ".join([one.model, *shown]) + (f" (+{rest})" if rest else ""))
    return written


def _choice(key: str, of: Identity) -> str | None:
    """What was chosen for the group of a dotted key."""
    group = key.split(".")[0]
    return of.choices.get(group, of.model if group == "model" else None)


def _short(key: str, beside: Mapping[str, Any]) -> str:
    """The end of a dotted key that is enough to tell it from the others."""
    parts = key.split(".")
    for length in range(1, len(parts) + 1):
        end = ".".join(parts[-length:])
        if sum(other == end or other.endswith(f".{end}") for other in beside) == 1:
            return end
    return key


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
