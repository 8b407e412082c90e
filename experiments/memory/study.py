"""The table and the figure, from runs.csv: ``python -m experiments.memory.study``. See README.md."""

from collections.abc import Iterator
from math import log
from pathlib import Path

from matplotlib.figure import Figure

from experiments.check import show
from experiments.runs import Row, by_seed, group, mark, markdown, read
from multiscale.analysis.plots import save
from multiscale.comparison.statistics import estimate

HERE = Path(__file__).parent
MODELS = (
    "stacked_lstm",
    "clockwork",
    "learned_clock",
    "hmlstm_paper",
    "hmlstm",
    "hmlstm_no_top_down",
    "hmlstm_preact",
    "dilated",
    "skip_rnn",
)
TASKS = {"adding": "adding", "copy_memory": "copying"}
SOLVED = {"adding": 0.01, "copy_memory": 0.1}  # of what knowing nothing of the past gives
PIXELS = ("arm", "seeds", "epochs", "test error, %", "updates, %", "products a step")
COLUMNS = (
    "task",
    "steps",
    "arm",
    "seeds",
    "solved",
    "epochs",
    "left of the score without memory",
    "updates, %",
    "products a step",
)


def gather() -> dict[tuple[str, int, str], list[Row]]:
    """The runs of each task, length and model."""
    made = [row for row in read(HERE / "runs.csv") if row["data"] in TASKS]
    grouped = group(made, "data", "data.steps", "data.delay", "name")
    return {(data, int(steps or delay), model): rows for (data, steps, delay, model), rows in grouped.items()}


def chance(task: str, steps: int) -> float:
    """The best score without memory: the variance of the sum, or the cross-entropy of guessing 10 symbols of 8."""
    return 1 / 6 if task == "adding" else 10 * log(8) / (steps + 20)


def tabulate() -> Iterator[str]:
    """A line a task, length and model, in Markdown; then one a model that read permuted MNIST."""
    runs = gather()
    keys = sorted(runs, key=lambda key: (list(TASKS).index(key[0]), key[1], MODELS.index(key[2])))
    yield from markdown(COLUMNS, (_line(*key, runs[key]) for key in keys))
    digits = group([row for row in read(HERE / "runs.csv") if row["data"] == "psmnist"], "name")
    yield "\n**Permuted sequential MNIST**\n"
    yield from markdown(PIXELS, (_digits(model, digits[model,]) for model in MODELS if (model,) in digits))


def _digits(model: str, rows: list[Row]) -> list[str]:
    errors = estimate({seed: 100 * error for seed, error in by_seed(rows, "score").items()})
    return [f"`{model}`", str(len(rows)), _epochs(rows), show(errors, "{:.1f}"), *_work(rows)]


def _epochs(rows: list[Row]) -> str:
    return f"{estimate(by_seed(rows, 'epochs')).mean:.3g}"


def _work(rows: list[Row]) -> list[str]:
    """The share of steps at which a level updates, and products a step."""
    return [
        f"{100 * estimate(by_seed(rows, 'operations')).mean:.0f}",
        f"{estimate(by_seed(rows, 'macs_done')).mean:,.0f}",
    ]


def _line(task: str, steps: int, model: str, rows: list[Row]) -> list[str]:
    without = chance(task, steps)
    solved = sum(float(row["val"]) < SOLVED[task] * without for row in rows)
    return [
        TASKS[task],
        f"{steps:,}",
        f"`{model}`",
        str(len(rows)),
        f"{solved} of {len(rows)}",
        _epochs(rows),
        show(estimate({seed: score / without for seed, score in by_seed(rows, "score").items()}), "{:.3f}"),
        *_work(rows),
    ]


def draw() -> Figure:
    """What is left of the score without memory against length: every seed, and the mean of each model."""
    runs = gather()
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, len(TASKS), sharey=True)
    for axes, (task, told) in zip(panels, TASKS.items(), strict=True):
        for place, model in enumerate(MODELS):
            mine = {steps: rows for (data, steps, name), rows in sorted(runs.items()) if (data, name) == (task, model)}
            shift = 1.03 ** (place - len(MODELS) / 2)
            style = mark(place)
            left = {steps: [float(row["score"]) / chance(task, steps) for row in rows] for steps, rows in mine.items()}
            for steps, scores in left.items():
                axes.plot([steps * shift] * len(scores), scores, linestyle="", alpha=0.4, markersize=4, **style)
            means = [sum(scores) / len(scores) for scores in left.values()]
            axes.plot([steps * shift for steps in left], means, linewidth=1.2, label=model, **style)
        lengths = sorted({steps for data, steps, _ in runs if data == task})
        axes.axhline(SOLVED[task], color="#777777", linewidth=1, linestyle="--")
        axes.set(xscale="log", yscale="log", xlabel=f"{told}: steps", xticks=lengths, xticklabels=map(str, lengths))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("test score / score without memory")
    panels[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


if __name__ == "__main__":
    print("\n".join(tabulate()))
    save(draw(), HERE / "lengths.png")
