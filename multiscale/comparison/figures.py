"""What a figure shows, as plain values: described once, drawn for the page and for a paper, written as CSV."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31")  # Okabe and Ito, less the black
HEAT = "Cividis"  # of a matrix: even in lightness and safe for colour-blind readers
DASHES = 4  # before the styles come round again
INVISIBLE = {" ": ("\u00b7", "space"), "\n": ("\u21b5", "line feed")}  # how it is shown, how it is called
INVISIBLE |= {"\t": ("\u2192", "tab"), "\r": ("\u2190", "carriage return")}


class Style(NamedTuple):
    """How a configuration looks in every figure; dashes and markers are numbered, each renderer has its own."""

    colour: str
    dash: int
    marker: int


class Axis(NamedTuple):
    """What is measured along an axis, with its unit."""

    title: str
    base: int | None = None  # of a logarithmic axis
    names: Sequence[str] = ()  # of 1, 2, ...
    tick: int | None = None  # from one tick to the next


class Series(NamedTuple):
    """N points of one configuration, each a mean with its lowest and highest."""

    name: str
    model: str
    style: Style
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    note: str = ""  # a line on all of its points
    dots: Sequence[tuple[float, float]] = ()  # of every seed, where there are several

    @property
    def spreads(self) -> bool:
        """Does any point have a lowest other than its highest?"""
        return any(low != high for low, high in zip(self.low, self.high, strict=True))


class Lane(NamedTuple):
    """One row over T steps: cells with a dot where something happened, or triangles alone."""

    name: str
    values: Sequence[float]  # T in [0, 1]; none for triangles
    marks: Sequence[int]  # steps


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What every figure has.

    Args:
        key: also the name of its files.
        title: in a line.
        caption: what is to be seen, for those who cannot see it.
        data: the data set.
        model: whose figure it is; empty if it shows several, which the colours of the page tell apart.
        seeds: under which choices of a seed it is seen, with spaces between; empty if under all.
    """

    key: str
    title: str
    caption: str
    data: str
    model: str = ""
    seeds: str = ""


@dataclass(frozen=True, kw_only=True)
class Chart(Figure):
    """Series in one pair of axes, ``joined`` by lines or not; ``lines``, of a name and a value, go across all.

    ``front`` are the points below and left of which there is none, from left to right, joined as steps.
    """

    x: Axis
    y: Axis
    series: Sequence[Series]
    joined: bool = True
    lines: Sequence[tuple[str, float]] = ()
    front: Sequence[tuple[float, float]] = ()

    def rows(self) -> Iterator[list[Any]]:
        """Titles, then a row a point."""
        yield ["name", "model", "note", self.x.title, self.y.title, "lowest", "highest"]
        for one in self.series:
            for point in zip(one.x, one.y, one.low, one.high, strict=True):
                yield [one.name, one.model, one.note, *point]


@dataclass(frozen=True, kw_only=True)
class Strip(Figure):
    """Lanes over the T steps of a passage, the first at the foot.

    Args:
        style: of its configuration.
        symbols: T, empty strings if nothing is written.
        lanes: those with values first.
        quantity: what the values are.
        event: what a dot is; empty if there are none, and then no symbols are shown.
        start: the step counter at the first step.
        columns: steps a line.
    """

    style: Style
    symbols: Sequence[str]
    lanes: Sequence[Lane]
    quantity: str
    event: str = ""
    start: int
    columns: int

    @property
    def foot(self) -> int:
        """Where the lowest row stands: 0, the symbols, or 1, the first lane."""
        return 0 if self.event and any(self.symbols) else 1

    def lines(self) -> list[range]:
        """The steps of each line, counted from 0."""
        total = len(self.symbols)
        return [range(first, min(first + self.columns, total)) for first in range(0, total, self.columns)]

    def rows(self) -> Iterator[list[Any]]:
        """Titles, then a row a step."""
        valued = [lane for lane in self.lanes if lane.values]
        marked = [lane for lane in self.lanes if self.event or not lane.values]
        events = [f"{lane.name}, {self.event}" if lane.values else lane.name for lane in marked]
        yield ["step", "symbol", *(f"{lane.name}, {self.quantity}" for lane in valued), *events]
        happened = [set(lane.marks) for lane in marked]
        for t, symbol in enumerate(self.symbols):
            values = [lane.values[t] for lane in valued]
            yield [self.start + t, symbol, *values, *(int(t in steps) for steps in happened)]


@dataclass(frozen=True, kw_only=True)
class Matrix(Figure):
    """What is told of each pair of L levels, in [0, 1]: how far the row's reads the column's.

    Args:
        levels: L names, fastest first.
        values: L rows of L.
        quantity: what the values are.
    """

    levels: Sequence[str]
    values: Sequence[Sequence[float]]
    quantity: str

    def rows(self) -> Iterator[list[Any]]:
        """Titles, then a row a level."""
        yield ["level", *(f"{self.quantity} to {level}" for level in self.levels)]
        for level, values in zip(self.levels, self.values, strict=True):
            yield [level, *values]


Drawn: TypeAlias = Chart | Strip | Matrix


def make_styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each name, the same in all figures: of 28, every two differ in colour or in marker, so that points
    tell them apart as well as lines, which have a dash for each round of the colours."""
    count = len(COLOURS)
    rounds = [(i % count, i // count % DASHES) for i in range(len(names))]
    return {
        name: Style(COLOURS[i], dash, (i + 2 * dash) % count) for name, (i, dash) in zip(names, rounds, strict=True)
    }


def write_values(figure: Drawn, path: Path) -> None:
    """Write what a figure shows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(figure.rows())


def show_symbol(symbol: str) -> str:
    """A symbol as it can be seen."""
    return INVISIBLE.get(symbol, (symbol, ""))[0]


def name_symbol(symbol: str) -> str:
    """A symbol as it can be named."""
    return INVISIBLE.get(symbol, ("", f"\u2018{symbol}\u2019" if symbol else ""))[1]
