"""Charts and strips as figures of Plotly: plain values, no colours that depend on the theme, every name escaped."""

from collections.abc import Sequence
from html import escape
from math import log
from typing import Any

from multiscale.comparison.charts import Chart, Lane, Series, Strip, readable, spoken

DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
LINE = 22  # pixels a lane
CELL = 11  # pixels a character at least
TICKS, TOP, FOOT = 24, 5, 25  # pixels under each line, above all and below
MARGIN = 150  # pixels for the names of lanes


def plain(text: str) -> str:
    """``text`` so that Plotly shows it as it is: it would read tags, entities and %{...} in it."""
    return escape(text, quote=False).replace("{", "&#123;")


def rgba(colour: str, alpha: float) -> str:
    """A colour #rrggbb that lets the background through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def chart(chart: Chart) -> dict[str, Any]:
    """The traces and the layout of a chart; a trace tells in ``meta`` whose it is."""
    traces = []
    for one in chart.series:
        if chart.joined and any(a != b for a, b in zip(one.low, one.high, strict=True)):
            traces.append(_band(one))
        traces.append(_series(one, chart))
    layout: dict[str, Any] = {
        "showlegend": chart.legend,
        "legend": {"orientation": "h", "y": -0.25},
        "hovermode": "closest",
        "margin": {"l": 72, "r": 15, "t": 10, "b": 110 if chart.legend else 50},
        "height": 400 if chart.legend else 340,
        "xaxis": _axis(plain(chart.x), chart.x_base),
        "yaxis": _axis(plain(chart.y), chart.y_base),
        "shapes": [_across(value, chart.y_base) for _, value in chart.lines],
        "annotations": [_told(name, value, chart.y_base) for name, value in chart.lines],
    }
    if chart.y_base == 2:
        values = [y for one in chart.series for y in one.y] + [value for _, value in chart.lines]
        layout["yaxis"] |= _octaves(values)
        last = max(x for one in chart.series for x in one.x)
        layout["xaxis"] |= {"tick0": 0, "dtick": max(1, round(last / 10))}  # epochs are whole
    if chart.x_names:
        places = list(range(1, len(chart.x_names) + 1))
        layout["xaxis"] |= {"tickvals": places, "ticktext": [plain(name) for name in chart.x_names]}
        layout["xaxis"] |= {"range": [0.7, len(chart.x_names) + 0.3]}
    return {"data": traces, "layout": layout}


def _axis(title: str, base: int | None) -> dict[str, Any]:
    return {"title": {"text": title}} | ({} if base is None else {"type": "log"})


def _octaves(values: Sequence[float]) -> dict[str, Any]:
    """Ticks at powers of two; Plotly's own are those of ten."""
    least, most = min(values), max(values)
    ticks = [2.0**n for n in range(-4, 20) if least / 1.5 <= 2.0**n <= most * 1.5]
    span = [log(least / 1.3, 10), log(most * 1.3, 10)]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks], "range": span}


def _across(value: float, base: int | None) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": value,
        "y1": value,
        "line": {"dash": "dash", "width": 1, "color": "gray"},
    }


def _told(name: str, value: float, base: int | None) -> dict[str, Any]:
    y = value if base is None else log(value, 10)  # annotations, unlike shapes, are placed by the exponent
    return {"xref": "paper", "x": 1, "y": y, "text": plain(name), "showarrow": False, "xanchor": "right", "yshift": 8}


def _band(one: Series) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*one.x, *reversed(one.x)],
        "y": [*one.high, *reversed(one.low)],
        "fill": "toself",
        "fillcolor": rgba(one.style.colour, 0.18),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "meta": {"model": one.model},
    }


def _series(one: Series, chart: Chart) -> dict[str, Any]:
    colour = one.style.colour
    name = plain(one.name)
    note = f" ({plain(one.note)})" if one.note else ""
    hover = f"{name}{note}<br>{plain(chart.x)}: %{{x:,.6~g}}<br>{plain(chart.y)}: %{{y:.4g}}"
    several = any(a != b for a, b in zip(one.low, one.high, strict=True))
    hover += "<br>from %{customdata[0]:.4g} to %{customdata[1]:.4g}" if several else ""
    few = len(one.x) <= 40
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": ("lines+markers" if few else "lines") if chart.joined else "markers",
        "name": name,
        "x": list(one.x),
        "y": list(one.y),
        "customdata": [list(pair) for pair in zip(one.low, one.high, strict=True)],
        "hovertemplate": hover + "<extra></extra>",
        "line": {"color": colour, "width": 2, "dash": DASHES[one.style.dash % len(DASHES)]},
        "marker": {
            "color": colour,
            "size": 7 if chart.joined else 11,
            "symbol": SYMBOLS[one.style.marker % len(SYMBOLS)],
        },
        "meta": {"model": one.model},
    }
    if not chart.joined and several:
        trace["error_y"] = {
            "type": "data",
            "array": [high - y for high, y in zip(one.high, one.y, strict=True)],
            "arrayminus": [y - low for low, y in zip(one.low, one.y, strict=True)],
            "color": colour,
            "thickness": 1.5,
        }
    return trace


