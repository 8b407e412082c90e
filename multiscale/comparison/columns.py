"""The columns of the tables that are read: titles, what they mean, and which are seen unasked; how a score is read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from multiscale.comparison.statistics import Estimate


class Column(NamedTuple):
    """How a measure stands in a table."""

    title: str
    meaning: str
    shown: bool = False


MEASURES = {  # that are one number
    "parameters": Column(
        "parameters", "of the whole network, those in use: what a mask holds at zero is not counted", True
    ),
    "macs_done": Column("MACs done", "multiply-accumulates a step at the rates of the test split, no head", True),
    "seconds": Column("seconds", "of the whole run, on the machine that it was on", True),
    "macs": Column("MACs per step", "multiply-accumulates a step if every level is rewritten, no head"),
    "macs_head": Column("MACs of the head", "multiply-accumulates a step of what reads the levels"),
    "operations": Column("units rewritten", "the share of all units that is rewritten at a step"),
    "state_size": Column("state", "numbers that one sequence carries from a step to the next"),
}
LEVELS = {  # of each level, the fastest first
    "f1": Column("F1", "of a level's boundaries against where the reference ends, the higher, the better", True),
    "boundary": Column("boundaries", "boundaries a step that a level takes", True),
    "update": Column("updates", "the share of a level that is rewritten at a step"),
    "saturation": Column("saturation", "the share of a detector's decisions that pass no gradient"),
    "f1_surprisal": Column("F1 by surprisal", "of as many boundaries, put where the network is most surprised"),
    "f1_entropy": Column("F1 by entropy", "of as many boundaries, put where its prediction is least sure"),
    "f1_symbol": Column(
        "F1 by symbol", "of boundaries put by a rule from the training text for the character just read"
    ),
    "explained": Column(
        "told by symbol", "the share of its decisions that a rule for the character just read gets right"
    ),
    "r_value": Column("R-value", "like F1, but does not rise with boundaries put anywhere"),
    "length_variation": Column("variation of length", "of segments: standard deviation over mean"),
    "nested": Column("nested", "the share of boundaries that are also those of the level below"),
    "enrichment": Column("enrichment", "mean surprisal of what follows a boundary, over that elsewhere"),
    "period": Column("periods", "of clocks, in steps, when the validation metric was best"),
}
FIRST = {  # before all measures
    "configuration": "a model, and what differs among those with its name",
    "seeds": "runs that are averaged",
    "spread": "over the seeds: the range of two to four, the 95% interval of the mean from five on",
    "IQM": "the interquartile mean: without the best and the worst quarter of the seeds",
}
BASELINES = ("random", "always", "shifted")  # F1 scores that are none of the network's


def name_levels(measures: Iterable[str]) -> dict[str, Column]:
    """The columns of what is told of each level; after the F1 score, those against references that are named."""
    kinds = {name.rpartition("_")[0] for name in measures if name.startswith("f1_")}
    named = sorted(kind for kind in kinds - {"f1", *LEVELS} if not kind.endswith(BASELINES))
    others = {
        kind: Column(kind.replace("f1_", "F1, ").replace("_", " "), "F1 against this reference") for kind in named
    }
    return LEVELS | others


def explain(name: str, metric: str) -> str:
    """What a column means, by its title."""
    if name == metric:
        return "the mean over the seeds of the test metric, the lower, the better"
    if name.startswith("minus "):
        return "the mean difference from it, seed by seed, and its spread; below 0 is better"
    known = {column.title: column.meaning for column in (MEASURES | LEVELS).values()}
    return (FIRST | known).get(name, "F1 against this reference")


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


def list_shown(names: Sequence[str]) -> list[str]:
    """Those of a table's columns that are seen unasked: where no F1 has the plain name, the first that has another."""
    named = [name for name in names if name.startswith("F1, ")]
    hidden = {column.title for column in (MEASURES | LEVELS).values() if not column.shown} | {"IQM"}
    hidden |= set(named if "F1" in names else named[1:])
    return [name for name in names if name not in hidden]


def format_number(value: float, beside: float = 0.0) -> str:
    """A score as it is read: about four digits, or as many places as one of the size of ``beside`` has."""
    size = max(abs(value), abs(beside))
    return "0" if value == 0 else f"{value:.4f}" if 0.01 <= size < 100 else f"{value:.4g}"


def format_spread(estimate: Estimate) -> str:
    """The range or the interval, and which it is; or that there is neither."""
    if estimate.spread is None:
        return estimate.kind
    low, high = estimate.spread
    return f"[{format_number(low, beside=high)}, {format_number(high, beside=low)}] {estimate.kind}"
