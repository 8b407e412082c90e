"""What a run folder says of itself in ``config.yaml``, ``status.json`` and other small files; any may be damaged."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

STATES = ("finished", "running", "failed", "interrupted")
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
    where = f"epoch {status.get('epoch', '?')}, step {status.get('step', '?')}"
    if state == "running":
        if status.get("host") == socket.gethostname() and not _alive(status.get("pid")):
            return "interrupted", f"ended without a word at {where}"
        return state, f"still running, at {where}"
    if state == "failed":
        return state, f"failed at {where}: {_error(folder, status)}"
    return state, "" if state == "finished" else f"interrupted at {where}"


def _error(folder: Path, status: dict[str, Any]) -> str:
    told = str(status.get("error") or "")
    if not told and (folder / "error.txt").is_file():
        told = (folder / "error.txt").read_text(errors="replace").strip().rpartition("\n")[2]
    return " ".join(told.split()) or "no error was kept"


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    except OverflowError:
        return False
    return True


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
                chosen = {key: value for key, value in runtime["choices"].items() if not key.startswith("hydra/")}
    except FileNotFoundError:
        return {}, {}, "has no config.yaml"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError, OmegaConfBaseException) as error:
        return {}, {}, f"its config is damaged: {(str(error).splitlines() or [''])[0]}"
    lacking = [part for part in PARTS if not section(config, part)]
    if lacking:
        return {}, {}, f"its config is damaged: it has no {lacking[0]}"
    chosen = {**chosen, **section(config, "choices")}
    return config, {str(key): str(value) for key, value in chosen.items() if value is not None}, ""


def _yaml(path: Path) -> dict[str, Any]:
    found = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    if not isinstance(found, dict):
        raise ValueError("it is no mapping")
    return {str(key): value for key, value in found.items()}


def resolved(config: dict[str, Any]) -> dict[str, Any]:
    """The config with its interpolations filled in, group by group; those that only a run knows stay as they are."""
    node = OmegaConf.create(config)
    filled: dict[str, Any] = {}
    for key in config:
        try:
            part = node[key]
            filled[key] = OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part
        except OmegaConfBaseException:  # such as its folder
            filled[key] = config[key]
    return filled


def section(config: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a config; empty if it is not there or no mapping."""
    part = config.get(name)
    return part if isinstance(part, dict) else {}
