"""One HTML page of a comparison, with everything inside it: it opens from the disk and asks no network."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from multiscale.comparison import draw_matplotlib, draw_plotly
from multiscale.comparison.charts import POINTS, draw_costs, draw_curves, draw_rates, style_labels
from multiscale.comparison.figures import Chart, Strip, Style, write_values
from multiscale.comparison.passages import choose, draw_boundaries, draw_periods, draw_updates
from multiscale.comparison.records import section
from multiscale.comparison.runs import Run
from multiscale.comparison.statistics import BOOTSTRAP_SEED, RESAMPLES
from multiscale.comparison.table import Setting, Table
from multiscale.comparison.text import format_apart, format_row, list_columns
from multiscale.runs import files

DIGITS = 6  # of a number in a figure
VERSIONS = ["multiscale", "torch", "pytorch_lightning", "python"]
NO_DIFFERENCE = {"data", "task", "logger"}  # groups that tell no configurations of a setting apart
Sections = dict[str, list[list[Chart | Strip]]]


class Placed(NamedTuple):
    """A figure and how Plotly draws it."""

    figure: Chart | Strip
    spec: dict[str, Any]


def write(table: Table, folder: Path) -> Path:
    """Write ``index.html`` to ``folder``, its figures as PNG, PDF and CSV to ``figures/`` in it; returns the page."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    settings, styles = table.settings(), style_labels(table)
    sections, notes = _describe_figures(settings, styles)
    placed = {
        name: [[_place(figure, folder / "figures") for figure in group] for group in groups]
        for name, groups in sections.items()
    }
    page = folder / "index.html"
    text = _render(
        table=table,
        boxes={
            "data": ("Data set", dict.fromkeys(run.data for run in table.runs)),
            "model": ("Model", dict.fromkeys(run.model for run in table.runs)),
        },
        styles=styles,
        models={row.label: row.first.model for row in table.rows},
        count=sum(len(row.runs) for row in table.rows),
        kinds=len({row.first.configuration for row in table.rows}),
        leaderboards=[(setting, *_describe_leaderboard(setting, table.baseline)) for setting in settings],
        configurations=[(setting, _describe_differences(setting)) for setting in settings],
        apart=[(apart.run, format_apart(apart)) for apart in table.apart],
        runs=[(run, _describe_run(run)) for run in table.runs],
        sections=placed,
        notes=notes,
        versions=VERSIONS,
        resamples=f"{RESAMPLES:,}",
        bootstrap_seed=BOOTSTRAP_SEED,
        points=POINTS,
    )
    files.write(page, text.encode())
    return page


def _place(figure: Chart | Strip, folder: Path) -> Placed:
    """Write the files of a figure, and make what the page holds of it."""
    draw_matplotlib.draw(figure, folder / f"{figure.key}.png", folder / f"{figure.key}.pdf")
    write_values(figure, folder / f"{figure.key}.csv")
    return Placed(figure, _round(draw_plotly.draw(figure)))


def _render(**context: Any) -> str:
    """The page; whatever comes from a run is escaped."""
    loader = PackageLoader("multiscale.comparison", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["zip"] = zip
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    source = resources.files("multiscale.comparison")
    own = {name: Markup(source.joinpath(f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}
    return environment.get_template("page.html.j2").render(**own, plotly=Markup(get_plotlyjs()), **context)


def _describe_figures(settings: Sequence[Setting], styles: Mapping[str, Style]) -> tuple[Sections, list[str]]:
    """The figures of each section, in groups that stand in a grid, and what is left out of those of passages."""
    sections: Sections = {name: [] for name in ("curves", "costs", "boundaries", "clocks", "updates")}
    for setting in settings:
        sections["curves"].append([*draw_curves(setting, styles)])
        sections["costs"].append([*draw_costs(setting, styles)])
        sections["updates"].append([*draw_rates(setting, styles)])
    passages, left_out = choose(settings, styles)
    notes = [f"{left_out} more configurations are left out, to keep the page light."] if left_out else []
    for passage in passages:
        try:
            boundaries, updates, periods = draw_boundaries(passage), draw_updates(passage), draw_periods(passage)
        except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError):
            notes.append(f"{passage.run.folder.name}: its excerpt.json is damaged.")
            continue
        sections["boundaries"] += [[boundaries]] if boundaries else []
        sections["clocks"] += [[figure] for figure in (updates, periods) if figure]
    return {name: [group for group in groups if group] for name, groups in sections.items()}, notes


def _round(value: Any) -> Any:
    """The same values, rounded; what JSON cannot say, NaN and infinity, is null, a gap."""
    if isinstance(value, Mapping):
        return {key: _round(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_round(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if isfinite(value) else None
    return value


def _describe_leaderboard(setting: Setting, baseline: str) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """(titles, rows) of a table; a cell is what is read, and what it is sorted by."""
    rows = [format_row(row, baseline) for row in setting.rows]
    names = list_columns(rows)
    if all(row.score.n < 4 for row in setting.rows):
        names.remove("IQM")  # which is the mean
    texts = [[row.get(name, "-") for name in names] for row in rows]
    return names, [[(text, _find_number(text)) for text in row] for row in texts]


def _find_number(text: str) -> str:
    """The first number of a cell, or all that it says."""
    first = text.partition(" ")[0].replace(",", "").strip("[]")
    try:
        return str(float(first))
    except ValueError:
        return text


def _describe_differences(setting: Setting) -> dict[str, list[str]]:
    """What differs among the configurations of a setting: a value of each, as YAML has it, by its key."""
    values = []
    for run in (row.first for row in setting.rows):
        chosen = {group: choice for group, choice in run.choices.items() if group not in NO_DIFFERENCE}
        values.append({key: _format_yaml(value) for key, value in (chosen | run.leaves).items()})
    rows = {key: [own.get(key, "\u2013") for own in values] for key in dict.fromkeys(k for own in values for k in own)}
    return {key: texts for key, texts in rows.items() if len(set(texts)) > 1}


def _format_yaml(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _describe_run(run: Run) -> dict[str, Any]:
    """With what and by which command it was made."""
    versions = section(run.summary, "versions")
    return {
        "command": run.command() or "-",
        "kernel": run.summary.get("kernel", "-"),
        "versions": [versions.get(name, "-") for name in VERSIONS],
        "sha256": section(run.summary, "data").get("sha256", "-"),
    }
