"""Run folders, found and read; a damaged folder is a run with a reason."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from multiscale.checks import InvalidInput, expand, nearest
from multiscale.comparison.labels import add_labels
from multiscale.comparison.records import PARTS, UNKNOWN, Run, read_config, read_state, read_summary, section
from multiscale.config.identity import OWN, digest, flatten, science
from multiscale.runs.status import FINISHED

MARKS = ("status.json", "summary.json")  # either makes a folder that of a run
NOT_CONTENT = {"batch_size", "split", "verify"}  # of data: how they are read; the whole data have one checksum


def find(paths: Iterable[str | Path]) -> list[Path]:
    """The run folders at or below each of ``paths``, each once, in the order of their numbers and names.

    Raises:
        InvalidInput: for a path that is no folder, or has no run in it.
    """
    runs: dict[Path, None] = {}
    for path in paths:
        top = expand(path)
        if not top.is_dir():
            beside = sorted(p.name for p in top.parent.glob("*") if p.is_dir()) if top.parent.is_dir() else []
            raise InvalidInput(f"runs must be folders; {str(path)!r} is none.{nearest(top.name, beside)}")
        below = []
        for folder, inner, _ in os.walk(top):
            here = Path(folder)
            if any((here / mark).is_file() for mark in MARKS):
                below.append(here.resolve())
                inner.clear()
            inner[:] = [name for name in inner if not name.startswith(".")]
        if not below:
            raise InvalidInput(f"runs must be folders of runs or folders above them; {str(path)!r} has no run in it.")
        runs |= dict.fromkeys(sorted(below, key=_split_numbers))
    return list(runs)


def _split_numbers(path: Path) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def read_all(paths: Iterable[str | Path]) -> list[Run]:
    """Every run at or below ``paths``, with labels that tell their configurations apart; raises as :func:`find`."""
    return add_labels([read(folder) for folder in find(paths)])


def read(folder: str | Path) -> Run:
    """One run folder; whatever is missing or damaged in it is said in ``reason``."""
    folder = Path(folder)
    config, trouble = read_config(folder)
    state, reason = read_state(folder)
    summary: dict[str, Any] = {}
    if state == FINISHED:
        summary, wrong = read_summary(folder)
        state, reason = (UNKNOWN, f"said to be finished, but {wrong}") if wrong else (state, "")
    seed = config.get("seed", summary.get("seed"))
    if not isinstance(seed, int) or isinstance(seed, bool):
        seed, trouble = None, trouble or f"its seed is {seed!r}"
    choices = {str(group): str(choice) for group, choice in section(config, "choices").items() if choice is not None}
    name = str(config.get("name") or summary.get("name") or folder.name)
    model, data, task = (choices.get(part) or other for part, other in zip(PARTS, (name, "?", "?"), strict=True))
    monitor = str(section(config, "task").get("monitor") or "")
    identity = section(config, "identity")
    own = flatten(science({key: value for key, value in config.items() if key != "identity"}))
    seeded = identity.get("seeded")
    leaves = own | {key: OWN for key in own if isinstance(seeded, list) and key in seeded}
    streams = "characters" in section(summary, "data")
    run = Run(
        folder=folder,
        state=state,
        reason=reason or trouble,
        name=name,
        seed=seed,
        model=model,
        data=data,
        task=task,
        choices=choices,
        config=config,
        monitor=monitor,
        summary=summary,
        leaves=leaves,
        configuration=str(identity.get("science") or digest(leaves)) if config else "",
        setting=digest([data, _select_content(leaves, streams), task, monitor]) if config else "",
        content=digest([data, _select_content(own, streams)]) if config else "",
        label=model,
    )
    return run if run.reason or isfinite(run.score) else replace(run, reason=_explain(run))


def _select_content(leaves: Mapping[str, Any], streams: bool) -> dict[str, Any]:
    """What of a config decides the data's checksum; contiguous ``streams`` are the same in chunks of any length."""
    ways = NOT_CONTENT | ({"steps"} if streams else set())
    parts = {key: key.split(".") for key in leaves}
    return {key: leaves[key] for key, part in parts.items() if part[0] == "data" and part[1] not in ways}


def _explain(run: Run) -> str:
    """Why a finished run has no score."""
    metric = f"test/{run.metric}"
    return f"{metric} is no number" if metric in run.summary["test"] else f"summary.json has no {metric}"
