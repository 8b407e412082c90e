"""The table as it is reckoned with, in CSV, and as it is read: rounded, in Markdown and on the terminal."""

import csv
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from multiscale.comparison.records import section
from multiscale.comparison.statistics import BOOTSTRAP_SEED, RESAMPLES, Estimate, order
from multiscale.comparison.table import Row, Table

TITLES = {  # of measures that are one number, in the tables that are read
    "parameters": "parameters",
    "macs": "MACs per step",
    "macs_done": "MACs done",
    "macs_head": "MACs of the head",
    "operations": "units rewritten",
    "state_size": "state",
    "seconds": "seconds",
}
LEVELS = {  # of those of each level
    "update": "updates",
    "boundary": "boundaries",
    "saturation": "saturation",
    "f1": "F1",
    "f1_surprisal": "F1 by surprisal",
    "f1_entropy": "F1 by entropy",
    "f1_symbol": "F1 by symbol",
    "explained": "told by symbol",
    "r_value": "R-value",
    "length_variation": "variation of length",
    "nested": "nested",
    "enrichment": "enrichment",
    "period": "periods",
}
TERMINAL = {TITLES[name] for name in ("parameters", "operations", "seconds")} | {LEVELS["f1"]}  # what fits on a line
RUN_CELLS = (
    "label",
    "data",
    "task",
    "seed",
    "fold",
    "state",
    "metric",
    "score",
    "val",
    "seconds",
    "data_sha256",
    "reason",
)
RENAMED = {"label": "configuration", "score": "test", "data_sha256": "SHA-256 of the data"}
RENAMED |= {"reason": "not counted because"}
Cells = dict[str, Any]


def format_number(value: float, beside: float = 0.0) -> str:
    """A score as it is read: about four digits, or as many places as one of the size of ``beside`` has."""
    size = max(abs(value), abs(beside))
    return "0" if value == 0 else f"{value:.4f}" if 0.01 <= size < 100 else f"{value:.4g}"


def format_interval(estimate: Estimate) -> str:
    """The interval, or that there is none."""
    if estimate.interval is None:
        return "one seed"
    low, high = estimate.interval
    return f"[{format_number(low, beside=high)}, {format_number(high, beside=low)}]"


def format_row(row: Row, baseline: str) -> dict[str, str]:
    """A configuration as it is read, by title; what it does not have is left out."""
    cells = {
        "configuration": row.label,
        "seeds": str(row.score.n),
        row.first.metric: format_number(row.score.mean),
        "95% interval": format_interval(row.score),
        "IQM": format_number(row.score.iqm),
    }
    if row.difference is not None:
        pairs = "1 pair" if row.difference.n == 1 else f"{row.difference.n} pairs"
        interval = f" {format_interval(row.difference)}" if row.difference.interval else ""
        cells[f"minus {baseline}"] = f"{format_number(row.difference.mean)}{interval}, {pairs}"
    cells |= {
        title: _format_measure(name, row.measures[name]) for name, title in TITLES.items() if name in row.measures
    }
    for kind, title in (LEVELS | _name_other_f1(row.measures)).items():
        if text := _format_levels(kind, row.measures):
            cells[title] = text
    return cells


def _format_measure(name: str, value: float) -> str:
    if name == "seconds":
        return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
    return f"{value:.3f}" if name == "operations" else f"{value:,.0f}"


def _format_levels(kind: str, measures: Mapping[str, float]) -> str:
    """A measure of each level, fastest first, a dash where a level has none; empty if none has any."""
    ends = {name: name.removeprefix(f"{kind}_") for name in measures}
    by_level = {int(end): measures[name] for name, end in ends.items() if end != name and end.isdigit()}
    levels = range(1, max(by_level, default=0) + 1)
    return " / ".join(f"{by_level[level]:.3g}" if level in by_level else "-" for level in levels)


def _name_other_f1(measures: Mapping[str, float]) -> dict[str, str]:
    """Titles of F1 scores against references that are named."""
    kinds = sorted({name.rpartition("_")[0] for name in measures if name.startswith("f1_")})
    named = [kind for kind in kinds if kind != "f1" and not kind.endswith(("random", "always", "shifted"))]
    return {kind: kind.replace("f1_", "F1, ").replace("_", " ") for kind in named if kind not in LEVELS}


