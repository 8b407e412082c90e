"""What networks did on a passage of text: boundaries, clocks, learned periods."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from multiscale.comparison.figures import Axis, Chart, Lane, Matrix, Series, Strip, Style
from multiscale.comparison.records import Run, number
from multiscale.comparison.statistics import order
from multiscale.comparison.table import Setting, name_draw, slug

Share = Annotated[float, Field(ge=0, le=1)]
Step = Annotated[int, Field(ge=0, lt=2**40)]


class Content(BaseModel, strict=True):
    """An excerpt as its file has it: T symbols, L levels, what each level did at each step, where things end, and
    what is told of pairs of levels."""

    symbols: Annotated[list[str], Field(min_length=1)]
    levels: Annotated[list[str], Field(min_length=1)]
    update: list[list[Share]]
    boundary: list[list[Literal[0, 1]]] | None = None
    probability: list[list[Share]] | None = None
    truth: dict[str, list[Step]] | None = None
    periods: list[list[Annotated[float, Field(ge=0, lt=2**40)] | None]] | None = None
    true_periods: list[Annotated[int, Field(ge=1)]] | None = None
    start: Step | None = None
    matrices: dict[str, list[list[Share]]] | None = None


EXCERPTS = 20  # configurations of which a passage is shown
SEEDS = 6  # of each, whose boundaries are shown
FIRST = "first"  # the choice of a seed under which every configuration shows its first
COLUMNS = 54  # characters a line


class Passage(NamedTuple):
    """A run of which a passage is shown, and what its network did on it; ``seeds`` are the choices that show it."""

    run: Run
    data: str
    key: str
    title: str
    style: Style
    excerpt: dict[str, Any]
    seeds: str

    @property
    def is_first(self) -> bool:
        """Is it of the first seed of its configuration?"""
        return self.seeds.startswith(FIRST)

    def describe(self, kind: str) -> dict[str, Any]:
        """What its figures share."""
        return {"key": f"{kind}-{self.key}", "title": self.title, "data": self.data, "model": self.run.model}


def choose(settings: Sequence[Setting], styles: Mapping[str, Style]) -> tuple[list[Passage], list[str]]:
    """The seeds of each configuration that kept a whole excerpt, and what is left out, in words.

    Of more than ``EXCERPTS`` configurations, the best of every setting come first; of each, the first ``SEEDS`` seeds.
    """
    ranked: list[tuple[int, int, list[Passage]]] = []
    notes = []
    for place, setting in enumerate(settings):
        for rank, row in enumerate(setting.rows, 1):
            found: list[Passage] = []
            for run in row.runs:
                if len(found) < SEEDS and _is_whole(excerpt := run.excerpt()):
                    seed = "-".join(map(str, order(run.draw or 0)))  # with its fold, if it has one
                    key = f"{setting.key}-{rank}-{slug(row.label)}" + (f"-seed-{seed}" if found else "")
                    title = f"{row.label}, {name_draw(run.draw)}, on {setting.title}"
                    seeds = seed if found else f"{FIRST} {seed}"
                    found.append(Passage(run, setting.data, key, title, styles[row.label], excerpt, seeds))
                elif len(found) < SEEDS and (run.folder / "excerpt.json").exists():
                    notes.append(f"{run.folder.name}: its excerpt.json is damaged.")
            ranked += [(rank, place, found)] if found else []
    best = sorted(ranked, key=lambda one: one[:2])[:EXCERPTS]
    if left_out := len(ranked) - len(best):
        notes.append(f"{left_out} more configurations are left out, to keep the page light.")
    return [passage for *_, found in sorted(best, key=lambda one: (one[1], one[0])) for passage in found], notes


def _is_whole(excerpt: Mapping[str, Any]) -> bool:
    """Is it as the callback writes it? Files of a run folder may be damaged."""
    try:
        Content.model_validate(excerpt)
    except ValidationError:
        return False
    steps, levels = len(excerpt["symbols"]), len(excerpt["levels"])
    grids = [excerpt["update"], *filter(None, (excerpt.get("boundary"), excerpt.get("probability")))]
    squares = (excerpt.get("matrices") or {}).values()
    marks = [step for ends in (excerpt.get("truth") or {}).values() for step in ends]
    return (
        all(len(grid) == levels and all(len(row) == steps for row in grid) for grid in grids)
        and all(len(epoch) == levels for epoch in excerpt.get("periods") or [])
        and all(step < steps for step in marks)
        and all(0 < len(rows) <= levels and {*map(len, rows)} == {len(rows)} for rows in squares)
    )


def draw_boundaries(passage: Passage) -> Strip | None:
    """Where each level ended a segment of the text, and where something really ends; None without boundaries."""
    excerpt, symbols = passage.excerpt, [str(symbol) for symbol in passage.excerpt["symbols"]]
    boundary, probability = excerpt.get("boundary"), excerpt.get("probability")
    if boundary is None:
        return None
    levels = list(zip(excerpt["levels"], probability or boundary, boundary, strict=True))
    lanes = [
        Lane(f"z, {level}", [float(value) for value in values], [t for t, fired in enumerate(marks) if fired])
        for level, values, marks in levels[: max(len(levels) - 1, 1)]  # the top one has no detector
    ]
    truth = [Lane(f"true {name.replace('_', ' ')}", (), ends) for name, ends in (excerpt.get("truth") or {}).items()]
    found = ", ".join(f"{lane.name} {len(lane.marks)}" for lane in lanes)
    known = "".join(f"; {lane.name} {len(lane.marks)}" for lane in truth)
    return Strip(
        **passage.describe("boundaries"),
        seeds=passage.seeds,
        caption=f"Boundaries of each level over {len(symbols)} steps of validation data. Number found: {found}{known}.",
        style=passage.style,
        symbols=symbols,
        lanes=[*lanes, *truth],
        quantity="probability of a boundary" if probability else "boundary",
        event="boundary",
        start=int(excerpt.get("start") or 0),
        columns=COLUMNS,
    )


def draw_updates(passage: Passage) -> Strip:
    """How much of each level was rewritten at each step, and the ticks that the data are made with."""
    excerpt, symbols = passage.excerpt, [str(symbol) for symbol in passage.excerpt["symbols"]]
    start = int(excerpt.get("start") or 0)
    lanes = [Lane(str(level), row, ()) for level, row in zip(excerpt["levels"], excerpt["update"], strict=True)]
    shares = ", ".join(f"{lane.name} {np.mean(lane.values):.0%}" for lane in lanes)
    for period in sorted(excerpt.get("true_periods") or []):
        ticks = [t for t in range(len(symbols)) if (t + start) % period == 0]
        lanes.append(Lane(f"true ticks, period {period}", (), ticks))
    return Strip(
        **passage.describe("raster"),
        caption=f"How much of each level was rewritten at each of {len(symbols)} steps; on average: {shares}.",
        style=passage.style,
        symbols=symbols,
        lanes=lanes,
        quantity="share rewritten",
        start=start,
        columns=len(symbols),
    )


def draw_periods(passage: Passage) -> Chart | None:
    """The learned period of each clock over the epochs; None if the clocks do not learn."""
    epochs = passage.excerpt.get("periods") or []
    if not epochs:
        return None
    x, colour = list(range(1, len(epochs) + 1)), passage.style.colour
    series = [
        Series(f"clock {level}", passage.run.model, Style(colour, level - 1, level - 1), x, path, path, path)
        for level, path in enumerate(zip(*([*map(number, epoch)] for epoch in epochs), strict=True), 1)
    ]
    last = ", ".join(f"{number(period):g}" for period in epochs[-1])
    described = passage.describe("periods") | {"title": f"Periods by epoch: {passage.title}"}
    return Chart(
        **described,
        caption=f"The period of each clock in steps after each of {len(epochs)} epochs; at the end {last}.",
        x=Axis("epoch", tick=max(1, round(len(epochs) / 10))),
        y=Axis("period (steps)", base=2),
        series=series,
        lines=[(f"true period {period}", float(period)) for period in passage.excerpt.get("true_periods") or []],
    )


def draw_matrices(passage: Passage) -> list[Matrix]:
    """What is told of pairs of levels, as who reads whom."""
    figures = []
    for name, values in (passage.excerpt.get("matrices") or {}).items():
        levels = passage.excerpt["levels"][: len(values)]  # of two backbones, those of the first
        reads = [
            f"{level} {' / '.join(f'{value:.2f}' for value in row)}" for level, row in zip(levels, values, strict=True)
        ]
        figures.append(
            Matrix(
                **passage.describe(slug(name)) | {"title": f"{name.capitalize()}: {passage.title}"},
                caption=f"How far each level (a row) reads each (a column), from the fastest on: {'; '.join(reads)}.",
                levels=levels,
                values=values,
                quantity=name,
            )
        )
    return figures
