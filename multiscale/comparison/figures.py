"""From a table of runs to the figures of a report; only runs that stand in averages are shown."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from multiscale.comparison.charts import Chart, Series, Style, styles, thinned
from multiscale.comparison.curves import Curve
from multiscale.comparison.runs import Run
from multiscale.comparison.table import Table

NAMED = 8  # configurations in a caption
SHARE, RATE = "share of all units rewritten at a step", "share of the level rewritten at a step"


class Setting(NamedTuple):
    """Runs whose scores can be compared."""

    key: str
    title: str
    data: str
    metric: str
    kinds: Mapping[str, Sequence[Run]]  # by label, one run a seed


class Measure(NamedTuple):
    """Something of a run to be held against its score."""

    name: str
    label: str
    read: Callable[[Run], float]


def nested(value: Any, *keys: str) -> float:
    """A number inside mappings; NaN if there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else float("nan")


COSTS = (
    Measure("parameters", "parameters", lambda run: nested(run.summary, "parameters")),
    Measure("updates", SHARE, lambda run: nested(run.summary, "trace", "operations")),
    Measure("operations", "multiply-accumulates a step", lambda run: nested(run.summary, "macs", "done")),
    Measure("time", "time of the run (seconds)", lambda run: nested(run.summary, "seconds")),
)


def settings(table: Table) -> list[Setting]:
    """The rows of a table by what makes their scores comparable, in their order."""
    found = []
    keys = list(dict.fromkeys(row.first.setting for row in table.rows))
    for place, key in enumerate(keys, 1):
        rows = [row for row in table.rows if row.first.setting == key]
        first = rows[0].first
        rivals = {r.first.setting for r in table.rows if (r.first.data, r.first.task) == (first.data, first.task)}
        title = f"{first.data}, {first.task}" + (f" ({place})" if len(rivals) > 1 else "")
        kinds = {row.label: row.runs for row in rows}
        found.append(Setting(f"{place}-{slug(first.data)}", title, first.data, first.metric, kinds))
    return found


def looks(table: Table) -> dict[str, Style]:
    """The style of each label, whatever the data; by name, so that a better score changes no colour."""
    return styles(sorted({row.label for row in table.rows}))


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, lowest and highest."""
    return float(np.mean(values)), float(np.min(values)), float(np.max(values))


def _seeds(runs: Sequence[Run]) -> str:
    return "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"


def _some(told: Sequence[str]) -> str:
    """As many of a list as a caption has room for."""
    more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return "; ".join(told[:NAMED]) + more


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def curves(setting: Setting, look: Mapping[str, Style]) -> list[Chart]:
    """The monitored metric over the steps of training, in training and in validation."""
    read = {id(run): run.curves() for kind in setting.kinds.values() for run in kind}
    charts = []
    for split, name in (("val", "validation"), ("train", "training")):
        series = []
        for label, runs in setting.kinds.items():
            lines = [read[id(run)].get(f"{split}/{setting.metric}") for run in runs]
            drawn = _together([line for line in lines if line is not None])
            if drawn is not None:
                series.append(Series(label, runs[0].model, look[label], *drawn, _seeds(runs)))
        if series:
            ends = _some([f"{one.name}: {one.y[-1]:.4g}" for one in sorted(series, key=lambda one: one.y[-1])])
            caption = f"{setting.metric} of {name} over training steps; at the end: {ends}."
            chart = Chart(
                f"curves-{split}-{setting.key}",
                f"{setting.title}: {name}",
                caption,
                "training step",
                f"{split}/{setting.metric}",
                series,
            )
            charts.append(chart)
    return charts


def _together(curves: Sequence[Curve]) -> tuple[list[float], list[float], list[float], list[float]] | None:
    """Steps, mean, lowest and highest of one curve a seed, at the steps that all of them logged."""
    steps = curves[0][0] if curves else np.empty(0)
    for at, _ in curves[1:]:
        steps = np.intersect1d(steps, at)
    if not len(steps):
        return None
    steps = steps[thinned(len(steps))]
    values = np.stack([measured[np.searchsorted(at, steps)] for at, measured in curves])
    return steps.tolist(), values.mean(0).tolist(), values.min(0).tolist(), values.max(0).tolist()


def costs(setting: Setting, look: Mapping[str, Style]) -> list[Chart]:
    """The test score against what it took."""
    charts = []
    for measure in COSTS:
        series = []
        for label, runs in setting.kinds.items():
            taken = [measure.read(run) for run in runs]
            if not np.isfinite(taken).all():
                continue
            mean, low, high = _spread([run.score for run in runs])
            point = ([_spread(taken)[0]], [mean], [low], [high])
            series.append(Series(label, runs[0].model, look[label], *point, _seeds(runs)))
        if series:
            told = _some([f"{one.name}: {_number(one.y[0])} at {_number(one.x[0])}" for one in series])
            wide = max(one.x[0] for one in series) > 8 * min(one.x[0] for one in series) > 0
            chart = Chart(
                f"cost-{measure.name}-{setting.key}",
                f"{setting.title}: test {setting.metric} against {measure.name}",
                f"Test {setting.metric} against {measure.label}: {told}.",
                measure.label,
                f"test/{setting.metric}",
                series,
                joined=False,
                x_base=10 if wide else None,
            )
            charts.append(chart)
    return charts


def rates(setting: Setting, look: Mapping[str, Style]) -> list[Chart]:
    """How much of each level is rewritten at a step, and how often it ends a segment, on the test split."""
    charts = []
    for kind, label in (("update", RATE), ("boundary", "boundaries a step")):
        series = []
        for name, runs in setting.kinds.items():
            levels = [[nested(level, kind) for level in run.summary["levels"]] for run in runs]
            if len({len(level) for level in levels}) != 1:
                continue
            if kind == "boundary":
                levels = [level[:-1] for level in levels]  # the top one has no detector
            numbers = [i for i, column in enumerate(zip(*levels, strict=True), 1) if np.isfinite(column).all()]
            spread = [_spread([level[i - 1] for level in levels]) for i in numbers]
            if spread:
                mean, low, high = (list(column) for column in zip(*spread, strict=True))
                series.append(Series(name, runs[0].model, look[name], numbers, mean, low, high, _seeds(runs)))
        if series:
            told = _some([f"{one.name}: {' / '.join(f'{y:.3g}' for y in one.y)}" for one in series])
            chart = Chart(
                f"rates-{kind}-{setting.key}",
                f"{setting.title}: {kind} of each level",
                f"{label.capitalize()}, from the fastest level on: {told}.",
                "level, the fastest first",
                label,
                series,
                x_names=[str(i) for i in range(1, max(int(one.x[-1]) for one in series) + 1)],
            )
            charts.append(chart)
    return charts


def slug(name: str) -> str:
    """A name as it may stand in the name of a file; no longer one of its own."""
    return re.sub(r"[^A-Za-z0-9_.=]+", "-", name)[:50].strip("-")
