"""Figures for the page, as Plotly has them: plain values, no colours that depend on the theme, every name escaped."""

from collections.abc import Iterator, Sequence
from html import escape
from math import log10
from typing import Any

from multiscale.comparison.figures import (
    HEAT,
    Axis,
    Chart,
    Drawn,
    Lane,
    Matrix,
    Series,
    Strip,
    name_symbol,
    show_symbol,
)

DASHES = ("solid", "dash", "dot", "dashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x")
LINE, CELL = 22, 11  # pixels a lane; pixels a character at least
TICKS, TOP, FOOT, MARGIN = 24, 5, 25, 150  # pixels under each line, above all, below all, for the names of lanes
SQUARE = 48  # pixels of a matrix's cell
FEW = 40  # points that are marked
PLACES = 3  # of a share
NAMES = 16  # beside points


def draw(figure: Drawn) -> dict[str, Any]:
    """``data`` and ``layout`` of a figure, and ``width``, the pixels that it needs; traces tell in ``meta`` whose."""
    match figure:
        case Chart():
            return _draw_chart(figure)
        case Strip():
            return _draw_strip(figure)
        case Matrix():
            return _draw_matrix(figure)


def escape_text(text: str) -> str:
    """``text`` so that Plotly shows it as it is: it would read tags, entities and %{...} in it."""
    return escape(text, quote=False).replace("{", "&#123;")


