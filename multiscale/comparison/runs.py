"""Run folders, read: what was run, how it ended, what it measured. A damaged folder is a run with a reason."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from multiscale.checks import InvalidInput, nearest
from multiscale.comparison.curves import Curve, read_curves
from multiscale.comparison.identity import OWN, Identity, content, differences, digest, essence, flat, labels
from multiscale.comparison.records import filled, read_config, read_json, read_state, section

MARKS = ("status.json", "summary.json", ".hydra/config.yaml")  # any of these makes a folder that of a run


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
        essence: what of the config decides a result, but for the seed (``own`` stands for it); empty as ``config``.
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
    essence: dict[str, Any]
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
        return _monitor(self.config, self.summary)

    @property
    def metric(self) -> str:
        """The monitored metric without its split, as ``bpc``."""
        return self.monitor.partition("/")[2]

    @property
    def score(self) -> float:
        """The test metric of the monitored one's name, of the best weights; NaN if there is none."""
        return _number(self.summary.get("test", {}).get(f"test/{self.metric}"))

    def curves(self) -> dict[str, Curve]:
        """(steps, values) of every metric that was logged, from ``metrics.csv``; empty if there is none.

        A step that was logged twice, as by a run that was taken up again, counts as it was logged last.
        """
        return read_curves(self.folder / "metrics.csv")

    def excerpt(self) -> dict[str, Any] | None:
        """What the network did on a passage of validation data; None if that was not kept."""
        return read_json(self.folder / "excerpt.json")[0]


def find(paths: Iterable[str | Path]) -> list[Path]:
    """The run folders at or below each of ``paths``, each once, in the order of their numbers and names.

    Raises:
        InvalidInput: for a path that is no folder, or has no run in it.
    """
    found: dict[Path, None] = {}
    for path in paths:
        top = Path(path).expanduser()
        if not top.is_dir():
            beside = sorted(p.name for p in top.parent.glob("*") if p.is_dir()) if top.parent.is_dir() else []
            raise InvalidInput(f"runs must be folders; {str(path)!r} is none.{nearest(top.name, beside)}")
        below = []
        for folder, inner, _ in os.walk(top):
            here = Path(folder)
            if _is_run(here):
                below.append(here.resolve())
                inner.clear()
            inner[:] = [name for name in inner if not name.startswith(".")]
        if not below:
            raise InvalidInput(f"runs must be folders of runs or folders above them; {str(path)!r} has no run in it.")
        found |= dict.fromkeys(sorted(below, key=_natural))
    return list(found)


def _is_run(folder: Path) -> bool:
    logged = (folder / "config.yaml").is_file() and (folder / "metrics.csv").is_file()
    return logged or any((folder / mark).is_file() for mark in MARKS)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def read_all(paths: Iterable[str | Path]) -> list[Run]:
    """Every run at or below ``paths``, with labels that tell their configurations apart; raises as :func:`find`."""
    return labelled([read(folder) for folder in find(paths)])


def labelled(runs: Sequence[Run]) -> list[Run]:
    """The same runs, labelled by what differs among the configurations of each data set and task."""
    named: dict[str, tuple[str, str]] = {}
    for data, task in dict.fromkeys((run.data, run.task) for run in runs):
        alike = [run for run in runs if run.configuration and (run.data, run.task) == (data, task)]
        kinds = {run.configuration: run for run in alike}
        identities = [Identity(run.model, run.choices, flat(run.essence)) for run in kinds.values()]
        told = [", ".join(texts.values()) for texts in differences(identities)]
        named |= dict(zip(kinds, zip(labels(identities), told, strict=True), strict=True))
    marked = []
    for run in runs:
        label, details = named.get(run.configuration, (run.label, run.details))
        marked.append(replace(run, label=label, details=details))
    return marked


def read(folder: str | Path) -> Run:
    """One run folder; whatever is missing or damaged in it is said in ``reason``."""
    folder = Path(folder)
    config, choices, trouble = read_config(folder)
    state, reason = read_state(folder)
    summary: dict[str, Any] = {}
    if state == "finished":
        read_summary, wrong = read_json(folder / "summary.json")
        wrong = wrong or _malformed(read_summary or {})
        if wrong:
            state, reason = "unknown", f"said to be finished, but {wrong}"
        else:
            summary = read_summary or {}
            reason = _scoreless(config, summary)
    guessed = re.search(r"_seed(\d+)$", folder.name)
    seed = config.get("seed", summary.get("seed", int(guessed[1]) if guessed else None))
    if not isinstance(seed, int) or isinstance(seed, bool):
        seed, trouble = None, trouble or f"its seed is {seed!r}"
    plain = filled(config, {**config, "seed": OWN})
    kept, config = essence(plain), filled(config, config)
    named = [summary.get("name"), config.get("name"), choices.get("model"), folder.name]
    name = next(str(word) for word in named if word and "${" not in str(word))
    streams = "characters" in summary.get("data", {})
    own, shared = (content(section(whole, "data"), streams) for whole in (config, plain))
    setting = [choices.get("data"), shared, choices.get("task"), _monitor(config, summary)]
    return Run(
        folder=folder,
        state=state,
        reason=reason or trouble,
        name=name,
        seed=seed,
        config=config,
        choices=choices,
        summary=summary,
        essence=kept,
        ended=(folder / "summary.json").stat().st_mtime if summary else 0.0,
        configuration=digest(kept) if plain else "",
        setting=digest(setting) if plain else "",
        content=digest([choices.get("data"), own]) if plain else "",
        label=choices.get("model") or name,
        details="",
    )


def _malformed(summary: dict[str, Any]) -> str:
    """What a summary lacks that every run's has; empty if nothing."""
    parts = ("val", "test", "data")
    lacking = [part for part in parts if not isinstance(summary.get(part), dict)]
    if not isinstance(summary.get("levels"), list) or not all(isinstance(level, dict) for level in summary["levels"]):
        lacking.append("levels")
    return f"summary.json has no {lacking[0]}" if lacking else ""


def _scoreless(config: dict[str, Any], summary: dict[str, Any]) -> str:
    """Why a summary has no score; empty if it has one."""
    metric = f"test/{_monitor(config, summary).partition('/')[2]}"
    if metric not in summary["test"]:
        return f"summary.json has no {metric}"
    return "" if isfinite(_number(summary["test"][metric])) else f"{metric} is {summary['test'][metric]}"


def _monitor(config: dict[str, Any], summary: dict[str, Any]) -> str:
    named = section(config, "task").get("monitor")
    if isinstance(named, str):
        return named
    val = summary.get("val")  # runs of before a task named its metric
    return str(next(iter(val))) if isinstance(val, dict) and val else ""


def _number(value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number else float("nan")
