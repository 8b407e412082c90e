"""What ``multiscale.benchmark model=resting`` prints and draws: the time of an HM-LSTM against its levels' updates."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

from multiscale.analysis.plots import COLOURS, INK, MARKERS
from multiscale.backbones.hmlstm import HMLSTM
from multiscale.benchmarks import hmlstm
from multiscale.benchmarks.timing import Settings, Size, levels_of, measure, table, training_pass

SIZE = Size(256, 64, 100)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # of the steps, with a boundary of each detector
LINES = ("training, what rests left out", "training, all rows multiplied forward", "evaluation, what rests left out")
FIGURE = Path("resting.png")


def report(settings: Settings) -> None:
    """Print the table, and write the figure into the folder where one is."""
    if settings.device != "cpu" or hmlstm.kernels()[0] != "native":
        print("\nLevels that rest: not run, the loop in C++ is not available.")
        return
    for size in settings.sizes or (SIZE,):
        draw(size, settings, speed(size, settings)).savefig(FIGURE, dpi=150)
    print(f"\nfigure  {FIGURE.resolve()}")


def speed(size: Size, settings: Settings) -> Sequence[Sequence[float]]:
    """For each share the updates a step of the layers above the first, and the time of each line, over an LSTM's."""
    precision = settings.precision or "float32"
    x = torch.randn(size.batch, size.steps, size.units, requires_grad=True)
    lstm = nn.LSTM(size.units, size.units, hmlstm.LAYERS, batch_first=True)
    model = HMLSTM(size.units, size.units, hmlstm.LAYERS, kernel="native", slope=1e4)  # all surrogates saturated
    training = {"torch.nn.LSTM": training_pass(lstm, x, precision)}
    evaluation = {"torch.nn.LSTM": hmlstm.evaluation_pass(lstm, x, precision, levels_of)}
    updates = []
    for share in SHARES:
        fires = hmlstm.boundaries(size, (share, share))
        updates.append(sum(hmlstm.multiplications(fires)[2][1:]) / (hmlstm.LAYERS - 1) / size.steps)
        training[f"{share}, rests"] = training_pass(model, x, precision, hmlstm.told(fires))
        training[f"{share}, dense"] = training_pass(model, x, precision, hmlstm.told(fires, skip=False))
        evaluation[f"{share}, rests"] = hmlstm.evaluation_pass(model, x, precision, hmlstm.told(fires))
    trained, evaluated = measure(training, settings.rounds), measure(evaluation, settings.rounds)
    rows = [
        (u, trained[f"{s}, rests"].total, trained[f"{s}, dense"].total, evaluated[f"{s}, rests"].total)
        for u, s in zip(updates, SHARES, strict=True)
    ]
    title = f"Time as a multiple of torch.nn.LSTM's of {hmlstm.LAYERS} layers of {size}; {precision}"
    table(title, ("updates a step above the first layer", *LINES), rows)
    return rows


def draw(size: Size, settings: Settings, rows: Sequence[Sequence[float]]) -> Figure:
    """Time over the share of updates, and the line of ``torch.nn.LSTM``."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    updates, *times = zip(*rows, strict=True)
    for name, values, colour, marker in zip(LINES, times, COLOURS, MARKERS, strict=False):
        axes.plot(updates, values, color=colour, marker=marker, markersize=5, label=name)
    axes.axhline(1, color=INK, linestyle="--", linewidth=1, label="torch.nn.LSTM")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, None)
    axes.set_xlabel("share of the steps at which the layers above the first update")
    axes.set_ylabel("time, of torch.nn.LSTM's")
    axes.set_title(f"HM-LSTM of {hmlstm.LAYERS} layers: {size}, {settings.precision or 'float32'}", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    axes.grid(alpha=0.25)
    return figure
