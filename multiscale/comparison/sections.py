"""The sections of a page that are text and tables."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from multiscale.comparison.charts import Style
from multiscale.comparison.identity import flat
from multiscale.comparison.markup import Html, joined, tag
from multiscale.comparison.records import read_json
from multiscale.comparison.runs import Run
from multiscale.comparison.statistics import BOOTSTRAP_SEED, RESAMPLES
from multiscale.comparison.table import Row, Table
from multiscale.comparison.text import apart_text, columns, settings, written

LEADERBOARD = (
    f"Means over seeds. The interval is the 95% percentile bootstrap interval of the mean ({RESAMPLES:,} resamples, "
    f"generator seed {BOOTSTRAP_SEED}); of fewer than about ten seeds it is too narrow. IQM is the interquartile mean. "
    "Values of each level are written the fastest first. Click a column to sort by it."
)
CURVES = (
    "A line is the mean over the seeds of a configuration, at the steps that all of them logged; its band reaches from "
    "the lowest seed to the highest. Curves of more than 500 points are thinned to 500, evenly."
)
COSTS = (
    "A mark is the mean over the seeds of a configuration, its bar reaches from the lowest seed to the highest. Times "
    "are those of the machine that each run was on, and of whatever else it did."
)
BOUNDARIES = (
    "The first seed of each configuration on the first characters of validation data. The deeper a cell is coloured, "
    "the more probable was a boundary; a dot is where it was taken. Triangles are where something really ends."
)
CLOCKS = (
    "How much of each level was rewritten at each step, from 0 (pale) to 1, and how learned periods moved; the first "
    "seed of each configuration."
)
UPDATES = (
    "Means over the steps of the test split, and over seeds; bands reach from the lowest seed to the highest. A level "
    "that is rewritten at every step has 1."
)
FEW = 10  # colours that are shown unasked
LONG = 32  # characters of a cell that may be broken into lines
VERSIONS = ("multiscale", "torch", "pytorch_lightning", "python")
PATHS = (  # of a mark of each kind, 14 by 14
    "M7 3a4 4 0 1 0 .01 0z",
    "M3 3h8v8h-8z",
    "M7 1.5l5.5 5.5l-5.5 5.5l-5.5-5.5z",
    "M7 2l5 9h-10z",
    "M7 12l5 -9h-10z",
    "M5.4 2h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z",
    "M4.2 2l2.8 2.8l2.8 -2.8l2.2 2.2l-2.8 2.8l2.8 2.8l-2.2 2.2l-2.8 -2.8l-2.8 2.8l-2.2 -2.2l2.8 -2.8l-2.8 -2.8z",
)
DASHES = ("", "6 4", "2 3", "6 3 2 3")


def filters(table: Table) -> Html:
    """Boxes for data sets and for models."""
    boxes = []
    for kind, title in (("data", "Data set"), ("model", "Model")):
        values = list(dict.fromkeys(getattr(run, kind) for run in table.runs))
        choices = [
            tag("label", tag("input", type="checkbox", name=kind, value=value, checked=True), value) for value in values
        ]
        boxes.append(tag("fieldset", tag("legend", title), *choices))
    return tag("div", *boxes, role="group", aria_label="Filter")


def key(table: Table, look: Mapping[str, Style]) -> Html:
    """What the colours mean."""
    models = {row.label: row.first.model for row in table.rows}
    entries = [tag("li", _swatch(style), tag("span", name), data_model=models[name]) for name, style in look.items()]
    listed = tag("ul", *entries, class_="key")
    return tag("details", tag("summary", "Colours"), listed, open=len(entries) <= FEW)


def _swatch(style: Style) -> Html:
    line = tag("path", d="M0 7h34", stroke=style.colour, stroke_width="2", stroke_dasharray=DASHES[style.dash] or None)
    mark = tag("path", d=PATHS[style.marker], fill=style.colour, transform="translate(10 0)")
    return tag("svg", line, mark, width="34", height="14", aria_hidden="true")


def leaderboard(table: Table) -> Html:
    """A table for each data set and task, the best first."""
    parts = [tag("p", LEADERBOARD, class_="faint")]
    if table.baseline:
        parts.append(
            tag("p", f"Minus {table.baseline}: the mean difference by seed; below 0 is better than it.", class_="faint")
        )
    for title, rows in settings(table):
        texts = [written(row, table.baseline) for row in rows]
        names = columns(texts)
        if all(row.score.n < 4 for row in rows):
            names.remove("IQM")  # which is the mean
        heads = [_sortable(name, name != "configuration") for name in names]
        body = [_row(names, text, row.first.model) for text, row in zip(texts, rows, strict=True)]
        grid = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body))
        notes = [tag("li", f"{row.label}: {note}", data_model=row.first.model) for row in rows for note in row.notes]
        listed = tag("ul", *notes, class_="faint") if notes else Html("")
        heading = tag("h2", title)
        parts.append(tag("div", heading, tag("div", grid, class_="wide"), listed, data_data=rows[0].first.data))
    if not table.rows:
        parts.append(tag("p", "No run has a result."))
    return joined(*parts)


def _sortable(name: str, number: bool) -> Html:
    button = tag("button", name, type="button")
    return tag("th", button, scope="col", aria_sort="none", class_="number" if number else None)


def _row(names: Sequence[str], text: Mapping[str, str], model: str) -> Html:
    cells = []
    for name in names:
        shown = text.get(name, "-")
        if name == "configuration":
            cells.append(tag("th", shown, scope="row"))
        else:
            kind = "levels" if len(shown) > LONG else "number"
            cells.append(tag("td", shown, class_=kind, data_value=_value(shown)))
    return tag("tr", *cells, data_model=model)


def _value(text: str) -> str:
    """What to sort by: the first number of a cell."""
    first = text.split()[0].replace(",", "").strip("[]") if text.split() else ""
    try:
        return str(float(first))
    except ValueError:
        return text


def configurations(table: Table) -> Html:
    """What differs among the configurations of a data set and task."""
    parts = [
        tag(
            "p",
            "Only what differs among the configurations of a data set and task; a dash is where a key does not exist.",
            class_="faint",
        )
    ]
    for title, rows in settings(table):
        leaves = [_leaves(row.first) for row in rows]
        keys = list(dict.fromkeys(key for one in leaves for key in one))
        varied = [key for key in keys if len({_text(one, key) for one in leaves}) > 1]
        head = [tag("th", "key", scope="col"), *(_column(row) for row in rows)]
        body = [
            tag(
                "tr",
                tag("th", key, scope="row"),
                *(
                    tag("td", _text(one, key), data_model=row.first.model)
                    for one, row in zip(leaves, rows, strict=True)
                ),
            )
            for key in varied
        ]
        grid = tag("div", tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body)), class_="wide")
        told = grid if varied else tag("p", "One configuration: nothing differs.")
        parts.append(tag("div", tag("h2", title.partition(":")[0]), told, data_data=rows[0].first.data))
    return joined(*parts)


def _leaves(run: Run) -> dict[str, Any]:
    chosen = {group: choice for group, choice in run.choices.items() if group not in ("data", "task", "logger")}
    return chosen | flat(run.essence)


def _text(leaves: Mapping[str, Any], key: str) -> str:
    """A value as YAML has it."""
    value = leaves.get(key, "\u2013")
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _column(row: Row) -> Html:
    return tag("th", row.label, scope="col", data_model=row.first.model)


def apart(table: Table) -> Html:
    """The runs that stand in no average, and why."""
    if not table.apart:
        return tag("p", "No run is set apart: all that were read are compared.")
    entries = [
        tag(
            "li",
            apart_text(one),
            " ",
            tag("code", str(one.run.folder)),
            data_data=one.run.data,
            data_model=one.run.model,
        )
        for one in table.apart
    ]
    return joined(tag("p", "These runs stand in no average and in no figure.", class_="faint"), tag("ul", *entries))


def runs(table: Table) -> Html:
    """Where, with what and by which command each run was made."""
    heads = ("configuration", "data", "seed", "state", "command", "kernel", *VERSIONS, "SHA-256 of the data", "folder")
    body = []
    for run in table.runs:
        versions = run.summary.get("versions")
        versions = versions if isinstance(versions, dict) else {}
        cells = [
            tag("th", run.label, scope="row"),
            tag("td", run.data),
            tag("td", "-" if run.seed is None else str(run.seed), class_="number"),
            tag("td", run.state),
            tag("td", tag("code", command(run) or "-"), class_="long"),
            tag("td", str(run.summary.get("kernel", "-"))),
            *(tag("td", str(versions.get(name, "-"))) for name in VERSIONS),
            tag("td", tag("code", str(run.summary.get("data", {}).get("sha256", "-")))),
            tag("td", tag("code", str(run.folder)), class_="long"),
        ]
        body.append(tag("tr", *cells, data_data=run.data, data_model=run.model))
    head = tag("thead", tag("tr", *(_sortable(name, name == "seed") for name in heads)))
    return tag("div", tag("table", head, tag("tbody", *body)), class_="wide")


def command(run: Run) -> str:
    """The command that a run was started with; empty if it is not known."""
    status = read_json(run.folder / "status.json")[0] or {}  # of a run that did not finish, all there is
    return str(run.summary.get("command") or status.get("command") or "")
