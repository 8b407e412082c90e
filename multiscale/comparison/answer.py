"""What a comparison says, in sentences that are made from its statistics alone."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from multiscale.comparison.columns import format_number, format_spread
from multiscale.comparison.statistics import ENOUGH
from multiscale.comparison.table import Row, Setting

ALIKE = 1.1  # the largest of sizes that count as one, over the smallest
NAMED = 4  # configurations in a sentence
SIZES = {"parameters": "parameters", "macs_done": "products a step"}  # what may explain a score, as it is called


class Answer(NamedTuple):
    """Sentences on one setting; a part is empty where there is nothing to say.

    Args:
        verdict: what is ahead, by how much, and which spreads overlap; no ranking of fewer than five seeds, nor of
            intervals that overlap.
        costs: parameters and products of the first two.
        sizes: which sizes differ by more than a tenth, and how far.
    """

    verdict: str
    costs: str
    sizes: str


def tell(setting: Setting) -> Answer:
    """What the rows of a setting say."""
    rows = setting.rows
    ranked = [row for row in rows if row.score.n >= ENOUGH]
    if len(rows) == 1:
        verdict = f"There is one configuration, and nothing to compare it with: {_tell_score(rows[0])}."
    elif len(ranked) > 1:
        verdict = _rank(ranked) + _tell_few(rows)
    else:
        verdict = _tell_lowest(rows)
    return Answer(verdict, _tell_costs(rows[:2]), _flag_sizes(rows))


def _rank(ranked: Sequence[Row]) -> str:
    """What is best of configurations with seeds enough, unless intervals overlap."""
    best, second = ranked[:2]
    close = [row for row in ranked[1:] if _overlap(best, row)]
    if not close:
        return f"Best is {_tell_score(best)}; {_tell_gap(best, second)}, and no interval overlaps its own."
    if len(close) == len(ranked) - 1:
        return f"No ranking: every interval overlaps that of the lowest mean, {_tell_score(best)}."
    return (
        f"No single best: the lowest mean is {_tell_score(best)}, whose interval overlaps {_own(close)}; "
        "all others lie above."
    )


def _tell_few(rows: Sequence[Row]) -> str:
    few = [row for row in rows if row.score.n < ENOUGH]
    return f" Not ranked, with fewer than {ENOUGH} seeds: {_list(few)}." if few else ""


def _tell_lowest(rows: Sequence[Row]) -> str:
    """The lowest mean, where seeds are too few to say more."""
    best, others = rows[0], [row for row in rows[1:] if row.score.spread]
    told = f"No ranking, which takes {ENOUGH} seeds each. The lowest mean is {_tell_score(best)}; "
    told += _tell_gap(best, rows[1])
    if not best.score.spread or not others:
        return f"{told}."
    close = [row for row in others if _overlap(best, row)]
    return f"{told}. The range of {best.label} overlaps {_own(close)}."


def _tell_score(row: Row) -> str:
    spread = f", {format_spread(row.score)}" if row.score.spread else ""
    seeds = "one seed" if row.score.n == 1 else f"{row.score.n} seeds"
    return f"{row.label}, {row.first.metric} {format_number(row.score.mean)} ({seeds}{spread})"


def _tell_gap(best: Row, second: Row) -> str:
    gap = second.score.mean - best.score.mean
    share = f" ({gap / abs(second.score.mean):.1%})" if second.score.mean else ""
    return f"{second.label} is next, {format_number(gap, beside=best.score.mean)}{share} above"


def _overlap(one: Row, other: Row) -> bool:
    """Do the spreads of two rows, which both have one, share a value?"""
    (low, high), (other_low, other_high) = one.score.spread or (0, 0), other.score.spread or (0, 0)
    return low <= other_high and other_low <= high


def _tell_costs(rows: Sequence[Row]) -> str:
    told = []
    for row in rows:
        taken = [f"{row.measures[name]:,.0f} {title}" for name, title in SIZES.items() if name in row.measures]
        told += [f"{row.label} takes {' and '.join(taken)}"] if taken else []
    return f"{'; '.join(told)}." if told else ""


def _flag_sizes(rows: Sequence[Row]) -> str:
    """Which sizes differ by more than a tenth, among the rows that have them."""
    told = [
        _tell_extremes({row.label: row.measures[name] for row in rows if name in row.measures}, title)
        for name, title in SIZES.items()
    ]
    flags = [flag for flag in told if flag]
    return f"Sizes differ: {'; '.join(flags)}." if flags else ""


def _tell_extremes(sizes: Mapping[str, float], title: str) -> str:
    if not sizes or max(sizes.values()) <= ALIKE * min(sizes.values()):
        return ""
    least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    times = f", {sizes[most] / sizes[least]:.1f} times as many" if sizes[least] else ""
    return f"{title} from {sizes[least]:,.0f} ({least}) to {sizes[most]:,.0f} ({most}){times}"


def _own(rows: Sequence[Row]) -> str:
    """Of the spreads of some rows, in words."""
    return f"{'that' if len(rows) == 1 else 'those'} of {_list(rows)}" if rows else "no other"


def _list(rows: Sequence[Row]) -> str:
    """The labels of some rows, as many as a sentence has room for."""
    labels = [row.label for row in rows[:NAMED]]
    labels += [f"{len(rows) - NAMED} more"] if len(rows) > NAMED else []
    return " and ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))