def list_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every title of several rows, in the order in which a row has them."""
    names: list[str] = []
    for row in rows:
        at = 0
        for name in row:
            if name in names:
                at = names.index(name) + 1
            else:
                names.insert(at, name)
                at += 1
    return names


def render(template: str, **context: Any) -> str:
    """A template of this folder, filled in; what comes from a run is escaped in HTML."""
    environment = Environment(
        loader=PackageLoader("multiscale.comparison", "."),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"resamples": f"{RESAMPLES:,}", "bootstrap_seed": BOOTSTRAP_SEED, "section": section}
    environment.filters |= {"zip": zip, "cells": format_row, "columns": list_columns}
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template(template).render(**context)


def format_configurations(table: Table) -> str:
    """The table of configurations, how it was made, and what stands apart, in Markdown."""
    return render("configurations.md.j2", table=table)


def format_runs(runs: Sequence[Mapping[str, Any]]) -> str:
    """The table of runs, given by the cells of its CSV, as far as it fits a page, in Markdown."""
    names = [name for name in RUN_CELLS if any(_format_cell(run.get(name)) for run in runs)]
    rows = [{RENAMED.get(name, name): _format_cell(run.get(name)) for name in names} for run in runs]
    return render("runs.md.j2", rows=rows)


def _format_cell(value: Any) -> str:
    return format_number(value) if isinstance(value, float) else str("" if value is None else value)


def write(table: Table, folder: Path) -> list[Path]:
    """Write ``runs`` and ``configurations``, each ``.csv`` and ``.md``, to ``folder``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("runs.csv", "runs.md", "configurations.csv", "configurations.md")]
    runs = list_runs(table)
    _write_csv(paths[0], runs)
    paths[1].write_text(format_runs(runs))
    _write_csv(paths[2], [describe_row(row) for row in table.rows])
    paths[3].write_text(format_configurations(table))
    return paths


def list_runs(table: Table) -> list[Cells]:
    """One row a run, those that stand apart too, with ``counted`` and the reason."""
    reasons = {apart.run: apart.reason for apart in table.apart}
    return [
        {
            "label": run.label,
            "model": run.model,
            "data": run.data,
            "task": run.task,
            "seed": run.seed,
            "fold": run.fold,
            "state": run.state,
            "counted": "no" if run in reasons else "yes",
            "reason": reasons.get(run, ""),
            "metric": run.metric,
            "score": run.score if run.summary else None,
            "val": section(run.summary, "val").get(run.monitor),
            **run.measures,
            "kernel": run.summary.get("kernel"),
            "data_sha256": run.sha256 if run.summary else None,
            "configuration": run.configuration,
            "details": run.details,
            "folder": str(run.folder),
        }
        for run in table.runs
    ]


def describe_row(row: Row) -> Cells:
    """One row a configuration; an interval that one seed cannot have is left empty, and ``n`` says so."""
    first = row.first
    return {
        "label": row.label,
        "model": first.model,
        "data": first.data,
        "task": first.task,
        "metric": first.metric,
        "seeds": " ".join("/".join(map(str, order(draw))) for draw in row.score.seeds),
        **_describe_estimate("", row.score),
        "baseline": row.baseline,
        **_describe_estimate("difference_", row.difference),
        **row.measures,
        "notes": "; ".join(row.notes),
        "configuration": first.configuration,
        "details": first.details,
    }


def _describe_estimate(prefix: str, estimate: Estimate | None) -> Cells:
    numbers = (estimate.n, estimate.mean, *(estimate.interval or (None, None)), estimate.iqm) if estimate else ()
    return {f"{prefix}{name}": number for name, number in zip_longest(("n", "mean", "low", "high", "iqm"), numbers)}


def _write_csv(path: Path, rows: Sequence[Cells]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list_columns(rows))
        writer.writeheader()
        writer.writerows(rows)


def show(table: Table, console: Console) -> None:
    """Print the configurations as far as they fit a line, then what stands apart."""
    for setting in table.settings():
        rows = [format_row(row, table.baseline) for row in setting.rows]
        left_out = {*TITLES.values(), *LEVELS.values()} - TERMINAL
        left_out |= set() if setting.trims else {"IQM"}
        names = [name for name in list_columns(rows) if name not in left_out]
        title = Text(setting.heading)
        grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=title, title_justify="left")
        for name in names:
            grid.add_column(Text(name), justify="left" if name == "configuration" else "right")
        for cells in rows:
            grid.add_row(*[Text(cells.get(name, "-")) for name in names])
        console.print()
        console.print(grid)
        for row in setting.rows:
            for note in row.notes:
                console.print(Text(f"{row.label}: {note}"), soft_wrap=True)
    if not table.rows:
        console.print("\nNo run has a result.")
    if table.apart:
        console.print("\nApart, in no average:")
        for apart in table.apart:
            console.print(Text(f"{apart.line}, {apart.run.folder}"), soft_wrap=True)
