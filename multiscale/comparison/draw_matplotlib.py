"""Figures for papers and slides: PNG and PDF, of the same values as on the page."""

import warnings
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from multiscale.comparison.figures import HEAT, Axis, Chart, Drawn, Matrix, Series, Strip, show_symbol

DASHES = ("-", "--", ":", "-.")
MARKERS = "osD^vPX"
INK = "#1a1a1a"
WIDTH, DPI = 11.0, 150  # inches; pixels an inch
FEW = 40  # points that are marked


def draw(figure: Drawn, png: Path, pdf: Path) -> None:
    """Write a figure as a PNG and as a PDF."""
    match figure:
        case Chart():
            picture = _draw_chart(figure)
        case Strip():
            picture = _draw_strip(figure)
        case Matrix():
            picture = _draw_matrix(figure)
    with warnings.catch_warnings(), rc_context({"pdf.fonttype": 42}):  # publishers refuse fonts of type 3
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # symbols the bundled font lacks are boxes
        FigureCanvasAgg(picture).print_png(png)  # savefig would draw everything twice
        picture.set_layout_engine("none")  # it is laid out now
        FigureCanvasPdf(picture).print_pdf(pdf, metadata={"CreationDate": None})


def _draw_chart(chart: Chart) -> Figure:
    figure = Figure(figsize=(WIDTH * 0.75, max(4.0, 0.8 + 0.17 * len(chart.series))), layout="constrained", dpi=DPI)
    axes = figure.subplots()
    for one in chart.series:
        _draw_series(axes, one, chart.joined)
    if chart.front:
        axes.step(*zip(*chart.front, strict=True), where="post", color=INK, linestyle=":", linewidth=1, label="front")
    for name, value in chart.lines:
        axes.axhline(value, color=INK, linestyle="--", linewidth=1, label=_escape(name))
    axes.set(xlabel=_escape(chart.x.title), ylabel=_escape(chart.y.title))
    if chart.joined:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axis, described, scale in ((axes.xaxis, chart.x, axes.set_xscale), (axes.yaxis, chart.y, axes.set_yscale)):
        _scale_axis(axis, described, scale)
    axes.set_title(_escape(chart.title), fontsize=11, color=INK)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _scale_axis(axis: Any, described: Axis, scale: Any) -> None:
    if described.base is not None:
        scale("log", base=described.base)
    if described.base == 2:
        axis.set_major_formatter("{x:g}")
    if described.tick:
        axis.set_major_locator(MultipleLocator(described.tick))
    if described.names:
        axis.set_ticks(range(1, len(described.names) + 1), [_escape(name) for name in described.names])


def _draw_series(axes: Axes, one: Series, joined: bool) -> None:
    colour = one.style.colour
    if one.dots:
        axes.plot(*zip(*one.dots, strict=True), "o", color=colour, markersize=3, alpha=0.6)
    style: Any = {"color": colour, "marker": MARKERS[one.style.marker % len(MARKERS)], "label": _escape(one.name)}
    if joined:
        axes.fill_between(one.x, one.low, one.high, color=colour, alpha=0.18, linewidth=0)
        style |= {"linestyle": DASHES[one.style.dash % len(DASHES)], "linewidth": 1.5}
        axes.plot(one.x, one.y, markersize=5 if len(one.x) <= FEW else 0, **style)
    else:
        bars = [(y - low, high - y) for low, y, high in zip(one.low, one.y, one.high, strict=True)]
        axes.errorbar(one.x, one.y, yerr=list(zip(*bars, strict=True)), linestyle="", capsize=3, markersize=8, **style)


def _draw_strip(strip: Strip) -> Figure:
    lines = strip.lines()
    rows = len(strip.lanes) + 1 - strip.foot
    figure = Figure(figsize=(WIDTH, 0.8 + len(lines) * (0.25 + 0.24 * rows)), layout="constrained", dpi=DPI)
    panels = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
    for axes, steps in zip(panels, lines, strict=True):
        _draw_line(axes, strip, steps)
    panels[-1].set_xlabel("step")
    title = f"{strip.title}: {strip.quantity}, from 0 (pale) to 1"
    figure.suptitle(_escape(title), fontsize=10, color=INK)
    return figure


def _draw_line(axes: Axes, strip: Strip, steps: range) -> None:
    first = strip.start + steps.start - 0.5
    cells = [[lane.values[t] for t in steps] for lane in strip.lanes if lane.values]
    colour = LinearSegmentedColormap.from_list("", [to_rgba(strip.style.colour, 0.07), to_rgba(strip.style.colour)])
    edges = [first + t for t in range(len(steps) + 1)], [place + 0.5 for place in range(len(cells) + 1)]
    gaps: Any = {"edgecolors": "white", "linewidth": 1} if strip.event else {"rasterized": True}  # or PDFs show seams
    axes.pcolormesh(*edges, cells, cmap=colour, vmin=0, vmax=1, **gaps)
    for place in range(2, len(cells) + 1):
        axes.axhline(place - 0.5, color="white", linewidth=2)
    for place, lane in enumerate(strip.lanes, 1):
        at = [strip.start + t for t in lane.marks if t in steps]
        marker, size = ("o", 2.5) if lane.values else ("v", 5)
        axes.plot(at, [place] * len(at), marker, color=INK, markersize=size)
    if strip.foot == 0:
        font: Any = {"family": "monospace", "fontsize": 9, "color": INK, "ha": "center", "va": "center"}
        for t in steps:
            axes.text(strip.start + t, 0, _escape(show_symbol(strip.symbols[t])), **font)
    axes.set_xlim(first, first + strip.columns)
    axes.set_ylim(strip.foot - 0.6, len(strip.lanes) + 0.6)
    names = [_escape(lane.name) for lane in strip.lanes]
    axes.set_yticks(range(1, len(names) + 1), names, fontsize=8)
    axes.tick_params(axis="x", labelsize=7, length=2)
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)


def _draw_matrix(matrix: Matrix) -> Figure:
    side = 2.0 + 0.5 * len(matrix.levels)
    figure = Figure(figsize=(side + 2.0, side), layout="constrained", dpi=DPI)
    axes = figure.subplots()
    image = axes.imshow(matrix.values, cmap=HEAT.lower(), vmin=0, vmax=1)
    for row, values in enumerate(matrix.values):
        for column, value in enumerate(values):
            colour = "white" if value < 0.6 else INK
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    places, names = range(len(matrix.levels)), [_escape(name) for name in matrix.levels]
    axes.set_xticks(places, names, fontsize=8, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names, fontsize=8)
    axes.set(xlabel="level that is read", ylabel="level that reads")
    figure.suptitle(_escape(matrix.title), fontsize=10, color=INK, wrap=True)
    figure.colorbar(image, ax=axes, label=_escape(matrix.quantity), fraction=0.046, pad=0.02)
    return figure


def _escape(text: str) -> str:
    """``text`` so that matplotlib shows it as it is: it would read mathematics between dollar signs."""
    return text.replace("$", r"\$")