def _fade(colour: str, alpha: float) -> str:
    """A colour #rrggbb that lets the background through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def _draw_chart(chart: Chart) -> dict[str, Any]:
    layout = {
        "showlegend": bool(chart.model),  # the page's own tells of models
        "legend": {"orientation": "h", "y": -0.25},
        "hovermode": "closest",
        "margin": {"l": 72, "r": 15, "t": 10, "b": 110 if chart.model else 50},
        "height": 400 if chart.model else 340,
        "xaxis": _draw_axis(chart.x),
        "yaxis": _draw_axis(chart.y),
        "shapes": [_draw_level(name, value) for name, value in chart.lines],
    }
    under = [_draw_band(one) for one in chart.series if chart.joined and one.spreads]
    under += [_draw_front(chart)] if chart.front else []
    under += [_draw_dots(one) for one in chart.series if one.dots]
    traces = [_draw_series(one, chart) for one in chart.series]
    if chart.front and len(traces) <= NAMES:
        places = [_place_name(one, chart.series) for one in chart.series]
        traces = [
            trace | {"mode": "markers+text", "text": trace["name"], "textposition": place, "cliponaxis": False}
            for trace, place in zip(traces, places, strict=True)
        ]
    return {"data": [*under, *traces], "layout": layout, "width": 0}


def _draw_axis(axis: Axis) -> dict[str, Any]:
    drawn: dict[str, Any] = {"title": {"text": escape_text(axis.title)}}
    if axis.base is not None:
        drawn |= {"type": "log"}
    if axis.base == 2:
        drawn |= {"dtick": log10(2), "tickformat": "~g"}
    if axis.tick:
        drawn |= {"tick0": 0, "dtick": axis.tick}
    if axis.names:
        drawn |= {"tickvals": list(range(1, len(axis.names) + 1)), "range": [0.7, len(axis.names) + 0.3]}
        drawn |= {"ticktext": [escape_text(name) for name in axis.names]}
    return drawn


def _draw_level(name: str, value: float) -> dict[str, Any]:
    ends = {"xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value}
    label = {"text": escape_text(name), "textposition": "end", "yanchor": "bottom"}
    return {"type": "line", **ends, "label": label, "line": {"dash": "dash", "width": 1, "color": "gray"}}


def _draw_band(one: Series) -> dict[str, Any]:
    fill = {"fill": "toself", "fillcolor": _fade(one.style.colour, 0.18), "line": {"width": 0}}
    around = _scatter("lines", [*one.x, *reversed(one.x)], [*one.high, *reversed(one.low)])
    return {**around, **fill, "hoverinfo": "skip", "showlegend": False, "meta": {"model": one.model}}


def _place_name(one: Series, series: Sequence[Series]) -> str:
    """Above the point or below it, away from the point that is nearest along x."""
    others = [other for other in series if other is not one]
    nearest = min(others, key=lambda other: abs(other.x[0] - one.x[0]), default=one)
    return "top center" if one.y[0] >= nearest.y[0] else "bottom center"


def _draw_front(chart: Chart) -> dict[str, Any]:
    """Steps that are seen while all of the models are that they are made from."""
    x, y = zip(*chart.front, strict=True)
    line = {"dash": "dot", "width": 1.5, "color": "gray", "shape": "hv"}
    beside: dict[str, Any] = {"line": line, "hoverinfo": "skip", "showlegend": False}
    return _scatter("lines", x, y) | beside | {"meta": {"models": sorted({one.model for one in chart.series})}}


def _draw_dots(one: Series) -> dict[str, Any]:
    x, y = zip(*one.dots, strict=True)
    hover = f"{escape_text(one.name)}, one seed<br>%{{x:,.6~g}}<br>%{{y:.4g}}<extra></extra>"
    marker = {"color": one.style.colour, "size": 5, "opacity": 0.6}
    beside = {"hovertemplate": hover, "showlegend": False, "marker": marker, "meta": {"model": one.model}}
    return _scatter("markers", x, y) | beside


def _draw_series(one: Series, chart: Chart) -> dict[str, Any]:
    colour, name = one.style.colour, escape_text(one.name)
    hover = name + (f" ({escape_text(one.note)})" if one.note else "")
    hover += f"<br>{escape_text(chart.x.title)}: %{{x:,.6~g}}<br>{escape_text(chart.y.title)}: %{{y:.4g}}"
    hover += "<br>from %{customdata[0]:.4g} to %{customdata[1]:.4g}" if one.spreads else ""
    lines = "lines+markers" if len(one.x) <= FEW else "lines"
    marker = MARKERS[one.style.marker % len(MARKERS)]
    trace = _scatter(lines if chart.joined else "markers", one.x, one.y) | {
        "name": name,
        "customdata": list(zip(one.low, one.high, strict=True)),
        "hovertemplate": hover + "<extra></extra>",
        "line": {"color": colour, "width": 2, "dash": DASHES[one.style.dash % len(DASHES)]},
        "marker": {"color": colour, "size": 7 if chart.joined else 11, "symbol": marker},
        "meta": {"model": one.model},
    }
    if one.spreads and not chart.joined:
        above = [high - y for y, high in zip(one.y, one.high, strict=True)]
        below = [y - low for y, low in zip(one.y, one.low, strict=True)]
        trace["error_y"] = {"type": "data", "array": above, "arrayminus": below, "color": colour, "thickness": 1.5}
    return trace


def _scatter(mode: str, x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    return {"type": "scatter", "mode": mode, "x": x, "y": y}


def _draw_strip(strip: Strip) -> dict[str, Any]:
    """A line of text under another; in each the text at the foot, then the lanes."""
    lines = strip.lines()
    rows = len(strip.lanes) + 1 - strip.foot
    line = rows * LINE + TICKS  # pixels
    height = TOP + FOOT + len(lines) * line
    margin = {"l": MARGIN, "r": 10, "t": TOP, "b": FOOT}
    layout: dict[str, Any] = {"showlegend": False, "hovermode": "closest", "margin": margin, "height": height}
    traces = []
    for number, steps in enumerate(lines):
        axis = str(number + 1) if number else ""
        top = 1 - number / len(lines)
        first = strip.start + steps.start - 0.5
        plain = {"zeroline": False, "showgrid": False}
        layout[f"yaxis{axis}"] = plain | {
            "domain": [max(top - rows * LINE / line / len(lines), 0), top],
            "range": [strip.foot - 0.6, len(strip.lanes) + 0.6],
            "tickvals": list(range(1, len(strip.lanes) + 1)),
            "ticktext": [escape_text(lane.name) for lane in strip.lanes],
            "fixedrange": True,
        }
        layout[f"xaxis{axis}"] = plain | {"anchor": f"y{axis}", "range": [first, first + strip.columns]}
        for trace in _draw_line(strip, steps):
            meta = {"model": strip.model, **trace.get("meta", {})}
            traces.append({**trace, "xaxis": f"x{axis}", "yaxis": f"y{axis}", "meta": meta})
    layout[f"xaxis{axis}"] |= {"title": {"text": "step"}}
    width = MARGIN + 10 + (strip.columns * CELL if strip.event else 500)
    return {"data": traces, "layout": layout, "width": width}


def _draw_line(strip: Strip, steps: range) -> Iterator[dict[str, Any]]:
    """The traces of one line: cells and dots, or triangles, a lane, and the text."""
    names = {t: escape_text(name_symbol(strip.symbols[t])) for t in steps}
    for place, lane in enumerate(strip.lanes, 1):
        at = {strip.start + t: names[t] for t in lane.marks if t in steps}
        marks = _scatter("markers", list(at), [place] * len(at)) | {"meta": {"ink": True}}
        if lane.values:
            yield _draw_cells(strip, lane, place, names)
            yield marks | {"marker": {"symbol": "circle", "size": 5}, "hoverinfo": "skip"}
        else:
            hover = [f"{escape_text(lane.name)}<br>step {step}: {symbol}" for step, symbol in at.items()]
            marker = {"symbol": "triangle-down", "size": 9}
            yield marks | {"marker": marker, "hoverinfo": "text", "hovertext": hover}
    if strip.foot == 0:
        text = _scatter("text", [strip.start + t for t in steps], [0] * len(steps))
        shown = [escape_text(show_symbol(strip.symbols[t])) for t in steps]
        hover = [f"step {strip.start + t}: {symbol}" for t, symbol in names.items()]
        font = {"family": "monospace", "size": 13}
        yield text | {"text": shown, "textfont": font, "hoverinfo": "text", "hovertext": hover}


def _draw_cells(strip: Strip, lane: Lane, place: int, names: dict[int, str]) -> dict[str, Any]:
    happened = set(lane.marks)
    name = escape_text(lane.name)
    return {
        "type": "heatmap",
        "x": [strip.start + t for t in names],
        "y": [place],
        "z": [[round(lane.values[t], PLACES) for t in names]],
        "zmin": 0,
        "zmax": 1,
        "text": [[*names.values()]],
        "customdata": [[f", a {strip.event}" if t in happened else "" for t in names]],
        "hovertemplate": f"{name}<br>step %{{x}}: %{{text}}%{{customdata}}<br>{strip.quantity} %{{z:.3f}}"
        "<extra></extra>",
        "colorscale": [[0, _fade(strip.style.colour, 0.07)], [1, _fade(strip.style.colour, 1)]],
        "showscale": False,
        "xgap": 1 if strip.event else 0,
        "ygap": 2,
    }


def _draw_matrix(matrix: Matrix) -> dict[str, Any]:
    names, places = [escape_text(level) for level in matrix.levels], list(range(len(matrix.levels)))
    side = SQUARE * len(places)
    named = {"tickvals": places, "ticktext": names, "showgrid": False, "zeroline": False, "fixedrange": True}
    cells = {
        "type": "heatmap",
        "z": matrix.values,
        "zmin": 0,
        "zmax": 1,
        "colorscale": HEAT,
        "colorbar": {"title": {"text": escape_text(matrix.quantity)}},
        "texttemplate": "%{z:.2f}",
        "customdata": [[[reader, read] for read in names] for reader in names],
        "hovertemplate": "%{customdata[0]} reads %{customdata[1]}: %{z:.3f}<extra></extra>",
        "meta": {"model": matrix.model},
    }
    layout = {
        "showlegend": False,
        "margin": {"l": MARGIN, "r": 10, "t": TOP, "b": MARGIN},
        "height": side + TOP + MARGIN,
        "width": side + 2 * MARGIN,
        "xaxis": named | {"title": {"text": "level that is read"}},
        "yaxis": named | {"title": {"text": "level that reads"}, "autorange": "reversed"},
    }
    return {"data": [cells], "layout": layout, "width": side + 2 * MARGIN}
