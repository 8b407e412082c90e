"""What runs measured, as charts; only runs that stand in averages are shown."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce

import numpy as np

from multiscale.comparison.figures import Axis, Chart, Series, Style, make_styles
from multiscale.comparison.records import Run, number
from multiscale.comparison.table import Setting, Table

BESIDE = 0.02  # of a training, the place of a dot behind its end
POINTS = 500  # of a curve; longer ones are thinned
NAMED = 8  # configurations in a caption
PARETO = "operations"  # whose chart has a front
COSTS = {  # the measure, and what it is, by the name of the chart
    "parameters": ("parameters", "parameters"),
    "updates": ("operations", "share of all units rewritten at a step"),
    PARETO: ("macs_done", "multiply-accumulates done a step"),
    "time": ("seconds", "time of the run (seconds)"),
}
Readings = tuple[np.ndarray, np.ndarray]  # places [N] that the seeds share, or [seeds, N], and values [seeds, N]
NOTHING: Readings = np.empty(0), np.empty((1, 0))
RATES = {"update": "share of the level rewritten at a step", "boundary": "boundaries a step"}


def style_labels(table: Table) -> dict[str, Style]:
    """The style of each label, whatever the data; by name, so that a better score changes no colour."""
    return make_styles(sorted({row.label for row in table.rows}))


def draw_curves(setting: Setting, styles: Mapping[str, Style]) -> Iterator[Chart]:
    """The monitored metric over the steps of training, in training and in validation."""
    for split, name in (("val", "validation"), ("train", "training")):
        metric = f"{split}/{setting.metric}"
        series = _make_series(setting, styles, partial(_read_curves, metric=metric), ends=True)
        ends = [f"{one.name}: {one.y[-1]:.4g}" for one in sorted(series, key=lambda one: one.y[-1])]
        if series:
            yield Chart(
                key=f"curves-{split}-{setting.key}",
                title=f"{setting.title}: {name}",
                caption=f"{setting.metric} of {name} over training steps, a dot a seed beside the end; at the end: "
                f"{_list_some(ends)}.",
                data=setting.data,
                x=Axis("training step"),
                y=Axis(metric),
                series=series,
            )


def draw_costs(setting: Setting, styles: Mapping[str, Style]) -> Iterator[Chart]:
    """The test score against what it took."""
    for name, (measure, title) in COSTS.items():
        series = _make_series(setting, styles, partial(_read_cost, measure=measure))
        ends = [f"{one.name}: {_format(one.y[0])} at {_format(one.x[0])}" for one in series]
        taken = [x for one in series for x, _ in [*one.dots, (one.x[0], 0)]]
        front = find_front([(one.x[0], one.y[0]) for one in series]) if name == PARETO else []
        named = _list_some([one.name for point in front for one in series if (one.x[0], one.y[0]) == point])
        if series:
            yield Chart(
                key=f"cost-{name}-{setting.key}",
                title=f"{setting.title}: test {setting.metric} against {'products a step' if name == PARETO else name}",
                caption=f"Test {setting.metric} against {title}: {_list_some(ends)}."
                + (f" On the dotted front, no mean is lower for as few: {named}." if front else ""),
                data=setting.data,
                x=Axis(title, base=10 if max(taken) > 8 * min(taken) > 0 else None),
                y=Axis(f"test/{setting.metric}"),
                series=series,
                joined=False,
                front=front,
            )


def draw_rates(setting: Setting, styles: Mapping[str, Style]) -> Iterator[Chart]:
    """How much of each level is rewritten at a step, and how often it ends a segment, on the test split."""
    for kind, title in RATES.items():
        series = _make_series(setting, styles, partial(_read_rates, kind=kind))
        ends = [f"{one.name}: {' / '.join(f'{y:.3g}' for y in one.y)}" for one in series]
        count = int(max((one.x[-1] for one in series), default=0))
        if series:
            yield Chart(
                key=f"rates-{kind}-{setting.key}",
                title=f"{setting.title}: {kind} of each level",
                caption=f"{title.capitalize()}, from the fastest level on: {_list_some(ends)}.",
                data=setting.data,
                x=Axis("level, the fastest first", names=[str(level) for level in range(1, count + 1)]),
                y=Axis(title),
                series=series,
            )


def _make_series(
    setting: Setting, styles: Mapping[str, Style], read: Callable[[Sequence[Run]], Readings], ends: bool = False
) -> list[Series]:
    """A series for each configuration whose runs have something to ``read``, with a dot a seed where there are several;
    of curves beside their ``ends``."""
    series = []
    for row in setting.rows:
        x, values = read(row.runs)
        if x.size:
            y, low, high = (spread.tolist() for spread in (values.mean(0), values.min(0), values.max(0)))
            seeds = "1 seed" if len(row.runs) == 1 else f"{len(row.runs)} seeds"
            dots = [*zip(*(part.ravel().tolist() for part in np.broadcast_arrays(x, values)), strict=True)]
            if ends:  # beside the last marker, which would hide them
                dots = [(float(x[-1]) * (1 + BESIDE), float(value)) for value in values[:, -1]]
            dots = dots if len(values) > 1 else []
            x = x.mean(0) if x.ndim > 1 else x
            style = styles[row.label]
            series.append(Series(row.label, row.first.model, style, x.tolist(), y, low, high, seeds, dots))
    return series


def find_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those of ``points`` that none is left of and below, from left to right."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def _read_curves(runs: Sequence[Run], metric: str) -> Readings:
    """One curve a run, at the steps that all of them logged."""
    curves = [run.curves[metric] for run in runs if metric in run.curves]
    if not curves:
        return NOTHING
    shared = reduce(np.intersect1d, [steps for steps, _ in curves])
    shared = shared[thin(len(shared))]
    return shared, np.array([values[np.searchsorted(steps, shared)] for steps, values in curves])


def _read_cost(runs: Sequence[Run], measure: str) -> Readings:
    """The scores, each at its cost; nothing if that of any run is not known."""
    taken = np.array([[run.measures.get(measure, np.nan)] for run in runs])
    return (taken, np.array([[run.score] for run in runs])) if np.isfinite(taken).all() else NOTHING


def _read_rates(runs: Sequence[Run], kind: str) -> Readings:
    levels = [[number(level.get(kind)) for level in run.summary["levels"]] for run in runs]
    if len({len(level) for level in levels}) != 1:
        return NOTHING
    rates = np.array(levels)
    if kind == "boundary":
        rates = rates[:, :-1]  # the top one has no detector
    there = np.flatnonzero(np.isfinite(rates).all(0))
    return there + 1, rates[:, there]


def thin(count: int) -> np.ndarray:
    """Which of ``count`` points to draw: all, or ``POINTS`` of them, evenly, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int))


def _list_some(texts: Sequence[str]) -> str:
    """As many of a list as a caption has room for."""
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return "; ".join(texts[:NAMED]) + more


def _format(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
