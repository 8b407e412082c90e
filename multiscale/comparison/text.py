"""The table as it is reckoned with, in CSV, and as it is read: rounded, in Markdown and on the terminal."""

import csv
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from multiscale.comparison.answer import tell
from multiscale.comparison.columns import (
    MEASURES,
    explain,
    format_number,
    format_spread,
    list_columns,
    list_shown,
    name_levels,
)
from multiscale.comparison.records import section
from multiscale.comparison.statistics import BOOTSTRAP_SEED, ENOUGH, RESAMPLES, Estimate, order
from multiscale.comparison.table import Row, Table

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
SPREAD = (
    f"The spread over seeds: from {ENOUGH} on, the 95% percentile bootstrap interval of the mean ({RESAMPLES:,} "
    f"resamples, generator seed {BOOTSTRAP_SEED}), which under about ten seeds is too narrow; of 2 to {ENOUGH - 1}, "
    "the range, which is the lowest and the highest and no interval."
)
KEPT = 4  # columns that a narrow terminal shows in any case: whose, seeds, score, spread
NOT_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
NOT_LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "\n": " "}
NOT_LATEX |= {character: f"\\{character}" for character in "{}$&#_%"}
LATEX = str.maketrans(NOT_LATEX | {"[": "{[}", "]": "{]}"})  # after a line's end, a bracket would be its argument
Cells = dict[str, Any]


def format_row(row: Row, baseline: str) -> dict[str, str]:
    """A configuration as it is read, by title; what it does not have is left out."""
    cells = {
        "configuration": row.label,
        "seeds": str(row.score.n),
        row.first.metric: format_number(row.score.mean),
        "spread": format_spread(row.score),
    }
    if row.difference is not None:
        pairs = "1 pair" if row.difference.n == 1 else f"{row.difference.n} pairs"
        spread = f" {format_spread(row.difference)}" if row.difference.spread else ""
        cells[f"minus {baseline}"] = f"{format_number(row.difference.mean)}{spread}, {pairs}"
    measured = {
        column: _format_measure(name, row.measures[name]) for name, column in MEASURES.items() if name in row.measures
    }
    for kind, column in name_levels(row.measures).items():
        if text := _format_levels(kind, row.measures):
            measured[column] = text
    ordered = sorted(measured, key=lambda column: not column.shown)  # what matters comes first
    cells |= {column.title: measured[column] for column in ordered}
    return cells | {"IQM": format_number(row.score.iqm)}


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
    environment.globals |= {"spread": SPREAD, "section": section, "explain": explain, "tell": tell}
    environment.filters |= {"zip": zip, "cells": format_row, "columns": list_columns, "shown": list_shown}
    environment.filters["latex"] = escape_latex
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template(template).render(**context)


def escape_latex(text: str) -> str:
    """``text`` so that LaTeX sets it as it is, and the sign of a number below 0 as a minus."""
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", text.translate(LATEX))


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
    """Write ``runs`` and ``configurations``, each ``.csv`` and ``.md``, and ``configurations.tex``, to ``folder``;
    returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("runs.csv", "runs.md", "configurations.csv", "configurations.md")]
    paths.append(folder / "configurations.tex")
    runs = list_runs(table)
    _write_csv(paths[0], runs)
    paths[1].write_text(format_runs(runs))
    _write_csv(paths[2], [describe_row(row) for row in table.rows])
    paths[3].write_text(format_configurations(table))
    paths[4].write_text(render("configurations.tex.j2", table=table))
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
    """One row a configuration; a spread that one seed cannot have is left empty; ``spread`` says what it is."""
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
    spread = (*(estimate.spread or (None, None)), estimate.kind) if estimate else ()
    values = (estimate.n, estimate.mean, estimate.iqm, *spread) if estimate else ()
    names = ("n", "mean", "iqm", "low", "high", "spread")
    return {f"{prefix}{name}": value for name, value in zip_longest(names, values)}


def _write_csv(path: Path, rows: Sequence[Cells]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list_columns(rows))
        writer.writeheader()
        writer.writerows(rows)


def show(table: Table, console: Console) -> None:
    """Print the configurations as far as they fit a line, then what stands apart."""
    for setting in table.settings():
        rows = [format_row(row, table.baseline) for row in setting.rows]
        names = [name for name in list_shown(list_columns(rows)) if name != "boundaries"]  # what fits a line
        left_out: list[str] = []
        lengths = [max(len(name), *(len(cells.get(name, "-")) for cells in rows)) for name in names]
        while len(names) > KEPT and sum(lengths[: len(names)]) + 2 * len(names) > console.width:
            left_out.insert(0, names.pop())
        grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in names:
            grid.add_column(Text(name), justify="left" if name == "configuration" else "right")
        for cells in rows:
            grid.add_row(*[Text(cells.get(name, "-")) for name in names])
        console.print()
        console.print(Text(setting.heading, style="italic"))
        console.print(grid)
        if left_out:
            console.print(Text(f"Too wide for this terminal, and in the files: {', '.join(left_out)}."))
        if any(row.score.kind == "range" for row in setting.rows):
            console.print("A range is the lowest and the highest of too few seeds for an interval.", soft_wrap=True)
        for row in setting.rows:
            for note in row.notes:
                console.print(Text(f"{row.label}: {note}"), soft_wrap=True)
    if not table.rows:
        console.print("\nNo run has a result.")
    if table.apart:
        console.print("\nApart, in no average:")
        for apart in table.apart:
            console.print(Text(f"{apart.line}, {apart.run.folder}"), soft_wrap=True)


def conclude(table: Table, console: Console) -> None:
    """Print what the numbers say, in a few lines: who is ahead, and how far sizes differ."""
    for setting in table.settings():
        answer = tell(setting)
        console.print(Text(f"\n{setting.title}: {answer.verdict} {answer.sizes}".rstrip()))
