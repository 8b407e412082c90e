"""The table as it is read: rounded, in Markdown and on the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from multiscale.comparison.selection import Apart
from multiscale.comparison.statistics import BOOTSTRAP_SEED, RESAMPLES, Estimate
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
LEVELS = {  # of measures that are one number a level
    "update": "updates",
    "boundary": "boundaries",
    "f1": "F1",
    "period": "periods",
}
TERMINAL = ("parameters", "operations", "seconds", "f1")  # what of them fits on a line
RUN_TITLES = {
    "label": "configuration",
    "data": "data",
    "task": "task",
    "seed": "seed",
    "state": "state",
    "metric": "metric",
    "score": "test",
    "val": "val",
    "seconds": "seconds",
    "data_sha256": "SHA-256 of the data",
    "reason": "not counted because",
}


def number(value: float, beside: float = 0.0) -> str:
    """A score as it is read: about four digits, or as many places as one of the size of ``beside`` has."""
    size = max(abs(value), abs(beside))
    return "0" if value == 0 else f"{value:.4f}" if 0.01 <= size < 100 else f"{value:.4g}"


def interval_text(estimate: Estimate, single: str = "one seed") -> str:
    """The interval, or that there is none."""
    if estimate.interval is None:
        return single
    low, high = estimate.interval
    return f"[{number(low, beside=high)}, {number(high, beside=low)}]"


def written(row: Row, named: str) -> dict[str, str]:
    """A configuration as it is read, by title; what it does not have is left out."""
    cells = {
        "configuration": row.label,
        "seeds": str(row.score.n),
        row.first.metric: number(row.score.mean),
        "95% interval": interval_text(row.score),
        "IQM": number(row.score.iqm),
    }
    if row.difference is not None:
        pairs = "1 pair" if row.difference.n == 1 else f"{row.difference.n} pairs"
        several = f" {interval_text(row.difference)}" if row.difference.interval else ""
        cells[f"minus {named}"] = f"{number(row.difference.mean)}{several}, {pairs}"
    cells |= {title: _plain(name, row.measures[name]) for name, title in TITLES.items() if name in row.measures}
    for kind in [*LEVELS, *_other_f1(row.measures)]:
        by_level = levels(kind, row.measures)
        if by_level:
            cells[_title(kind)] = " / ".join("-" if value is None else f"{value:.3g}" for value in by_level)
    return cells


def levels(kind: str, measured: Mapping[str, float]) -> list[float | None]:
    """A measure of each level, fastest first, None where a level has none; empty if none has any."""
    found = {int(end): value for name, value in measured.items() if (end := _number_of(kind, name))}
    return [found.get(level) for level in range(1, max(found) + 1)] if found else []


def _number_of(kind: str, name: str) -> str:
    end = name.removeprefix(f"{kind}_")
    return end if end != name and end.isdigit() else ""


def _other_f1(measured: Mapping[str, float]) -> list[str]:
    """F1 scores against references that are named."""
    kinds = sorted({name.rpartition("_")[0] for name in measured if name.startswith("f1_")} - {"f1", "f1_random"})
    return [kind for kind in kinds if "random" not in kind]


def _title(kind: str) -> str:
    return LEVELS.get(kind) or kind.replace("f1_", "F1, ").replace("_", " ")


def _plain(name: str, value: float) -> str:
    if name == "seconds":
        return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
    return f"{value:.3f}" if name == "operations" else f"{value:,.0f}"


def settings(table: Table) -> list[tuple[str, list[Row]]]:
    """(title, rows) of each data set and task."""
    groups: dict[str, list[Row]] = {}
    for row in table.rows:
        groups.setdefault(row.first.setting, []).append(row)
    return [
        (f"{rows[0].first.data}, {rows[0].first.task}: test {rows[0].first.metric}, the lower, the better", rows)
        for rows in groups.values()
    ]


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
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


def configurations_markdown(table: Table) -> str:
    """The table of configurations, how it was made, and what stands apart."""
    lines = ["# Configurations", ""]
    lines += [*_explained(table), ""]
    for title, rows in settings(table):
        lines += [f"## {title}", "", *_markdown([written(row, table.baseline) for row in rows]), ""]
        lines += [f"- {row.label}: {note}" for row in rows for note in row.notes]
        lines += [""] if any(row.notes for row in rows) else []
        if any(row.first.details for row in rows):
            lines += ["What differs:", "", *[f"- {row.label}: {row.first.details}" for row in rows], ""]
    if not table.rows:
        lines += ["No run has a result.", ""]
    if table.apart:
        lines += ["## Apart, in no row above", ""]
        lines += [f"- {apart_text(apart)}, `{apart.run.folder}`" for apart in table.apart]
        lines += [""]
    return "\n".join(lines)


def apart_text(apart: Apart) -> str:
    """A run that is in no average, and why, in a line."""
    return f"{apart.run.label}, seed {apart.run.seed}: {' '.join(apart.reason.split())}"


def _explained(table: Table) -> list[str]:
    lines = [
        "Means over seeds. The interval is the 95% percentile bootstrap interval of the mean "
        f"({RESAMPLES:,} resamples, generator seed {BOOTSTRAP_SEED}); of fewer than about ten seeds it is too narrow. "
        "IQM, the interquartile mean, leaves out the floor(n / 4) best and as many worst seeds "
        "(`scipy.stats.trim_mean(scores, 0.25)`); under four seeds it is the mean."
    ]
    if table.baseline:
        lines.append(
            f"\nMinus {table.baseline}: the mean difference by seed, over the seeds that both have, with its bootstrap "
            "interval; below 0 is better than the baseline."
        )
    return lines


def runs_markdown(runs: Sequence[Mapping[str, Any]]) -> str:
    """The table of runs, given by the cells of its CSV, as far as it fits a page."""
    rows = [
        {
            title: _cell(cells.get(name))
            for name, title in RUN_TITLES.items()
            if any(_cell(run.get(name)) for run in runs)
        }
        for cells in runs
    ]
    return "\n".join(["# Runs", "", *_markdown(rows), ""])


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, float) else str("" if value is None else value)


def _markdown(rows: Sequence[dict[str, str]]) -> Iterable[str]:
    names = columns(rows)
    yield "| " + " | ".join(_of(name) for name in names) + " |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield "| " + " | ".join(_of(row.get(name, "")) for name in names) + " |"


def _of(text: str) -> str:
    """Text that stays in its cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def show(table: Table, console: Console) -> None:
    """Print the configurations as far as they fit a line, then what stands apart."""
    kept = [TITLES.get(name) or LEVELS[name] for name in TERMINAL]
    for title, rows in settings(table):
        texts = [written(row, table.baseline) for row in rows]
        left_out = {*TITLES.values(), *LEVELS.values()} - set(kept)
        left_out |= set() if any(row.score.n > 3 for row in rows) else {"IQM"}  # which is the mean
        names = [name for name in columns(texts) if name not in left_out]
        grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=Text(title), title_justify="left")
        for name in names:
            grid.add_column(Text(name), justify="left" if name == "configuration" else "right")
        for text in texts:
            grid.add_row(*[Text(text.get(name, "-")) for name in names])
        console.print()
        console.print(grid)
        for row in rows:
            for note in row.notes:
                console.print(Text(f"{row.label}: {note}"), soft_wrap=True)
    if not table.rows:
        console.print("\nNo run has a result.")
    if table.apart:
        console.print("\nApart, in no average:")
        for apart in table.apart:
            console.print(Text(f"{apart_text(apart)}, {apart.run.folder}"), soft_wrap=True)
