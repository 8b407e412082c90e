"""What the studies of the pages share: their rows of runs, tables in Markdown, and the marks of arms in figures."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from multiscale.analysis.plots import COLOURS, MARKERS
from multiscale.comparison.statistics import estimate

HOME = Path(__file__).parent
Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """The rows of a table of runs."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def group(rows: Iterable[Row], *columns: str) -> dict[tuple[str, ...], list[Row]]:
    """The rows that have the same in all of ``columns``, by what that is."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[column] for column in columns)].append(row)
    return dict(groups)


def by_seed(rows: Iterable[Row], column: str) -> dict[int, float]:
    """One value a seed; of two runs of a seed the later row counts."""
    return {int(row["seed"]): float(row[column]) for row in rows}


def products(rows: Sequence[Row]) -> float:
    """Multiply-accumulates a step that were done, with the head's, the mean over seeds."""
    return estimate(by_seed(rows, "macs_done")).mean + estimate(by_seed(rows, "macs_head")).mean


def mark(place: int) -> dict[str, str]:
    """Colour and marker of the arm at ``place`` in its list: a pair that comes again after 56 places only."""
    return {"color": COLOURS[place % 8], "marker": MARKERS[place % 7]}


def markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table, line by line."""
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for line in lines:
        yield "| " + " | ".join(line) + " |"
