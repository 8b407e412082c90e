"""What a figure of a report shows, as plain values: drawn once for the page, once as PNG, once as CSV."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

POINTS = 500  # of a curve; longer ones are thinned
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31")  # Okabe and Ito, less the black
DASHES = 4  # before the styles come round again


class Style(NamedTuple):
    """How a configuration looks in every figure."""

    colour: str
    dash: int
    marker: int


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


class Chart(NamedTuple):
    """Series in one pair of axes."""

    key: str  # also the name of its files
    title: str
    caption: str  # what is to be seen, for those who cannot see it
    x: str
    y: str
    series: Sequence[Series]
    joined: bool = True  # by lines
    x_base: int | None = None  # of a logarithmic axis
    y_base: int | None = None
    x_names: Sequence[str] = ()  # of x = 1, 2, ...
    lines: Sequence[tuple[str, float]] = ()  # across the whole chart
    legend: bool = False  # of its own: its series are no configurations


class Lane(NamedTuple):
    """One level over T steps."""

    name: str
    values: Sequence[float]  # T in [0, 1]
    marks: Sequence[int] = ()  # steps at which something happened


class Strip(NamedTuple):
    """Levels over T steps of a passage, the first at the foot, with what is known of it above."""

    key: str
    title: str
    caption: str
    model: str
    style: Style
    symbols: Sequence[str]  # T, empty strings if nothing is written
    lanes: Sequence[Lane]
    truth: Sequence[tuple[str, Sequence[int]]]  # names and steps
    quantity: str  # what the values are
    event: str  # what a mark is
    start: int  # the step counter at the first step
    columns: int  # steps a line

    @property
    def written(self) -> bool:
        """Is there anything to read under the steps?"""
        return any(self.symbols)

    def parts(self) -> list[range]:
        """The steps of each line."""
        total = len(self.symbols)
        return [range(first, min(first + self.columns, total)) for first in range(0, total, self.columns)]


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each name, the same in all figures: a marker for each colour, and four dashes, 28 styles in all."""
    count = len(COLOURS)
    return {name: Style(COLOURS[i % count], i // count % DASHES, i % count) for i, name in enumerate(names)}


def thinned(count: int) -> np.ndarray:
    """Which of ``count`` points to draw: all, or ``POINTS`` of them, evenly, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int)) if count else np.arange(0)


def readable(symbol: str) -> str:
    """A symbol as it can be seen."""
    return {" ": "\u00b7", "\n": "\u21b5", "\t": "\u2192", "\r": "\u2190"}.get(symbol, symbol)


def spoken(symbol: str) -> str:
    """A symbol as it can be named."""
    return {" ": "space", "\n": "line feed", "\t": "tab", "\r": "carriage return", "": ""}.get(
        symbol, f"\u2018{symbol}\u2019"
    )
