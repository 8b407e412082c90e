"""When are two runs the same experiment with another seed? What of a config decides that, and how it is called."""

import hashlib
import json
from collections.abc import Mapping
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
