"""Run folders, read: what was run, how it ended, what it measured. A damaged folder is a run with a reason."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from multiscale.checks import InvalidInput, nearest
from multiscale.comparison.curves import Curve, read_curves
from multiscale.comparison.labels import Identity, find_differences, make_labels
from multiscale.comparison.records import UNKNOWN, number, read_config, read_json, read_state, section
from multiscale.config.identity import OWN, digest, flatten, science
from multiscale.runs.status import FINISHED

MARKS = ("status.json", "summary.json")  # either makes a folder that of a run
NOT_CONTENT = {"batch_size", "split", "verify"}  # of data: how they are read; the whole data have one checksum


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder.

    Args:
        folder: where it is.
        state: waiting, running, finished, failed, interrupted or unknown.
        reason: why it cannot stand in an average, in a line; empty if it can.
        name: of the run; by default, that of its model.
        seed: None if it is not known.
        config: the whole config, as plain values; empty if it cannot be read.
        choices: what was chosen of each group of the config.
        summary: what a finished run wrote; empty else.
        leaves: what of the config decides a result, by dotted keys, with ``own`` for what follows the run's seed.
        ended: when its summary was written, in seconds since 1970; 0 if it has none.
        configuration: the same for runs that differ in nothing but the seed; empty if the config cannot be read.
        setting: the same for runs whose scores can be compared: the same data, task and metric.
        content: the same for runs whose data should have the same checksum.
        label: a short name of the configuration among those of the same data and task that it was read with.
        details: all that differs among these configurations, as ``hidden_size 64, lr 0.01``.
    """

    folder: Path
    state: str
    reason: str
    name: str
    seed: int | None
    config: dict[str, Any]
    choices: dict[str, str]
    summary: dict[str, Any]
    leaves: dict[str, Any]
    ended: float
    configuration: str
    setting: str
    content: str
    label: str
    details: str

    @property
    def model(self) -> str:
        """The chosen model."""
        return self.choices.get("model") or self.name

    @property
    def data(self) -> str:
        """The chosen data set."""
        return self.choices.get("data") or "?"

    @property
    def task(self) -> str:
        """The chosen task."""
        return self.choices.get("task") or "?"

    @property
    def monitor(self) -> str:
        """The validation metric that chose the best weights, as ``val/bpc``; the lower, the better."""
        return _read_monitor(self.config)

    @property
    def metric(self) -> str:
        """The monitored metric without its split, as ``bpc``."""
        return self.monitor.partition("/")[2]

    @property
    def score(self) -> float:
        """The test metric of the monitored one's name, of the best weights; NaN if there is none."""
        return number(section(self.summary, "test").get(f"test/{self.metric}"))

    @property
    def sha256(self) -> str:
        """Of the data that it read, the first eight letters."""
        return str(section(self.summary, "data").get("sha256") or "none")[:8]

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """(steps, values) of every metric that was logged, from ``metrics.csv``; empty if there is none.

        A step that was logged twice, as by a run that was taken up again, counts as it was logged last; a cell that is
        no number is left out.
        """
        return read_curves(self.folder / "metrics.csv")

    def excerpt(self) -> dict[str, Any]:
        """What the network did on a passage of validation data; empty if that was not kept."""
        return read_json(self.folder / "excerpt.json")[0]

    def command(self) -> str:
        """The command that it was started with; empty if it is not known."""
        status = read_json(self.folder / "status.json")[0]  # of a run that did not finish, all there is
        return str(self.summary.get("command") or status.get("command") or "")


def find(paths: Iterable[str | Path]) -> list[Path]:
    """The run folders at or below each of ``paths``, each once, in the order of their numbers and names.

    Raises:
        InvalidInput: for a path that is no folder, or has no run in it.
    """
    runs: dict[Path, None] = {}
    for path in paths:
        top = Path(path).expanduser()
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


