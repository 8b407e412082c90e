"""One HTML page of a comparison, with everything inside it: it opens from the disk and asks no network."""

import gzip
import json
from base64 import b85encode
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from multiscale.comparison import draw_matplotlib, draw_plotly
from multiscale.comparison.charts import POINTS, draw_costs, draw_curves, draw_rates, style_labels
from multiscale.comparison.figures import Drawn, Style, write_values
from multiscale.comparison.labels import format_value
from multiscale.comparison.passages import choose, draw_boundaries, draw_matrices, draw_periods, draw_updates
from multiscale.comparison.table import Setting, Table
from multiscale.comparison.text import render
from multiscale.runs import files

DIGITS = 6  # of a number in a figure
NO_DIFFERENCE = {"data", "task", "logger"}  # groups that tell no configurations of a setting apart
Sections = dict[str, list[list[Drawn]]]


def write(table: Table, folder: Path) -> Path:
    """Write ``index.html`` to ``folder``, its figures as PNG, PDF and CSV to ``figures/`` in it; returns the page."""
    beside = folder / "figures"
    beside.mkdir(parents=True, exist_ok=True)
    settings, styles = table.settings(), style_labels(table)
    sections, notes = _describe_figures(settings, styles)
    specs: dict[str, dict[str, Any]] = {}
    for figure in chain.from_iterable(chain.from_iterable(sections.values())):
        draw_matplotlib.draw(figure, beside / f"{figure.key}.png", beside / f"{figure.key}.pdf")
        write_values(figure, beside / f"{figure.key}.csv")
        specs[figure.key] = _round(draw_plotly.draw(figure))
    source = resources.files("multiscale.comparison")
    text = render(
        "page.html.j2",
        table=table,
        settings=settings,
        styles=styles,
        models={row.label: row.first.model for row in table.rows},
        varied_keys=[_describe_differences(setting) for setting in settings],
        sections=sections,
        specs=specs,
        notes=notes,
        points=POINTS,
        packed={"plotly": _pack_plotly(), "figures": _pack(_share(specs))},
        seeds=[*dict.fromkeys(seed for group in sections["boundaries"] for one in group for seed in one.seeds.split())],
        **{name: Markup(source.joinpath(f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")},
    )
    page = folder / "index.html"
    files.write(page, text.encode())
    return page


def _describe_figures(settings: Sequence[Setting], styles: Mapping[str, Style]) -> tuple[Sections, list[str]]:
    """The figures of each section, in groups that stand in a grid, and what is left out of those of passages."""
    sections: Sections = {name: [] for name in ("front", "curves", "costs", "boundaries", "clocks", "updates")}
    for setting in settings:
        sections["curves"].append([*draw_curves(setting, styles)])
        costs = [*draw_costs(setting, styles)]
        sections["front"].append([figure for figure in costs if figure.front])
        sections["costs"].append([figure for figure in costs if not figure.front])
        sections["updates"].append([*draw_rates(setting, styles)])
    passages, notes = choose(settings, styles)
    for passage in passages:
        boundaries = draw_boundaries(passage)
        sections["boundaries"] += [[boundaries]] if boundaries else []
        if passage.is_first:
            clocks = draw_updates(passage), draw_periods(passage), *draw_matrices(passage)
            sections["clocks"] += [[figure] for figure in clocks if figure]
    front = sections.pop("front")  # of every setting, as the table is that it stands over
    return {"front": front} | {name: [group for group in groups if group] for name, groups in sections.items()}, notes


def _share(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Figures whose traces have the place of each list in ``lists``, where those of several figures stand once."""
    places: dict[str, int] = {}

    def name(value: Any) -> Any:
        return {"list": places.setdefault(json.dumps(value), len(places))} if isinstance(value, list) else value

    figures = {
        key: {**spec, "data": [{kind: name(value) for kind, value in trace.items()} for trace in spec["data"]]}
        for key, spec in specs.items()
    }
    return {"figures": figures, "lists": [json.loads(text) for text in places]}


@cache
def _pack_plotly() -> tuple[Markup, int]:
    return _pack(get_plotlyjs())


def _pack(content: Any) -> tuple[Markup, int]:
    """(JSON in gzip in base 85, bytes of the gzip): letters that a script element may hold, of which none is "/"."""
    packed = gzip.compress(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(), mtime=0)
    return Markup(b85encode(packed, pad=True).decode()), len(packed)


def _round(spec: dict[str, Any]) -> dict[str, Any]:
    """The same values, rounded; what JSON cannot say, NaN and infinity, is null, a gap."""
    text = json.dumps(spec)
    return json.loads(text, parse_float=lambda f: float(f"{float(f):.{DIGITS}g}"), parse_constant=lambda _: None)


def _describe_differences(setting: Setting) -> dict[str, list[str]]:
    """What differs among the configurations of a setting: a value of each, as YAML has it, by its key."""
    values = []
    for run in (row.first for row in setting.rows):
        chosen = {group: choice for group, choice in run.choices.items() if group not in NO_DIFFERENCE}
        values.append({key: format_value(value) for key, value in (chosen | run.leaves).items()})
    rows = {key: [own.get(key, "\u2013") for own in values] for key in dict.fromkeys(k for own in values for k in own)}
    return {key: texts for key, texts in rows.items() if len(set(texts)) > 1}
