"""The tables and the figure, from runs.csv: ``python -m experiments.learned_periods.study``. See README.md."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from experiments.check import show
from experiments.runs import markdown, read
from multiscale.analysis.plots import COLOURS, save
from multiscale.comparison.statistics import estimate
from multiscale.data.clocked_symbols import ClockedSymbols

HERE = Path(__file__).parent
COLUMNS = (
    "sweep",
    "hidden periods",
    "jitter",
    "steps",
    "model",
    "modules",
    "found",
    "error",
    "at the true periods",
    "products done",
)


class Task(NamedTuple):
    """Hidden clocks, and what is to find them."""

    kind: str  # of run: jitter, longer, more, powers
    periods: tuple[int, ...]
    jitter: float
    alphabet: int
    steps: int
    modules: int
    model: str


class Found(NamedTuple):
    """What one run came to."""

    error: float
    products: float
    periods: tuple[float, ...]


def gather() -> dict[Task, dict[int, Found]]:
    """What each seed came to, of each task."""
    found: dict[Task, dict[int, Found]] = defaultdict(dict)
    for row in read(HERE / "runs.csv"):
        periods = [float(row[key]) for key in row if key.startswith("period_") and row[key]]
        task = Task(
            row["folder"].split("/")[2].split("_")[0],
            tuple(json.loads(row["data.periods"])),
            float(row["data.jitter"]),
            int(row["data.alphabet"]),
            int(row["data.steps"]),
            int(row["model.clock.num_modules"] or 4),
            row["model"],
        )
        found[task][int(row["seed"])] = Found(float(row["score"]), float(row["macs_done"]), tuple(periods))
    return found


@cache
def best(task: Task) -> float:
    """The error on the test split of whoever holds the symbols at the true periods' ticks, and knows no jitter."""
    names = ("periods", "jitter", "alphabet", "steps")
    data = ClockedSymbols(batch_size=50, **{name: getattr(task, name) for name in names})
    data.setup()
    test = data.samples["test"]
    inputs, targets = test.inputs, test.targets
    return float((data.targets(inputs, data.ticks()) != targets).float().mean())


def count(task: Task, runs: Sequence[Found]) -> str:
    """In how many runs every true period is the period of a module that learned it."""
    if task.model != "learned_clock":
        return "-"
    return f"{sum(set(task.periods) <= set(run.periods) for run in runs)} of {len(runs)}"


def tabulate() -> Iterator[str]:
    """A line a task, in Markdown."""
    yield from markdown(COLUMNS, (_line(task, list(by_seed.items())) for task, by_seed in sorted(gather().items())))


def _line(task: Task, runs: Sequence[tuple[int, Found]]) -> list[str]:
    found = [run for _, run in runs]
    return [
        f"`{task.kind}`",
        ", ".join(map(str, task.periods)),
        f"{task.jitter:g}",
        str(task.steps),
        f"`{task.model}`",
        str(task.modules),
        count(task, found),
        show(estimate({seed: run.error for seed, run in runs}), "{:.3f}"),
        f"{best(task):.3f}",
        f"{sum(run.products for run in found) / len(found):,.0f}",
    ]


def draw() -> Figure:
    """Error against jitter, of every seed, beside the least that a clock of the true period can have."""
    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes = figure.subplots()
    tasks = {task: by_seed for task, by_seed in gather().items() if task.kind == "jitter"}
    for place, (periods, marker) in enumerate((((6,), "o"), ((12,), "s"))):
        mine = sorted(task for task in tasks if task.periods == periods)
        shift = (place - 0.5) * 0.012
        axes.plot(
            [t.jitter for t in mine],
            [best(t) for t in mine],
            color=COLOURS[place],
            label=f"at the true period, {periods[0]}",
        )
        points = [(task.jitter + shift, run.error) for task in mine for run in tasks[task].values()]
        axes.plot(
            *zip(*points, strict=True),
            marker,
            color=COLOURS[place],
            alpha=0.5,
            markersize=5,
            label="learned clock, each seed",
        )
    axes.set_xlabel("jitter: probability that a tick is a step early or late")
    axes.set_ylabel("error, share of steps (test)")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


if __name__ == "__main__":
    print("\n".join(tabulate()))
    save(draw(), HERE / "jitter.png")
