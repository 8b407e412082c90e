"""Cost against quality over models and tasks, from the tables of runs: ``python -m experiments.pareto``."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator

from experiments.runs import HOME, Row, group, mark, products, read
from experiments.waveforms.study import size
from multiscale.analysis.plots import save
from multiscale.comparison.statistics import estimate

MODELS = (  # each its own pair of colour and marker
    "stacked_lstm",
    "rnn",
    "clockwork",
    "learned_clock",
    "hmlstm_paper",
    "hmlstm",
    "skip_rnn",
    "dilated",
    "phased_lstm",
    "fast_slow",
)


class Panel(NamedTuple):
    """One task: which runs of a page, and what their score is called."""

    title: str
    page: str
    wanted: Callable[[Row], bool]
    score: str
    log: bool = False


PANELS = (
    Panel("Penn Treebank", "characters", lambda row: row["data"] == "ptb", "test bpc"),
    Panel("tiny Shakespeare", "characters", lambda row: row["data"] == "tinyshakespeare", "test bpc"),
    Panel("spoken digits", "speech", lambda row: True, "test error"),
    Panel(
        "adding, 100 steps",
        "memory",
        lambda row: (row["data"], row["data.steps"]) == ("adding", "100"),
        "test MSE",
        True,
    ),
    Panel(
        "copying after 100 steps", "memory", lambda row: row["data.delay"] == "100", "test cross-entropy, nats", True
    ),
    Panel("waveforms, 1000 parameters", "waveforms", lambda row: size(row) == "1000", "NMSE", True),
)


class Point(NamedTuple):
    """What the runs of one arm come to: the model, products a step with the head's, the score and its spread."""

    model: str
    products: float
    score: float
    spread: tuple[float, float] | None


def points(panel: Panel) -> list[Point]:
    """One point an arm of a task."""
    runs = [row for row in read(HOME / panel.page / "runs.csv") if panel.wanted(row)]
    found = []
    for (model, _), rows in group(runs, "model", "name").items():
        score = estimate({place: float(row["score"]) for place, row in enumerate(rows)})
        found.append(Point(model, products(rows), score.mean, score.spread))
    return found


def front(found: list[Point]) -> list[Point]:
    """Those that no other point betters at as little work, cheapest first."""
    kept: list[Point] = []
    for point in sorted(found, key=lambda point: (point.products, point.score)):
        if not kept or point.score < kept[-1].score:
            kept.append(point)
    return kept


def draw() -> Figure:
    """A panel a task: mean score against products a step, and the front of those that nobody betters."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels = figure.subplots(2, 3)
    told: dict[str, object] = {}
    for axes, panel in zip(panels.flat, PANELS, strict=True):
        _fill(axes, panel, told)
    order = [model for model in MODELS if model in told]
    figure.legend([told[model] for model in order], order, loc="outside lower center", ncols=5, frameon=False)
    return figure


def _fill(axes: Axes, panel: Panel, told: dict[str, object]) -> None:
    found = points(panel)
    best = front(found)
    axes.step([p.products for p in best], [p.score for p in best], where="post", color="#999999", linewidth=1, zorder=1)
    for point in found:
        style = mark(MODELS.index(point.model))
        if point.spread:
            axes.plot([point.products] * 2, point.spread, color=style["color"], linewidth=1.5)
        (told[point.model],) = axes.plot(point.products, point.score, markersize=8, linestyle="", **style)
    axes.set(title=panel.title, xscale="log", xlabel="multiply-accumulates a step, done", ylabel=panel.score)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 6)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.minorticks_off()
    if panel.log:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    print(save(draw(), Path(__file__).parent / "pareto.png"))
