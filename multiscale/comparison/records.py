"""What a run folder says of itself in ``config.yaml``, ``status.json`` and other small files; any may be damaged."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from multiscale.runs.status import FAILED, FINISHED, INTERRUPTED, RUNNING, WAITING, is_gone

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
STATES = (WAITING, RUNNING, FINISHED, FAILED, INTERRUPTED)
UNKNOWN = "unknown"
PARTS = ("model", "data", "task")  # of every config


def read_state(folder: Path) -> tuple[str, str]:
    """(state, why it is no finished run)."""
    status, wrong = read_json(folder / "status.json")
    if wrong:
        return UNKNOWN, wrong
    state = str(status.get("state"))
    if state not in STATES:
        return UNKNOWN, f"status.json tells of a state that is not known, {state!r}"
    where = f"at epoch {status.get('epoch', '?')}, step {status.get('step', '?')}"
    if state == FINISHED:
        return state, ""
    if state == WAITING:
        return state, "not begun" + (", and who was to begin it is gone" if is_gone(status) else "")
    if state == RUNNING:
        gone = is_gone(status)
        return (INTERRUPTED, f"ended without a word {where}") if gone else (state, f"still running, {where}")
    error = _read_error(folder, status)
    return state, f"{state} {where}" + (f": {error}" if error else "")


def _read_error(folder: Path, status: Mapping[str, Any]) -> str:
    error = str(status.get("error") or "")
    if not error and (folder / "error.txt").is_file():
        error = (folder / "error.txt").read_text(errors="replace").strip().rpartition("\n")[2]
    return " ".join(error.split())


def read_json(path: Path) -> tuple[dict[str, Any], str]:
    """(the object in a file, what is wrong with it); one of the two is empty."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}, f"{path.name} is missing"
    except (OSError, ValueError) as error:
        return {}, f"{path.name} is damaged: {str(error).splitlines()[0]}"
    return (content, "") if isinstance(content, dict) else ({}, f"{path.name} is damaged: it is no object")


def read_config(folder: Path) -> tuple[dict[str, Any], str]:
    """(config, what is wrong with it); one of the two is empty.

    It is resolved, but for values as ``${folder}/checkpoints``, which stand in no comparison and stay as they are.
    """
    try:  # many times as fast as OmegaConf, whose types are of no use here
        config = yaml.load((folder / "config.yaml").read_bytes(), LOADER)
    except FileNotFoundError:
        return {}, "has no config.yaml"
    except (OSError, ValueError, yaml.YAMLError) as error:
        return {}, f"its config is damaged: {(str(error).splitlines() or [''])[0]}"
    if not isinstance(config, dict):
        return {}, "its config is damaged: it is no mapping"
    lacking = [part for part in PARTS if not section(config, part)]
    return (config, "") if not lacking else ({}, f"its config is damaged: it has no {lacking[0]}")


def section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of a config or a summary; empty if it is not there or no mapping."""
    part = values.get(name)
    return part if isinstance(part, dict) else {}


def number(value: Any) -> float:
    """A plain number; NaN for anything else."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else float("nan")
