"""The table as files: CSV to reckon with, Markdown to read."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multiscale.comparison.records import section
from multiscale.comparison.statistics import Estimate
from multiscale.comparison.table import Row, Table
from multiscale.comparison.text import format_configurations, format_runs, list_columns

Cells = dict[str, Any]


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
        "seeds": " ".join(str(seed) for seed in row.score.seeds),
        **_describe_estimate("", row.score),
        "baseline": row.baseline,
        **_describe_estimate("difference_", row.difference),
        **row.measures,
        "notes": "; ".join(row.notes),
        "configuration": first.configuration,
        "details": first.details,
    }


def _describe_estimate(prefix: str, estimate: Estimate | None) -> Cells:
    low, high = (estimate.interval if estimate else None) or (None, None)
    return {
        f"{prefix}n": estimate.n if estimate else None,
        f"{prefix}mean": estimate.mean if estimate else None,
        f"{prefix}low": low,
        f"{prefix}high": high,
        f"{prefix}iqm": estimate.iqm if estimate else None,
    }


def _write_csv(path: Path, rows: Sequence[Cells]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list_columns(rows))
        writer.writeheader()
        writer.writerows(rows)
