"""What a run folder says of itself in ``config.yaml``, ``status.json`` and other small files; any may be damaged."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from multiscale.runs.status import is_gone

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
STATES = ("waiting", "running", "finished", "failed", "interrupted")
REFERENCE = re.compile(r"\$\{([\w.]+)\}")
PARTS = ("model", "data", "task")  # of every config


def read_state(folder: Path) -> tuple[str, str]:
    """(state, why it is no finished run)."""
    if not (folder / "status.json").exists():  # runs of before there was one
        finished = (folder / "summary.json").exists()
        return ("finished", "") if finished else ("unknown", "has neither status.json nor summary.json")
    status, wrong = read_json(folder / "status.json")
    if status is None:
        return "unknown", wrong
    state = str(status.get("state"))
    if state not in STATES:
        return "unknown", f"status.json tells of a state that is not known, {state!r}"
    where = f"at epoch {status.get('epoch', '?')}, step {status.get('step', '?')}"
    gone = is_gone(status)
    if state == "finished":
        return state, ""
    if state == "waiting":
        return state, "not begun" + (", and who was to begin it is gone" if gone else "")
    if state == "running":
        return ("interrupted", f"ended without a word {where}") if gone else (state, f"still running, {where}")
    why = _error(folder, status)
    return state, f"{state} {where}" + (f": {why}" if why else "")


def _error(folder: Path, status: dict[str, Any]) -> str:
    told = str(status.get("error") or "")
    if not told and (folder / "error.txt").is_file():
        told = (folder / "error.txt").read_text(errors="replace").strip().rpartition("\n")[2]
    return " ".join(told.split())


def read_json(path: Path) -> tuple[dict[str, Any] | None, str]:
    """(the object in a file, what is wrong with it); one of the two is empty."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None, f"{path.name} is missing"
    except (OSError, ValueError) as error:
        return None, f"{path.name} is damaged: {str(error).splitlines()[0]}"
    return (found, "") if isinstance(found, dict) else (None, f"{path.name} is damaged: it is no object")


def read_config(folder: Path) -> tuple[dict[str, Any], dict[str, str], str]:
    """(config with its interpolations, choices, what is wrong)."""
    try:
        if (folder / "config.yaml").is_file():
            config, chosen = _yaml(folder / "config.yaml"), {}
        else:  # runs of before a folder kept its whole config
            config = _yaml(folder / ".hydra" / "config.yaml")
            if (folder / ".hydra" / "hydra.yaml").is_file():
                runtime = _yaml(folder / ".hydra" / "hydra.yaml")["hydra"]["runtime"]
                chosen = runtime["choices"]
    except FileNotFoundError:
        return {}, {}, "has no config.yaml"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        return {}, {}, f"its config is damaged: {(str(error).splitlines() or [''])[0]}"
    lacking = [part for part in PARTS if not section(config, part)]
    if lacking:
        return {}, {}, f"its config is damaged: it has no {lacking[0]}"
    chosen = {**chosen, **section(config, "choices")}
    choices = {str(key): str(value) for key, value in chosen.items() if value is not None}
    return config, {key: value for key, value in choices.items() if not key.startswith("hydra/")}, ""


def _yaml(path: Path) -> dict[str, Any]:
    found = yaml.load(path.read_bytes(), LOADER)  # many times as fast as OmegaConf, whose types are of no use here
    if not isinstance(found, dict):
        raise ValueError("it is no mapping")
    return {str(key): value for key, value in found.items()}


def filled(value: Any, whole: Mapping[str, Any], depth: int = 8) -> Any:
    """``value`` with each reference ``${a.b}`` to a key of the ``whole`` config filled in, ``depth`` deep.

    Anything else that is interpolated, such as a variable of the environment, is only known in the run and stays as it
    is written.
    """
    if isinstance(value, Mapping):
        return {key: filled(inner, whole, depth) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, whole, depth) for inner in value]
    if not isinstance(value, str) or "${" not in value or not depth:
        return value
    if alone := REFERENCE.fullmatch(value):
        return _referred(alone, whole, depth)
    return REFERENCE.sub(lambda found: str(_referred(found, whole, depth)), value)


def _referred(found: re.Match[str], whole: Mapping[str, Any], depth: int) -> Any:
    node: Any = whole
    for part in found[1].split("."):
        if not isinstance(node, Mapping) or part not in node:
            return found[0]
        node = node[part]
    return filled(node, whole, depth - 1)


def section(config: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a config; empty if it is not there or no mapping."""
    part = config.get(name)
    return part if isinstance(part, dict) else {}
