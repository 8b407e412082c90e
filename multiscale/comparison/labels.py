"""How configurations are called: by what differs among them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from multiscale.comparison.records import Run, group_by

UNSAID = {"model", "data", "task", "experiment"}  # groups that a name need not tell
MISSING = object()


def add_labels(runs: Sequence[Run]) -> list[Run]:
    """The same runs, labelled by what differs among the configurations of each data set and task."""
    names: dict[str, dict[str, Any]] = {}  # by configuration
    for alike in group_by((run for run in runs if run.configuration), lambda run: (run.data, run.task)).values():
        kinds = list({run.configuration: run for run in alike}.values())
        differences = _find_differences(kinds)
        for run, label, own in zip(kinds, _make_labels(kinds, differences), differences, strict=True):
            names[run.configuration] = {"label": label, "details": ", ".join(own.values())}
    return [replace(run, **names.get(run.configuration, {})) for run in runs]


def _find_differences(kinds: Sequence[Run]) -> list[dict[str, str]]:
    """For a run of each configuration, by key, what of it differs from any other, as ``hidden_size 64``.

    Values are compared among those that made the same choice for the value's group; of the groups themselves all but
    model, data and task are compared.
    """
    groups = sorted({group for run in kinds for group in run.choices} - UNSAID)
    varied = [group for group in groups if len({run.choices.get(group) for run in kinds} - {None}) > 1]
    differences = []
    for run in kinds:
        own = {group: f"{group} {run.choices[group]}" for group in varied if group in run.choices}
        for key, value in run.leaves.items():
            rivals = [other for other in kinds if _choice(other, key) == _choice(run, key)]
            if any(other.leaves.get(key, MISSING) != value for other in rivals):
                shown = f"{value:g}" if isinstance(value, float) else format_value(value)
                own[key] = f"{_shorten(key, run.leaves)} {shown}"
        differences.append(dict(sorted(own.items(), key=lambda item: not item[0].startswith("model."))))
    return differences


def _choice(run: Run, key: str) -> str | None:
    """What was chosen for the group of a dotted key."""
    group = key.split(".")[0]
    return run.choices.get(group, run.model if group == "model" else None)


def _make_labels(kinds: Sequence[Run], differences: Sequence[Mapping[str, str]]) -> list[str]:
    """A short name for each of several configurations: the model, then what tells it from others of the same model.

    Whatever else differs among the set is counted, as in ``hmlstm, hidden_size 64 (+2)``: nothing is hidden.
    """
    needed: dict[str, set[str]] = {}  # keys, by model
    for run, own in zip(kinds, differences, strict=True):
        rivals = [theirs for other, theirs in zip(kinds, differences, strict=True) if other.model == run.model]
        for key, text in own.items():
            alike = [theirs for theirs in rivals if theirs.get(key) == text]
            if len(alike) < len(rivals):
                needed.setdefault(run.model, set()).add(key)
            rivals = alike
    names = []
    for run, own in zip(kinds, differences, strict=True):
        shown = [text for key, text in own.items() if key in needed.get(run.model, ())]
        rest = len(own) - len(shown)
        names.append(", ".join([run.model, *shown]) + (f" (+{rest})" if rest else ""))
    return names


def _shorten(key: str, keys: Mapping[str, Any]) -> str:
    """The end of a dotted key that is enough to tell it from the others."""
    parts = key.split(".")
    ends = (".".join(parts[-length:]) for length in range(1, len(parts) + 1))
    return next((end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1), key)


def format_value(value: Any) -> str:
    """A value as YAML has it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
