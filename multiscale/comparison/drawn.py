"""Charts and strips as PNG and as CSV: the same values as on the page, to be put elsewhere."""

import csv
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from multiscale.analysis.plots import INK, WIDTH, save
from multiscale.comparison.charts import Chart, Series, Strip, readable

DASHES = ("-", "--", ":", "-.")
MARKERS = "osD^vPX*"


def picture(figure: Chart | Strip, path: Path) -> Path:
    """Write a PNG."""
    return save(_chart(figure) if isinstance(figure, Chart) else _strip(figure), path)


def _chart(chart: Chart) -> Figure:
    figure = Figure(figsize=(WIDTH * 0.75, max(4.0, 0.8 + 0.17 * len(chart.series))), layout="constrained")
    axes = figure.subplots()
    for one in chart.series:
        _series(axes, one, chart.joined)
    for name, value in chart.lines:
        axes.axhline(value, color=INK, linestyle="--", linewidth=1, label=_literal(name))
    for scale, base in ((axes.set_xscale, chart.x_base), (axes.set_yscale, chart.y_base)):
        if base is not None:
            scale("log", base=base)
    if chart.y_base == 2:
        axes.yaxis.set_major_formatter("{x:g}")
    if chart.x_names:
        axes.set_xticks(range(1, len(chart.x_names) + 1), [_literal(name) for name in chart.x_names])
    elif chart.x_base is None and chart.joined:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_literal(chart.x))
    axes.set_ylabel(_literal(chart.y))
    axes.set_title(_literal(chart.title), fontsize=11, color=INK)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _series(axes: Axes, one: Series, joined: bool) -> None:
    style: Any = {
        "color": one.style.colour,
        "marker": MARKERS[one.style.marker % len(MARKERS)],
        "label": _literal(one.name),
    }
    if not joined:
        spread = [
            [y - low for low, y in zip(one.low, one.y, strict=True)],
            [high - y for high, y in zip(one.high, one.y, strict=True)],
        ]
        axes.errorbar(one.x, one.y, yerr=spread, linestyle="", capsize=3, markersize=8, **style)
        return
    axes.fill_between(one.x, one.low, one.high, color=one.style.colour, alpha=0.18, linewidth=0)
    dash = DASHES[one.style.dash % len(DASHES)]
    size = 5 if len(one.x) <= 40 else 0
    axes.plot(one.x, one.y, linestyle=dash, linewidth=1.5, markersize=size, **style)


def _strip(strip: Strip) -> Figure:
    parts = strip.parts()
    text = strip.written and bool(strip.event)
    names = [lane.name for lane in strip.lanes] + [name for name, _ in strip.truth]
    lowest = 0 if text else 1
    figure = Figure(figsize=(WIDTH, 0.8 + len(parts) * (0.25 + 0.24 * (len(names) + 1 - lowest))), layout="constrained")
    lines = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    colour = LinearSegmentedColormap.from_list("", [to_rgba(strip.style.colour, 0.07), to_rgba(strip.style.colour)])
    for axes, part in zip(lines, parts, strict=True):
        steps = [strip.start + t for t in part]
        cells = [[lane.values[t] for t in part] for lane in strip.lanes]
        edges = [step - 0.5 for step in (*steps, steps[-1] + 1)], [place + 0.5 for place in range(len(cells) + 1)]
        gap: Any = {"edgecolors": "white", "linewidth": 1} if strip.event else {}
        axes.pcolormesh(*edges, cells, cmap=colour, vmin=0, vmax=1, **gap)
        for place in range(2, len(cells) + 1):
            axes.axhline(place - 0.5, color="white", linewidth=2)
        for place, lane in enumerate(strip.lanes, 1):
            fired = [strip.start + t for t in lane.marks if t in part]
            axes.plot(fired, [place] * len(fired), "o", color=INK, markersize=2.5)
        for place, (_, ends) in enumerate(strip.truth, len(strip.lanes) + 1):
            at = [strip.start + t for t in ends if t in part]
            axes.plot(at, [place] * len(at), "v", color=INK, markersize=5)
        if text:
            for t in part:
                axes.text(strip.start + t, 0, _literal(readable(strip.symbols[t])), ha="center", va="center", **_TYPE)
        axes.set_xlim(steps[0] - 0.5, steps[0] + strip.columns - 0.5)
        axes.set_ylim(lowest - 0.6, len(names) + 0.6)
        axes.set_yticks(range(1, len(names) + 1), [_literal(name) for name in names], fontsize=8)
        axes.tick_params(axis="x", labelsize=7, length=2)
        axes.tick_params(axis="y", length=0)
        axes.spines[:].set_visible(False)
    lines[-1].set_xlabel("step")
    figure.suptitle(_literal(f"{strip.title}: {strip.quantity}, from 0 (pale) to 1"), fontsize=10, color=INK)
    return figure


_TYPE: Any = {"family": "monospace", "fontsize": 9, "color": INK}


def _literal(text: str) -> str:
    """``text`` so that matplotlib shows it as it is: it would read mathematics between dollar signs."""
    return text.replace("$", r"\$")


def table(figure: Chart | Strip, path: Path) -> Path:
    """Write the values as CSV: a line a point of a chart, or a line a step of a strip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        if isinstance(figure, Chart):
            rows.writerow(["name", "model", "note", figure.x, figure.y, "lowest", "highest"])
            for one in figure.series:
                for point in zip(one.x, one.y, one.low, one.high, strict=True):
                    rows.writerow([one.name, one.model, one.note, *point])
        else:
            marked = [lane for lane in figure.lanes if figure.event]
            titles = [f"{lane.name}, {figure.quantity}" for lane in figure.lanes]
            titles += [f"{lane.name}, {figure.event}" for lane in marked] + [name for name, _ in figure.truth]
            rows.writerow(["step", "symbol", *titles])
            fired = [set(lane.marks) for lane in marked] + [set(ends) for _, ends in figure.truth]
            for t, symbol in enumerate(figure.symbols):
                values = [lane.values[t] for lane in figure.lanes]
                rows.writerow([figure.start + t, symbol, *values, *(int(t in steps) for steps in fired)])
    return path
