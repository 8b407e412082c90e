"""Figures of what a network did; pure functions from arrays to matplotlib figures, nothing global."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

INK, MARK = "#1a1a1a", "#b2182b"
HEAT = "cividis"  # even in lightness and safe for colour-blind readers
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#000000")  # Okabe and Ito
MARKERS = "os^Dv<>P"
VISIBLE = {" ": "\u00b7", "\n": "\u21b5", "\t": "\u2192", "\r": "\u2190"}
WIDTH = 11.0  # inches


def draw_boundaries(
    symbols: Sequence[str],
    boundary: Shaped[Tensor, "T L"],
    probability: Float[Tensor, "T L"] | None,
    names: Sequence[str],
    truth: Mapping[str, Sequence[int]] = MappingProxyType({}),
    start: int = 0,
    columns: int = 54,
) -> Figure:
    """Where each level ends a segment, above the symbols, and where something really ends, in the form in which a
    comparison of runs has it.

    Args:
        symbols: T.
        boundary: in {0, 1}, a dot; the top level, which has no detector, is left out.
        probability: in [0, 1], what a boundary was decided from, the shade of a cell; without it the boundary itself.
        names: L, fastest first; drawn with the slowest on top.
        truth: by name, the steps at which something ends, triangles.
        start: the step counter at the first step.
        columns: symbols a row.
    """
    levels = max(len(names) - 1, 1)
    rows = -(-len(symbols) // columns)
    lanes = [f"z, {name}" for name in names[:levels]] + [f"true {name.replace('_', ' ')}" for name in truth]
    figure = Figure(figsize=(WIDTH, 1.2 + rows * (0.25 + 0.24 * (len(lanes) + 1))), layout="constrained")
    panels = figure.subplots(rows, 1, squeeze=False)[:, 0]
    shade = LinearSegmentedColormap.from_list("", [to_rgba(COLOURS[1], 0.07), to_rgba(COLOURS[1])])
    shown = (boundary if probability is None else probability)[:, :levels].float().T.numpy()
    for axes, first in zip(panels, range(0, len(symbols), columns), strict=True):
        steps = range(first, min(first + columns, len(symbols)))
        at = [start + step - 0.5 for step in (*steps, steps.stop)]
        cells: Any = {"cmap": shade, "vmin": 0, "vmax": 1, "edgecolors": "white", "linewidth": 1}
        axes.pcolormesh(at, [place + 0.5 for place in range(levels + 1)], shown[:, first : steps.stop], **cells)
        ends = [boundary[:, level].nonzero()[:, 0].tolist() for level in range(levels)]
        for place, marks in enumerate([*ends, *truth.values()], 1):
            there = [start + step for step in marks if step in steps]
            marker: Any = ("o", 2.5) if place <= levels else ("v", 5)
            axes.plot(there, [place] * len(there), marker[0], color=INK, markersize=marker[1])
        for step in steps:
            symbol = VISIBLE.get(symbols[step], symbols[step]).replace("$", r"\$")
            axes.text(start + step, 0, symbol, ha="center", va="center", family="monospace", fontsize=9, color=INK)
        axes.set_xlim(at[0], at[0] + columns)
        axes.set_ylim(-0.6, len(lanes) + 0.6)
        axes.set_yticks(range(1, len(lanes) + 1), lanes, fontsize=8)
        axes.tick_params(axis="x", labelsize=7, length=2)
        axes.tick_params(axis="y", length=0)
        axes.spines[:].set_visible(False)
    panels[-1].set_xlabel("step")
    figure.suptitle("Where each level ends a segment", fontsize=11, color=INK)
    _explain(figure, shade, probability is not None, bool(truth))
    return figure


def _explain(figure: Figure, shade: LinearSegmentedColormap, graded: bool, known: bool) -> None:
    """The legend of a figure of boundaries, at its foot."""
    dot: Any = {"marker": "o", "markersize": 4, "label": "boundary found"}
    true: Any = {"marker": "v", "markersize": 5, "label": "true end"}
    marks = [Line2D([], [], color=INK, linestyle="", **mark) for mark in (dot, true)[: 1 + known]]
    steps = (0.0, 0.5, 1.0) if graded else ()
    shades = [Patch(color=shade(step), label=f"probability of a boundary {step:g}") for step in steps]
    figure.legend(handles=[*shades, *marks], loc="outside lower center", ncols=5, fontsize=8, frameon=False)


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
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
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
