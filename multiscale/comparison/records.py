"""What a run folder says of itself in its config, ``status.json`` and other small files; any may be damaged."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from multiscale.checks import describe_error, read_file
from multiscale.comparison.curves import Curve, read_curves
from multiscale.comparison.statistics import Draw
from multiscale.config.foreign import parse_yaml
from multiscale.runs.files import parse_json
from multiscale.runs.status import FAILED, FINISHED, INTERRUPTED, RUNNING, WAITING, is_gone

STATES = (WAITING, RUNNING, FINISHED, FAILED, INTERRUPTED)
UNKNOWN = "unknown"
PARTS = ("model", "data", "task")  # of every config
RESULTS = ("val", "test", "data")  # in every summary
NO_MEASURE = {"name", "units"}  # of a level
CLOCK = "trace/period_"
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder.

    Args:
        folder: where it is.
        state: waiting, running, finished, failed, interrupted or unknown.
        reason: why it cannot stand in an average, in a line; empty if it can.
        name: of the run; by default, that of its model.
        seed: None if it is not known.
        model: the chosen one.
        data: the chosen data set.
        task: the chosen one.
        choices: what was chosen of each group of the config.
        config: the whole config, as plain values; empty if it cannot be read.
        monitor: the validation metric that chose the best weights, as ``val/bpc``; the lower, the better.
        summary: what a finished run wrote; empty else.
        leaves: what of the config decides a result, by dotted keys, with ``own`` for what follows the run's seed.
        configuration: the same for runs that differ in nothing but seed and fold; empty if the config cannot be read.
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
    model: str
    data: str
    task: str
    choices: dict[str, str]
    config: dict[str, Any]
    monitor: str
    summary: dict[str, Any]
    leaves: dict[str, Any]
    configuration: str
    setting: str
    content: str
    label: str
    details: str = ""

    @property
    def fold(self) -> int | None:
        """Of its data, which is the test; None if they have none."""
        data = section(self.config, "data")
        fold = data.get("fold") if data.get("folds") else None
        return fold if isinstance(fold, int) and not isinstance(fold, bool) else None

    @property
    def draw(self) -> Draw | None:
        """What sets it apart from the other runs of its configuration; None if its seed is not known."""
        return self.seed if self.seed is None or self.fold is None else (self.seed, self.fold)

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

    @cached_property
    def measures(self) -> dict[str, float]:
        """The plain numbers of its summary, and of its clocks at its best epoch, by the names of columns."""
        summary = self.summary
        macs, trace, test = section(summary, "macs"), section(summary, "trace"), section(summary, "test")
        values: dict[str, Any] = {
            "parameters": summary.get("parameters"),
            "macs": macs.get("dense"),
            "macs_done": macs.get("done"),
            "macs_head": macs.get("head"),
            "operations": trace.get("operations"),
            "state_size": summary.get("state_size"),
            "seconds": summary.get("seconds"),
            "epochs": summary.get("epochs"),
        }
        values |= {name: value for name, value in test.items() if name != f"test/{self.metric}"}
        for place, level in enumerate(summary.get("levels", []), 1):
            values |= {f"{kind}_{place}": value for kind, value in level.items() if kind not in NO_MEASURE}
        values |= self._periods() if summary else {}
        return {name: number(value) for name, value in values.items() if isfinite(number(value))}

    def _periods(self) -> dict[str, float]:
        """Period of each clock, in steps, when the monitored metric was best."""
        steps, values = self.curves.get(self.monitor, (np.empty(0), np.empty(0)))
        best = steps[np.nanargmin(values)] if np.isfinite(values).any() else None
        periods = {}
        for name, (steps, values) in self.curves.items():
            if name.startswith(CLOCK):
                at = np.flatnonzero(steps == best)
                periods[name.removeprefix("trace/")] = float(values[at[0] if len(at) else -1])
        return periods

    def excerpt(self) -> dict[str, Any]:
        """What the network did on a passage of validation data; empty if that was not kept."""
        return read_json(self.folder / "excerpt.json")[0]

    def command(self) -> str:
        """The command that it was started with; empty if it is not known."""
        status = read_json(self.folder / "status.json")[0]  # of a run that did not finish, all there is
        return str(self.summary.get("command") or status.get("command") or "")


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
    if not error:
        with suppress(OSError):
            error = read_file(folder / "error.txt").decode(errors="replace").strip().rpartition("\n")[2]
    return " ".join(error.split())


def read_json(path: Path) -> tuple[dict[str, Any], str]:
    """(the object in a file, what is wrong with it); one of the two is empty."""
    return _read(path, parse_json)


def read_config(folder: Path) -> tuple[dict[str, Any], str]:
    """(config, what is wrong with it); one of the two is empty.

    It is resolved, but for values as ``${folder}/checkpoints``, which stand in no comparison and stay as they are.
    """
    return _read(folder / "config.yaml", lambda content: _name_keys(parse_yaml(content)), PARTS)


def read_summary(folder: Path) -> tuple[dict[str, Any], str]:
    """(what a finished run wrote, what is wrong with it); one of the two is empty."""
    summary, wrong = _read(folder / "summary.json", parse_json, RESULTS)
    levels = summary.get("levels")
    if not wrong and not (isinstance(levels, list) and all(isinstance(level, dict) for level in levels)):
        wrong = "summary.json has no levels"
    return ({}, wrong) if wrong else (summary, "")


def _read(path: Path, parse: Callable[[bytes], Any], parts: Iterable[str] = ()) -> tuple[dict[str, Any], str]:
    """(the mapping in a file, what is wrong with it); ``parts`` are mappings that it must have."""
    try:
        content = parse(read_file(path))
    except FileNotFoundError:
        return {}, f"{path.name} is missing"
    except (OSError, ValueError) as error:
        return {}, f"{path.name} is damaged: {describe_error(error)}"
    if not isinstance(content, dict):
        return {}, f"{path.name} is damaged: it is no mapping"
    lacking = [part for part in parts if not section(content, part)]
    return ({}, f"{path.name} has no {lacking[0]}") if lacking else (content, "")


def _name_keys(value: Any) -> Any:
    """The value with every key a word."""
    if isinstance(value, dict):
        return {str(key): _name_keys(inner) for key, inner in value.items()}
    return [_name_keys(inner) for inner in value] if isinstance(value, list) else value


def section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of a config or a summary; empty if it is not there or no mapping."""
    part = values.get(name)
    return part if isinstance(part, dict) else {}


def number(value: Any) -> float:
    """A plain number; NaN for anything else, and for one that no float holds."""
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else float("nan")
    except OverflowError:
        return float("nan")


def group_by(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by their key, in the order of reading."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
