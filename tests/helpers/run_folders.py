"""Run folders as a run leaves them, made without training."""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from multiscale.config.identity import freeze
from multiscale.runs.files import write_json

SHA = "a" * 64
NOBODY = 2**22 + 1  # no process has such an id


def config(
    model: str = "hmlstm",
    seed: int = 0,
    data: str = "python_docs",
    width: int = 32,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A small whole config as a run's folder has it; ``changes``, as ``{"trainer": {"max_epochs": 9}}``, go over it."""
    whole: dict[str, Any] = {
        "name": model,
        "seed": seed,
        "threads": 1,
        "folder": "somewhere",
        "choices": {"model": model, "head": "gated", "data": data, "task": "language_model"},
        "model": {"_target_": f"multiscale.backbones.{model}.Network", "hidden_size": width},
        "head": {"_target_": "multiscale.nn.heads.Gated", "embedding_size": 16},
        "data": {"_target_": f"multiscale.data.{data}.Data", "batch_size": 4, "steps": 16},
        "task": {"_target_": "multiscale.training.tasks.text.LanguageModel", "monitor": "val/bpc"},
        "optim": {"optimizer": {"_target_": "torch.optim.Adam", "lr": 0.003}},
        "trainer": {"_target_": "pytorch_lightning.Trainer", "max_epochs": 4, "log_every_n_steps": 20},
        "logger": {"csv": {"_target_": "multiscale.training.logging.csv_log.CSVLog", "folder": "${folder}"}},
        "callbacks": {
            "best": {
                "_target_": "pytorch_lightning.callbacks.ModelCheckpoint",
                "dirpath": "${folder}/checkpoints",
                "monitor": "${task.monitor}",
            },
            "figures": {"_target_": "multiscale.analysis.figures.Figures", "folder": "${folder}/figures"},
        },
    }
    return resolved(OmegaConf.to_container(OmegaConf.merge(whole, changes or {})))  # type: ignore[arg-type]


def resolved(whole: dict[str, Any]) -> dict[str, Any]:
    """A config as a run's folder has it: resolved but for the folder itself, with what identifies it."""
    return OmegaConf.to_container(freeze(OmegaConf.create(whole), folder=whole["folder"]))  # type: ignore[return-value]


def summary(whole: Mapping[str, Any], score: float, sha256: str = SHA) -> dict[str, Any]:
    """What a finished run of a config writes."""
    return {
        "name": whole["name"],
        "seed": whole["seed"],
        "data": {"source": "made up", "sha256": sha256, "references": {}, "characters": [90, 5, 5]},
        "val": {"val/bpc": score + 0.5},
        "test": {"test/bpc": score},
        "parameters": 1234,
        "levels": [
            {"name": "layer 1", "units": 32, "update": 1.0, "boundary": 0.5, "f1": 0.6, "f1_random": 0.2},
            {"name": "layer 2", "units": 32, "update": 0.5},
        ],
        "trace": {"operations": 0.75},
        "macs": {"dense": 2000, "done": 1500},
        "state_size": 130,
        "kernel": "native",
        "epochs": 4,
        "seconds": 12.5,
    }


def finished(folder: Path, score: float, sha256: str = SHA, **settings: Any) -> Path:
    """A run that finished; ``settings`` as for :func:`config`."""
    whole = config(**settings)
    _start(folder, whole, {"state": "finished"})
    write_json(folder / "summary.json", summary(whole, score, sha256))
    log(folder)
    return folder


def unfinished(folder: Path, state: str, status: Mapping[str, Any] | None = None, **settings: Any) -> Path:
    """A run that is running, failed or was interrupted."""
    _start(folder, config(**settings), {"state": state, **(status or {})})
    log(folder)
    return folder


def _start(folder: Path, whole: Mapping[str, Any], status: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(dict(whole)), folder / "config.yaml")
    known = {"epoch": 2, "step": 40, "error": "", "pid": os.getpid(), "host": socket.gethostname()}
    (folder / "status.json").write_text(json.dumps(known | dict(status)))


def log(folder: Path, rows: int = 4) -> None:
    """A ``metrics.csv`` of ``rows`` logged steps in two epochs."""
    lines = ["epoch,step,trace/period_1,trace/period_2,train/bpc,val/bpc"]
    for row in range(rows):
        epoch, step = row * 2 // rows, row * 20 + 19
        lines.append(f"{epoch},{step},,,{4 / (row + 1)},")
        if (row + 1) % (rows // 2) == 0:
            lines.append(f"{epoch},{step},1,{6 + epoch},,{2.5 + epoch}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
