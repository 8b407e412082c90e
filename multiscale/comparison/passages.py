"""What networks did on a passage of text, as figures: boundaries, clocks, learned periods."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from multiscale.comparison.charts import Chart, Lane, Series, Strip, Style
from multiscale.comparison.figures import Setting, slug
from multiscale.comparison.runs import Run

EXCERPTS = 20  # configurations of which a passage is shown
COLUMNS = 54  # characters a line


class Shown(NamedTuple):
    """A run of which a passage is shown, and what its network did on it."""

    run: Run
    setting: Setting
    excerpt: dict[str, Any]


def shown(settings: Sequence[Setting]) -> tuple[list[Shown], int]:
    """The first seed of each configuration that kept an excerpt, and how many configurations were left out.

    Of more than ``EXCERPTS``, the best of every setting come first.
    """
    found: list[tuple[int, int, Shown]] = []
    for place, setting in enumerate(settings):
        told = [one for runs in setting.kinds.values() if (one := _first(runs, setting)) is not None]
        found += [(rank, place, one) for rank, one in enumerate(told)]
    kept = sorted(found, key=lambda ranked: ranked[:2])[:EXCERPTS]
    return [one for _, _, one in sorted(kept, key=lambda ranked: (ranked[1], ranked[0]))], len(found) - len(kept)


def _first(runs: Sequence[Run], setting: Setting) -> Shown | None:
    for run in sorted(runs, key=lambda run: run.seed or 0):
        excerpt = run.excerpt()
        if excerpt is not None and _usable(excerpt):
            return Shown(run, setting, excerpt)
    return None


def _usable(excerpt: Mapping[str, Any]) -> bool:
    """Is it as the callback writes it? Files of a run folder may be damaged."""
    symbols, levels = excerpt.get("symbols"), excerpt.get("levels")
    if not isinstance(symbols, list) or not isinstance(levels, list) or not symbols or not levels:
        return False
    grids = [
        excerpt.get("update"),
        *(g for g in (excerpt.get("boundary"), excerpt.get("probability")) if g is not None),
    ]
    return all(
        isinstance(grid, list)
        and len(grid) == len(levels)
        and all(isinstance(row, list) and len(row) == len(symbols) for row in grid)
        for grid in grids
    )


def strips(shown: Shown, look: Mapping[str, Style]) -> dict[str, Strip]:
    """``boundaries`` over the text, if the network has any, and the ``raster`` of its updates."""
    run, setting, excerpt = shown
    style, model = look[run.label], run.model
    symbols = [str(symbol) for symbol in excerpt["symbols"]]
    levels, start = [str(level) for level in excerpt["levels"]], int(excerpt.get("start") or 0)
    truth = excerpt.get("truth") or {}
    title = f"{run.label}, seed {run.seed}, on {setting.title}"
    key = _key(shown)
    drawn = {}
    boundary = excerpt.get("boundary")
    if boundary is not None:
        values = excerpt.get("probability") or boundary
        lanes = [
            Lane(f"z, {level}", row, [t for t, fired in enumerate(marks) if fired])
            for level, row, marks in list(zip(levels, values, boundary, strict=True))[: max(len(levels) - 1, 1)]
        ]
        found = ", ".join(f"{lane.name} {len(lane.marks)}" for lane in lanes)
        known = "".join(f"; {_words(name)} {len(steps)}" for name, steps in truth.items())
        caption = (
            f"Boundaries of each level over {len(symbols)} steps of validation data. Number found: {found}{known}."
        )
        ends = [(_words(name), steps) for name, steps in truth.items()]
        drawn["boundaries"] = Strip(
            f"boundaries-{key}",
            title,
            caption,
            model,
            style,
            symbols,
            lanes,
            ends,
            "probability of a boundary" if excerpt.get("probability") else "boundary",
            "boundary",
            start,
            COLUMNS,
        )
    lanes = [Lane(level, row) for level, row in zip(levels, excerpt["update"], strict=True)]
    told = ", ".join(f"{lane.name} {np.mean(lane.values):.0%}" for lane in lanes)
    ticks = [
        (f"true ticks, period {period}", [t for t in range(len(symbols)) if (t + start) % period == 0])
        for period in sorted(excerpt.get("true_periods") or [])
    ]
    caption = f"How much of each level was rewritten at each of {len(symbols)} steps; on average: {told}."
    drawn["raster"] = Strip(
        f"raster-{key}", title, caption, model, style, symbols, lanes, ticks, "share rewritten", "", start, len(symbols)
    )
    return drawn


def periods(shown: Shown, look: Mapping[str, Style]) -> Chart | None:
    """The learned period of each clock over the epochs; None if the clocks do not learn."""
    run, setting, excerpt = shown
    epochs = excerpt.get("periods") or []
    if not epochs:
        return None
    colour = look[run.label].colour
    clocks = [Style(colour, i, i) for i in range(len(epochs[0]))]
    series = []
    for level, path in enumerate(zip(*epochs, strict=True)):
        x = list(range(1, len(path) + 1))
        series.append(Series(f"clock {level + 1}", run.model, clocks[level], x, path, path, path))
    last = ", ".join(f"{period:g}" for period in epochs[-1])
    return Chart(
        f"periods-{_key(shown)}",
        f"Learned periods: {run.label}, seed {run.seed}, on {setting.title}",
        f"The period of each clock in steps after each of {len(epochs)} epochs; at the end {last}.",
        "epoch",
        "period (steps)",
        series,
        y_base=2,
        lines=[(f"true period {period}", float(period)) for period in excerpt.get("true_periods") or []],
        legend=True,
    )


def _words(name: str) -> str:
    return "true " + str(name).replace("_", " ")


def _key(shown: Shown) -> str:
    place = list(shown.setting.kinds).index(shown.run.label) + 1
    return f"{shown.setting.key}-{place}-{slug(shown.run.label)}"
