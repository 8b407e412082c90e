"""One HTML page of a comparison, with everything inside it: it opens from the disk and asks no network."""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from plotly.offline import get_plotlyjs

from multiscale.comparison import drawn, interactive, sections
from multiscale.comparison.charts import Chart, Strip, Style
from multiscale.comparison.figures import Setting, costs, curves, looks, rates, settings
from multiscale.comparison.markup import Html, joined, tag
from multiscale.comparison.passages import periods, shown, strips
from multiscale.comparison.table import Table
from multiscale.runs import files

# Nothing but what is in the page may run or be loaded; Plotly draws with inline styles and pictures of its own making.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
DIGITS = 6  # of a number in a figure


class Panel(NamedTuple):
    """What a tab opens."""

    name: str
    content: Html


def write(table: Table, folder: Path) -> Path:
    """Write ``index.html`` to ``folder``, and its figures as PNG and CSV to ``figures/`` in it; returns the page."""
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    made = Figures(figures)
    content = _panels(table, made)
    page = folder / "index.html"
    files.write(page, _document(table, content, made).encode())
    return page


class Figures:
    """The figures of a page, each written to ``folder`` as it is placed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.specs: dict[str, dict[str, Any]] = {}

    def place(self, figure: Chart | Strip, data: str) -> Html:
        """Where a figure stands in the page, with its title, its caption and its files."""
        strip = isinstance(figure, Strip)
        spec = interactive.strip(figure) if isinstance(figure, Strip) else interactive.chart(figure)
        self.specs[figure.key] = spec
        picture = drawn.picture(figure, self.folder / f"{figure.key}.png")
        values = drawn.table(figure, self.folder / f"{figure.key}.csv")
        links = [tag("a", path.suffix[1:].upper(), href=f"figures/{path.name}") for path in (picture, values)]
        size = f"height: {spec['layout']['height']}px" + (f"; min-width: {spec['width']}px" if strip else "")
        alone = isinstance(figure, Strip) or figure.legend  # of one configuration
        model = (figure.model if isinstance(figure, Strip) else figure.series[0].model) if alone else None
        plot = tag(
            "div",
            class_="plot",
            id=f"plot-{figure.key}",
            role="img",
            aria_label=f"{figure.title}. {figure.caption}",
            data_figure=f"figure-{figure.key}",
            style=size,
        )
        return tag(
            "figure",
            tag("h3", figure.title),
            tag("div", plot, class_="wide"),
            tag("figcaption", figure.caption, " ", links[0], " ", links[1]),
            data_data=data,
            data_model=model,
        )

    def scripts(self) -> Iterator[Html]:
        """The figures' values."""
        for key, spec in self.specs.items():
            text = json.dumps(_finite(spec), allow_nan=False, separators=(",", ":"))
            # What could end the script element or begin a comment in it is written as JSON escapes.
            text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
            yield tag("script", Html(text), type="application/json", id=f"figure-{key}")


def _finite(value: Any) -> Any:
    """The same values, rounded; what JSON cannot say, NaN and infinity, is null, a gap."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if isfinite(value) else None
    return value


def _panels(table: Table, made: Figures) -> list[Panel]:
    look, found = looks(table), settings(table)
    lines, against, shares = (
        [_grid([made.place(chart, one.data) for chart in charts(one, look)]) for one in found]
        for charts in (curves, costs, rates)
    )
    texts, clocks, notes = _passages(found, look, made)
    return [
        Panel("Leaderboard", sections.leaderboard(table)),
        Panel("Curves", _figures(lines, sections.CURVES)),
        Panel("Costs", _figures(against, sections.COSTS)),
        Panel("Boundaries", _figures(texts, sections.BOUNDARIES, *notes)),
        Panel("Clocks", _figures(clocks, sections.CLOCKS, *notes)),
        Panel("Updates", _figures(shares, sections.UPDATES)),
        Panel("Configurations", sections.configurations(table)),
        Panel(f"Set apart ({len(table.apart)})", sections.apart(table)),
        Panel("Runs", sections.runs(table)),
    ]


def _passages(
    found: Sequence[Setting], look: Mapping[str, Style], made: Figures
) -> tuple[list[Html], list[Html], list[str]]:
    """What networks did on a passage: over text, as clocks, and what is left out."""
    passages, left_out = shown(found)
    texts, clocks = [], []
    notes = [f"{left_out} more configurations are left out, to keep the page light."] if left_out else []
    for passage in passages:
        data = passage.setting.data
        try:
            strips_of, learned = strips(passage, look), periods(passage, look)
        except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError):
            notes.append(f"{passage.run.folder.name}: its excerpt.json is damaged.")
            continue
        if "boundaries" in strips_of:
            texts.append(made.place(strips_of["boundaries"], data))
        clocks.append(made.place(strips_of["raster"], data))
        clocks += [made.place(learned, data)] if learned else []
    return texts, clocks, notes


def _grid(placed: Sequence[Html]) -> Html:
    return tag("div", *placed, class_="grid") if placed else Html("")


def _figures(placed: Sequence[Html], *explained: str) -> Html:
    told = [tag("p", text, class_="faint") for text in explained]
    return joined(*told, *(placed if any(placed) else [tag("p", "No run tells this.")]))


def _document(table: Table, panels: Sequence[Panel], made: Figures) -> str:
    source = resources.files("multiscale.comparison")
    style, script = (Html(source.joinpath(name).read_text(encoding="utf-8")) for name in ("page.css", "page.js"))
    tabs = [
        tag("button", panel.name, type="button", role="tab", id=f"tab-{i}", aria_controls=f"panel-{i}")
        for i, panel in enumerate(panels)
    ]
    contents = [
        tag("section", panel.content, id=f"panel-{i}", role="tabpanel", aria_labelledby=f"tab-{i}")
        for i, panel in enumerate(panels)
    ]
    kinds = len({row.first.configuration for row in table.rows})
    counted = sum(len(row.runs) for row in table.rows)
    told = f"{counted} runs of {kinds} configurations, and {len(table.apart)} set apart"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", "Comparison of runs"),
        tag("style", style),
    )
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", "Comparison of runs"),
            tag("span", told, class_="faint"),
            tag("button", "Light or dark", type="button", id="theme"),
        ),
        sections.filters(table),
        sections.key(table, looks(table)),
        tag("nav", *tabs, role="tablist", aria_label="Sections"),
        tag("noscript", tag("p", "The figures need JavaScript; they are also in the folder figures beside this page.")),
        tag("main", *contents),
        *made.scripts(),
        tag("script", Html(get_plotlyjs())),
        tag("script", script),
    )
    return joined(Html("<!DOCTYPE html>\n"), tag("html", head, body, lang="en"), "\n")