def strip(strip: Strip) -> dict[str, Any]:
    """A line of text under another; in each the text at the foot, then the levels, then what is true."""
    parts = strip.parts()
    names = [lane.name for lane in strip.lanes] + [name for name, _ in strip.truth]
    lowest = 0 if strip.written and strip.event else 1
    height = len(names) + 1 - lowest
    line = height * LINE + TICKS  # pixels
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "showlegend": False,
        "hovermode": "closest",
        "margin": {"l": MARGIN, "r": 10, "t": TOP, "b": FOOT},
        "height": TOP + FOOT + len(parts) * line,
    }
    for number, part in enumerate(parts):
        axis = str(number + 1) if number else ""
        top = 1 - number / len(parts)
        layout[f"yaxis{axis}"] = {
            "domain": [max(top - height * LINE / line / len(parts), 0), top],
            "range": [lowest - 0.6, len(names) + 0.6],
            "tickvals": list(range(1, len(names) + 1)),
            "ticktext": [plain(name) for name in names],
            "zeroline": False,
            "showgrid": False,
            "fixedrange": True,
        }
        layout[f"xaxis{axis}"] = {
            "anchor": f"y{axis}",
            "range": [strip.start + part.start - 0.5, strip.start + part.start + strip.columns - 0.5],
            "zeroline": False,
            "showgrid": False,
            "title": {"text": "step" if number == len(parts) - 1 else ""},
        }
        for trace in _line(strip, part, lowest):
            meta = {"model": strip.model} | trace.get("meta", {})
            traces.append(trace | {"xaxis": f"x{axis}", "yaxis": f"y{axis}", "meta": meta})
    wide = MARGIN + 10 + (strip.columns * CELL if strip.event else 500)
    return {"data": traces, "layout": layout, "width": wide}


def _line(strip: Strip, part: range, lowest: int) -> list[dict[str, Any]]:
    """The traces of one line: a row of cells a lane, a dot in each where something happened, triangles, the text."""
    steps = [strip.start + t for t in part]
    traces = [_cells(strip, lane, place, part) for place, lane in enumerate(strip.lanes, 1)]
    for place, lane in enumerate(strip.lanes, 1):
        fired = [t for t in lane.marks if t in part]
        if fired:
            traces.append(_marks([strip.start + t for t in fired], place, "circle", 5) | {"hoverinfo": "skip"})
    for place, (name, ends) in enumerate(strip.truth, len(strip.lanes) + 1):
        at = [t for t in ends if t in part]
        told = [f"{plain(name)}<br>step {strip.start + t}: {plain(spoken(strip.symbols[t]))}" for t in at]
        marks = _marks([strip.start + t for t in at], place, "triangle-down", 9)
        traces.append(marks | {"hoverinfo": "text", "hovertext": told})
    if lowest == 0:
        traces.append(
            {
                "type": "scatter",
                "mode": "text",
                "x": steps,
                "y": [0] * len(steps),
                "text": [plain(readable(strip.symbols[t])) for t in part],
                "textfont": {"family": "monospace", "size": 13},
                "hoverinfo": "text",
                "hovertext": [f"step {strip.start + t}: {plain(spoken(strip.symbols[t]))}" for t in part],
            }
        )
    return traces


def _cells(strip: Strip, lane: Lane, place: int, part: range) -> dict[str, Any]:
    fired = set(lane.marks)
    told = [plain(spoken(strip.symbols[t])) + (f", a {strip.event}" if t in fired else "") for t in part]
    return {
        "type": "heatmap",
        "x": [strip.start + t for t in part],
        "y": [place],
        "z": [[lane.values[t] for t in part]],
        "zmin": 0,
        "zmax": 1,
        "text": [told],
        "hovertemplate": f"{plain(lane.name)}<br>step %{{x}}: %{{text}}<br>{strip.quantity} %{{z:.3f}}<extra></extra>",
        "colorscale": [[0, rgba(strip.style.colour, 0.07)], [1, rgba(strip.style.colour, 1)]],
        "showscale": False,
        "xgap": 1 if strip.event else 0,
        "ygap": 2,
    }


def _marks(x: Sequence[int], place: int, symbol: str, size: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(x),
        "y": [place] * len(x),
        "marker": {"symbol": symbol, "size": size},
        "meta": {"ink": True},
    }