def add_labels(runs: Sequence[Run]) -> list[Run]:
    """The same runs, labelled by what differs among the configurations of each data set and task."""
    names: dict[str, dict[str, Any]] = {}  # by configuration
    for data, task in dict.fromkeys((run.data, run.task) for run in runs):
        alike = [run for run in runs if run.configuration and (run.data, run.task) == (data, task)]
        kinds = {run.configuration: Identity(run.model, run.choices, run.leaves) for run in alike}
        identities = list(kinds.values())
        for kind, label, texts in zip(kinds, make_labels(identities), find_differences(identities), strict=True):
            names[kind] = {"label": label, "details": ", ".join(texts.values())}
    return [replace(run, **names.get(run.configuration, {})) for run in runs]


def read(folder: str | Path) -> Run:
    """One run folder; whatever is missing or damaged in it is said in ``reason``."""
    folder = Path(folder)
    config, trouble = read_config(folder)
    state, reason = read_state(folder)
    summary: dict[str, Any] = {}
    if state == FINISHED:
        summary, wrong = _read_summary(folder)
        state, reason = (UNKNOWN, f"said to be finished, but {wrong}") if wrong else (state, "")
    seed = config.get("seed", summary.get("seed"))
    if not isinstance(seed, int) or isinstance(seed, bool):
        seed, trouble = None, trouble or f"its seed is {seed!r}"
    choices = {str(group): str(choice) for group, choice in section(config, "choices").items() if choice is not None}
    name = str(config.get("name") or summary.get("name") or folder.name)
    identity = section(config, "identity")
    own = flatten(science({key: value for key, value in config.items() if key != "identity"}))
    seeded = identity.get("seeded")
    leaves = own | {key: OWN for key in own if isinstance(seeded, list) and key in seeded}
    streams = "characters" in section(summary, "data")
    setting = [choices.get("data"), _select_content(leaves, streams), choices.get("task"), _read_monitor(config)]
    return Run(
        folder=folder,
        state=state,
        reason=reason or trouble or (_explain(config, summary) if summary else ""),
        name=name,
        seed=seed,
        config=config,
        choices=choices,
        summary=summary,
        leaves=leaves,
        ended=(folder / "summary.json").stat().st_mtime if summary else 0.0,
        configuration=str(identity.get("science") or digest(leaves)) if config else "",
        setting=digest(setting) if config else "",
        content=digest([choices.get("data"), _select_content(own, streams)]) if config else "",
        label=choices.get("model") or name,
        details="",
    )


def _select_content(leaves: Mapping[str, Any], streams: bool) -> dict[str, Any]:
    """What of a config decides the data's checksum; contiguous ``streams`` are the same in chunks of any length."""
    ways = NOT_CONTENT | ({"steps"} if streams else set())
    parts = {key: key.split(".") for key in leaves}
    return {key: leaves[key] for key, part in parts.items() if part[0] == "data" and part[1] not in ways}


def _read_summary(folder: Path) -> tuple[dict[str, Any], str]:
    """(what a finished run wrote, what is wrong with it); one of the two is empty."""
    summary, wrong = read_json(folder / "summary.json")
    lacking = [part for part in ("val", "test", "data") if not isinstance(summary.get(part), dict)]
    levels = summary.get("levels")
    if not isinstance(levels, list) or not all(isinstance(level, dict) for level in levels):
        lacking.append("levels")
    wrong = wrong or (f"summary.json has no {lacking[0]}" if lacking else "")
    return ({}, wrong) if wrong else (summary, "")


def _explain(config: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Why a summary has no score; empty if it has one."""
    metric = f"test/{_read_monitor(config).partition('/')[2]}"
    if metric not in summary["test"]:
        return f"summary.json has no {metric}"
    return "" if isfinite(number(summary["test"][metric])) else f"{metric} is {summary['test'][metric]}"


def _read_monitor(config: Mapping[str, Any]) -> str:
    return str(section(config, "task").get("monitor") or "")
