"""The figures of docs/models.md, of networks that are trained for it: ``python docs/figures.py [model ...]``.

Each is small, of about as many parameters as the others, and reads ``data=python_docs`` for a few epochs, seed 0: some
minutes of one CPU core for all. What is drawn is one passage of validation text, of each level at each step

- how much of it was rewritten, and where it ended a segment: its trace;
- what is left of one character: how far its state is from the one that it would have if another had stood there,
  the mean over all others, as a share of how far two of its states are from each other in this passage.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

import multiscale
from multiscale.analysis import plots
from multiscale.config.compose import CONF
from multiscale.data.module import Passage
from multiscale.jobs.prepare import prepare
from multiscale.runs.folder import read

FOLDER = Path(__file__).parent / "models"
RECIPE = ["trainer.max_epochs=2", "match=parameters", "match.target=60000", "logger=csv", "head=concat"]
RECIPE += ["~callbacks.watch", "~callbacks.figures", "~callbacks.progress", "task.embedding_size=32"]
PERIODS = "[1,2,4,8,16,32]"  # that tick within the passage
CHANGES = {  # so that what sets a model apart is seen in a small one on a short passage
    "clockwork": [f"model.periods={PERIODS}"],
    "dilated": [f"model.dilations={PERIODS}"],
    "event_gated": ["model.sparsity=0.03"],
    "leaky": [f"model.time_constants={PERIODS}"],
    "learned_clock": ["model.clock.num_modules=6", "model.clock.max_period=64"],
    "learned_clock_dct": ["model.clock.num_modules=6", "model.clock.max_period=64", "model.clock.update_cost=0.5"],
    "phased_lstm": ["model.log_period=[1,4]"],
    "symmetric_clock": ["model.clock.num_modules=4", "model.clock.max_period=64"],
}
WARM_UP, SHOWN, CHANGED = 256, 64, 8  # steps read before, steps drawn, and the one of these whose character is changed
FAINT = 0.01  # of what is left of the character, the least that is shown
TINY = torch.finfo().tiny  # for a level that never moves
INCHES, DPI = 10.0, 110


def draw(model: str, folder: Path) -> Figure:
    """Train the model in a folder, and draw what it does."""
    words = [f"model={model}", f"hydra.run.dir={folder}", *RECIPE, *CHANGES.get(model, [])]
    network = multiscale.load(multiscale.train(multiscale.compose(*words)).checkpoint)
    passage = prepare(read(folder)).data.passage(WARM_UP + SHOWN)
    with torch.no_grad():
        trace = network(passage.inputs, trace=True)[1].trace
        left = what_is_left(network, passage)
    boundary = None if trace.boundary is None else trace.boundary[0, WARM_UP:]
    return two_panels(passage.symbols[WARM_UP:], trace.names, trace.update[0, WARM_UP:], boundary, left)


def what_is_left(network: Any, passage: Passage) -> Tensor:
    """[SHOWN, L] of one character, as the head of this file has it."""
    place, true = WARM_UP + CHANGED, passage.inputs[0]
    symbols = torch.arange(network.facts.num_symbols)
    others = true.repeat(len(symbols), 1)
    others[:, place] = symbols
    others = others[symbols != true[place]]
    columns = []
    for level, changed in zip(network(passage.inputs)[1].levels, network(others)[1].levels, strict=True):
        apart = (2 * level[0, WARM_UP:].var(0).sum()).sqrt()  # root mean square of the distance of two of its states
        columns.append((changed - level)[:, WARM_UP:].norm(dim=2).mean(0) / apart.clamp(min=TINY))
    return torch.stack(columns, 1)


def two_panels(symbols: Any, names: Any, update: Tensor, boundary: Tensor | None, left: Tensor) -> Figure:
    """Time to the right, the slowest level on top: the trace, and below it what is left of the character."""
    height = 0.3 * len(names) if len(names) > 2 else 0.4 * len(names)
    figure = Figure(figsize=(INCHES, 1.5 + 2 * height), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    panel(figure, above, update, names, plots.COLOURS[0], Normalize(0, 1), "rewritten")
    panel(figure, below, left, names, plots.COLOURS[1], LogNorm(FAINT, 1, clip=True), f"left of step {CHANGED}")
    for level in range(len(names) if boundary is not None else 0):
        ends = boundary[:, level].nonzero()[:, 0]
        above.plot(ends, [level] * len(ends), "o", color="white", markeredgecolor=plots.INK, markersize=5)
    for step, symbol in enumerate(symbols):
        shown = plots.VISIBLE.get(symbol, symbol).replace("$", r"\$")
        weight = {"weight": "bold", "color": plots.MARK} if step == CHANGED else {"color": plots.INK}
        above.text(step, -0.65, shown, ha="center", va="top", family="monospace", fontsize=10, **weight)
    below.set_xlabel("time (steps)", fontsize=9)
    return figure


def panel(figure: Figure, axes: Any, cells: Tensor, names: Any, colour: str, norm: Normalize, label: str) -> None:
    shade: Colormap = LinearSegmentedColormap.from_list("", [to_rgba(colour, 0.06), to_rgba(colour)])
    at = [step - 0.5 for step in range(len(cells) + 1)]
    rows = [level - 0.5 for level in range(len(names) + 1)]
    image = axes.pcolormesh(at, rows, cells.T.numpy(), cmap=shade, norm=norm, edgecolors="white", linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, length=2)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.ax.yaxis.set_major_formatter("{x:g}")


def main(models: list[str]) -> None:
    """Draw the models that are named, or all."""
    for model in models or sorted(path.stem for path in (CONF / "model").glob("*.yaml")):
        with tempfile.TemporaryDirectory() as folder:
            figure = draw(model, Path(folder) / "run")
        path = FOLDER / f"{model}.png"
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=DPI)
        Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
