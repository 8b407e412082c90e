"""Figures of what a network did; pure functions from arrays to matplotlib figures, nothing global."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

INK, MARK = "#1a1a1a", "#b2182b"
HEAT = "cividis"  # even in lightness and safe for colour-blind readers
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#000000")  # Okabe and Ito
MARKERS = "os^Dv<>P"
VISIBLE = {" ": "\u00b7", "\n": "\u21b5", "\t": "\u2192", "\r": "\u2190"}
WIDTH = 11.0  # inches


def draw_boundaries(
    text: Sequence[str],
    boundary: Shaped[Tensor, "T L"],
    norms: Float[Tensor, "T L"],
    names: Sequence[str],
    columns: int = 90,
) -> Figure:
    """Boundaries above the text, norms of the levels' states below it, as in Chung et al. 2016, Figure 2.

    Args:
        text: T symbols.
        boundary: in {0, 1}; levels that never fire (the top one has no detector) are drawn empty.
        norms: Euclidean norm of each level's hidden state.
        names: L, fastest first; drawn with the slowest on top.
        columns: symbols a row.
    """
    rows, levels = -(-len(text) // columns), len(names)
    figure = Figure(figsize=(WIDTH, 0.7 + rows * (0.55 + 0.36 * levels)), layout="constrained")
    axes = figure.subplots(2 * rows, 1, height_ratios=[levels, levels + 0.5] * rows, squeeze=False)[:, 0]
    limits = {"vmin": 0.0, "vmax": max(float(norms.max()), 1e-6)}
    image = None
    for row in range(rows):
        part = slice(row * columns, (row + 1) * columns)
        _boundary_strip(axes[2 * row], text[part], boundary[part], names, columns)
        below = axes[2 * row + 1]
        cells = np.full((levels, columns), np.nan)
        drawn = norms[part].float().T.flip(0).numpy()
        cells[:, : drawn.shape[1]] = drawn
        image = below.imshow(cells, aspect="auto", cmap=HEAT, interpolation="nearest", **limits)
        below.set_yticks(range(levels), [f"norm, {name}" for name in reversed(names)], fontsize=8)
        below.set_xticks([])
        below.tick_params(length=0)
    axes[-1].set_xticks(range(0, columns, 10))
    axes[-1].set_xlabel(f"position in the row (characters); {columns} characters a row")
    if image is not None:
        figure.colorbar(image, ax=list(axes[1::2]), label="norm of h", fraction=0.02, pad=0.01)
    figure.suptitle("Boundaries of each level above the text, norm of its state below", fontsize=11, color=INK)
    return figure


def _boundary_strip(axes: Axes, text: Sequence[str], boundary: Tensor, names: Sequence[str], columns: int) -> None:
    """One row: a mark over each symbol at which a level fired, the symbols at the foot."""
    detectors = range(max(len(names) - 1, 1))
    for level in detectors:
        at = boundary[:, level].nonzero()[:, 0].tolist()
        axes.bar(at, [0.7] * len(at), bottom=level + 0.65, width=0.8, color=MARK)
    for i, symbol in enumerate(text):
        shown = VISIBLE.get(symbol, symbol)
        colour = "#999999" if symbol in VISIBLE else INK
        axes.text(i, 0.0, shown, ha="center", va="center", family="monospace", fontsize=10, color=colour)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, len(names) + 0.4)
    axes.set_yticks([level + 1.0 for level in detectors], [f"z, {names[level]}" for level in detectors], fontsize=8)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_raster(update: Float[Tensor, "T L"], names: Sequence[str], true: Sequence[int] = (), start: int = 0) -> Figure:
    """How much of each level was rewritten at each step: time to the right, the slowest level on top.

    Args:
        update: in [0, 1].
        names: L, fastest first; for learned clocks they tell the read-out period.
        true: periods in steps that the data are made with; their ticks are marked above.
        start: the step counter at the first step.
    """
    levels = len(names)
    figure = Figure(figsize=(WIDTH, 1.3 + 0.32 * (levels + len(true))), layout="constrained")
    axes = figure.subplots()
    cells = update.float().T.flip(0).numpy()
    image = axes.imshow(cells, aspect="auto", cmap=HEAT, interpolation="nearest", vmin=0, vmax=1)
    rates = update.float().mean(0).tolist()
    labels = [f"{name}  ({rate:.0%})" for name, rate in zip(names, rates, strict=True)]
    for row, period in enumerate(sorted(true), 1):
        ticks = [t for t in range(len(update)) if (t + start) % period == 0]
        axes.plot(ticks, [-0.5 - 0.5 * row] * len(ticks), "v", color=MARK, markersize=5)
        labels.append(f"true ticks, period {period}")
    places = [*range(levels), *(-0.5 - 0.5 * row for row in range(1, len(true) + 1))]
    axes.set_yticks(places, [*labels[:levels][::-1], *labels[levels:]], fontsize=8)
    axes.set_ylim(levels - 0.5, -0.5 - 0.5 * (len(true) + 0.7 * bool(true)))
    axes.set_xlabel("time (steps)")
    axes.set_title("Update of each level over time (mean in brackets)", fontsize=11, color=INK)
    for line in range(1, levels):
        axes.axhline(line - 0.5, color="white", linewidth=1)
    figure.colorbar(image, ax=axes, label="share rewritten", fraction=0.02, pad=0.01)
    return figure


def draw_periods(periods: Float[Tensor, "E L"], true: Sequence[float] = ()) -> Figure:
    """The learned period of each module over the epochs, on a scale of octaves.

    Args:
        periods: in steps, after each of E epochs.
        true: periods to be found, drawn as dashed lines.
    """
    figure = Figure(figsize=(WIDTH * 0.65, 3.6), layout="constrained")
    axes = figure.subplots()
    epochs = range(1, len(periods) + 1)
    for period in true:
        axes.axhline(period, color=INK, linestyle="--", linewidth=1, label=f"true period {period:g}")
    for level, path in enumerate(periods.T.tolist()):
        style: Any = {"marker": MARKERS[level % len(MARKERS)], "color": COLOURS[level % len(COLOURS)]}
        axes.plot(epochs, path, markersize=5, linewidth=1.5, label=f"clock {level + 1}", **style)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("period read out (steps)")
    axes.set_title("Learned period of each clock", fontsize=11, color=INK)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def draw_matrix(matrix: Float[Tensor, "L L"], name: str, levels: Sequence[str]) -> Figure:
    """What is told of each pair of levels: the row's reads the column's, both fastest first.

    Args:
        matrix: in [0, 1].
        name: what is told, as ``links``.
        levels: L names.
    """
    side = 2.0 + 0.5 * len(levels)
    figure = Figure(figsize=(side + 2.0, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(matrix.float().numpy(), cmap=HEAT, vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(matrix.float().numpy()):
        colour = "white" if value < 0.6 else INK
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(levels)), levels, fontsize=8, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(levels)), levels, fontsize=8)
    axes.set_xlabel("level that is read")
    axes.set_ylabel("level that reads")
    axes.set_title(name.capitalize(), fontsize=11, color=INK)
    figure.colorbar(image, ax=axes, label="strength", fraction=0.046, pad=0.02)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG of README width; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # symbols the bundled font lacks are boxes
        figure.savefig(path, dpi=150)
    return path
