"""The table and the figure, from runs.csv: ``python -m experiments.waveforms.study``. See README.md."""

from collections.abc import Iterator
from pathlib import Path
from statistics import stdev

from matplotlib.figure import Figure

from experiments.check import show
from experiments.runs import Row, group, markdown, read
from multiscale.analysis.plots import COLOURS, MARKERS, save
from multiscale.comparison.statistics import estimate

HERE = Path(__file__).parent
MODELS = {"rnn": "tanh units", "lstm": "LSTM", "clockwork": "Clockwork RNN"}
SIZES = ("100", "250", "500", "1000")
COLUMNS = ("model", "parameters", "runs", "NMSE, mean (95 % interval)", "deviation", "least", "most", "products a step")


def size(row: Row) -> str:
    """Which of ``SIZES`` the run was matched to: the nearest."""
    return min(SIZES, key=lambda target: abs(float(target) - float(row["parameters"])))


def gather() -> dict[tuple[str, str], list[Row]]:
    """The runs of each model and size: five clips, each from several starts."""
    return group(({**row, "size": size(row)} for row in read(HERE / "runs.csv")), "name", "size")


def tabulate() -> Iterator[str]:
    """A line a model and size, in Markdown."""
    runs = gather()
    yield from markdown(
        COLUMNS, (_line(*key, runs[key]) for name in MODELS for target in SIZES if (key := (name, target)) in runs)
    )


def _line(name: str, target: str, rows: list[Row]) -> list[str]:
    errors = [float(row["score"]) for row in rows]
    return [
        MODELS[name],
        f"{float(rows[0]['parameters']):,.0f} (of {target})",
        str(len(rows)),
        show(estimate(dict(enumerate(errors))), "{:.2g}"),
        f"{stdev(errors):.2g}" if len(errors) > 1 else "-",
        f"{min(errors):.2g}",
        f"{max(errors):.2g}",
        f"{float(rows[0]['macs_done']):,.0f}",
    ]


def draw() -> Figure:
    """NMSE against size: every run, and the mean of each model."""
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    runs = gather()
    for place, (name, told) in enumerate(MODELS.items()):
        mine = {target: rows for target in SIZES if (rows := runs.get((name, target)))}
        style = {"color": COLOURS[place], "marker": MARKERS[place]}
        for target, rows in mine.items():
            at = float(target) * 1.05 ** (place - 1)
            axes.plot(
                [at] * len(rows), [float(row["score"]) for row in rows], linestyle="", alpha=0.3, markersize=4, **style
            )
        means = [sum(float(row["score"]) for row in rows) / len(rows) for rows in mine.values()]
        axes.plot([float(target) * 1.05 ** (place - 1) for target in mine], means, label=told, **style)
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="NMSE of the waveform made (1: the mean)")
    axes.set_xticks([float(target) for target in SIZES], SIZES)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


if __name__ == "__main__":
    print("\n".join(tabulate()))
    save(draw(), HERE / "sizes.png")
