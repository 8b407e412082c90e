"""One row a configuration: means over seeds, differences from a baseline, and what is missing."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from multiscale.checks import InvalidInput, nearest
from multiscale.comparison.labels import MISSING
from multiscale.comparison.records import Run, group_by
from multiscale.comparison.statistics import Draw, Estimate, estimate, estimate_difference, order


@dataclass(frozen=True)
class Apart:
    """A run that stands in no average, and the reason in a line."""

    run: Run
    reason: str

    @property
    def line(self) -> str:
        """Which run, and why."""
        return f"{self.run.label}, {name_draw(self.run.draw)}: {' '.join(self.reason.split())}"


@dataclass(frozen=True)
class Row:
    """One configuration on one data set and task.

    Args:
        runs: those that count, in the order of their seeds, then folds.
        score: the test metric, the lower, the better.
        difference: score minus the baseline's, over the seeds that both have; None without a baseline or a shared seed.
        baseline: the label of what ``difference`` is from; empty if there is none.
        measures: means over the seeds, by name: ``parameters``, ``operations``, ``seconds``, ``update_1`` and others.
        notes: what the reader of the row has to know.
    """

    runs: tuple[Run, ...]
    score: Estimate
    difference: Estimate | None
    baseline: str
    measures: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def first(self) -> Run:
        """Any of the runs, for what all share: label, model, data, task, metric."""
        return self.runs[0]

    @property
    def label(self) -> str:
        """The configuration's short name."""
        return self.first.label


@dataclass(frozen=True)
class Setting:
    """The configurations whose scores can be compared: of the same data, task and metric.

    Args:
        key: short, as it may stand in the name of a file.
        title: data and task, with a number where there are several settings of both.
        rows: the best first.
    """

    key: str
    title: str
    rows: tuple[Row, ...]

    @property
    def data(self) -> str:
        """The chosen data set."""
        return self.rows[0].first.data

    @property
    def metric(self) -> str:
        """What is compared, as ``bpc``."""
        return self.rows[0].first.metric

    @property
    def trims(self) -> bool:
        """Is any interquartile mean other than the mean?"""
        return any(row.score.n > 3 for row in self.rows)

    @property
    def heading(self) -> str:
        """The title, and how the numbers are to be read."""
        return f"{self.title}: test {self.metric}, the lower, the better"


@dataclass(frozen=True)
class Table:
    """Everything that is compared.

    Args:
        rows: by data set and task, then the best first.
        runs: all that were read.
        apart: those that stand in no row.
        baseline: what the user named; empty if nothing.
    """

    rows: tuple[Row, ...]
    runs: tuple[Run, ...]
    apart: tuple[Apart, ...]
    baseline: str

    def settings(self) -> list[Setting]:
        """The rows by what makes their scores comparable, in their order."""
        groups = group_by(self.rows, lambda row: row.first.setting).values()
        titles = [f"{rows[0].first.data}, {rows[0].first.task}" for rows in groups]
        settings = []
        for place, (title, rows) in enumerate(zip(titles, groups, strict=True), 1):
            key, several = f"{place}-{slug(rows[0].first.data)}", titles.count(title) > 1
            settings.append(Setting(key, f"{title} ({place})" if several else title, tuple(rows)))
        return settings


def name_draw(draw: Draw | None) -> str:
    """In words."""
    return f"seed {draw[0]}, fold {draw[1]}" if isinstance(draw, tuple) else f"seed {draw}"


def slug(name: str) -> str:
    """A name as it may stand in the name of a file; no longer one of its own."""
    return re.sub(r"[^A-Za-z0-9_.=]+", "-", name)[:50].strip("-")


def build(runs: Sequence[Run], baseline: str = "") -> Table:
    """Set labelled runs side by side; ``baseline`` is a model, a label or a run's name.

    Raises:
        InvalidInput: for a baseline that no run that counts has.
    """
    kept, apart = _select(runs)
    if baseline:
        known = list(dict.fromkeys(word for run in kept for word in (run.model, run.label, run.name)))
        if baseline not in known:
            raise InvalidInput(
                f"baseline must be one of {', '.join(known) or 'the models that finished'}; got {baseline!r}."
                f"{nearest(baseline, known)}"
            )
    rows = []
    for inside in group_by(kept, lambda run: run.setting).values():
        alike = group_by(inside, lambda run: run.configuration).values()
        groups = [tuple(sorted(group, key=lambda run: order(run.draw or 0))) for group in alike]
        scores = {group: estimate(_map_scores(group)) for group in groups}
        groups.sort(key=lambda group: scores[group].mean)
        draws = {run.draw for run in inside}
        for group in groups:
            beside = _find_baseline(group, groups, baseline)
            difference, notes = _take_difference(group, beside, baseline)
            rows.append(
                Row(
                    runs=group,
                    score=scores[group],
                    difference=difference,
                    baseline=beside[0].label if beside else "",
                    measures=_average([run.measures for run in group]),
                    notes=(*_note_missing(group, draws, apart), *notes),
                )
            )
    return Table(tuple(rows), tuple(runs), tuple(apart), baseline)


def _select(runs: Sequence[Run]) -> tuple[list[Run], list[Apart]]:
    """(runs to be averaged, the others): those count that finished, on the data that most used, the last of a draw."""
    reasons = {run: run.reason for run in runs if run.reason}
    reasons |= _find_other_data([run for run in runs if run not in reasons])
    reasons |= _find_repeated([run for run in runs if run not in reasons])
    return [run for run in runs if run not in reasons], [Apart(run, reasons[run]) for run in runs if run in reasons]


def _find_other_data(runs: Sequence[Run]) -> dict[Run, str]:
    """Runs on another version of the data than most that chose the same; of as many, the version read first stays."""
    reasons: dict[Run, str] = {}
    for alike in group_by(runs, lambda run: run.content).values():
        versions = Counter(run.sha256 for run in alike)  # in the order of reading, which most_common keeps
        common = versions.most_common(1)[0][0]
        for run in alike:
            if run.sha256 != common:
                reasons[run] = f"another version of {run.data}: SHA-256 {run.sha256}, the others' is {common}"
    return reasons


def _find_repeated(runs: Sequence[Run]) -> dict[Run, str]:
    """Runs that were run again, with nothing changed, and finished again later."""
    reasons: dict[Run, str] = {}
    for alike in group_by(runs, lambda run: (run.configuration, run.draw)).values():
        kept = max(reversed(alike), key=lambda run: (run.folder / "summary.json").stat().st_mtime)
        why = f"run again with the same config and seed, in {kept.folder.name}"
        reasons |= {run: why for run in alike if run is not kept}
    return reasons


def _map_scores(group: Sequence[Run]) -> dict[Draw, float]:
    return {run.draw: run.score for run in group if run.draw is not None}


def _find_baseline(group: tuple[Run, ...], groups: Sequence[tuple[Run, ...]], name: str) -> tuple[Run, ...] | None:
    """The configuration that ``group`` is compared with; where several have the name, the one of the same settings."""
    candidates = [other for other in groups if name == other[0].label]
    candidates = candidates or [other for other in groups if name in (other[0].model, other[0].name)]
    if len(candidates) > 1:
        leaves = [other[0].leaves for other in candidates]
        varied = {key for own in leaves for key in own if any(other.get(key, MISSING) != own[key] for other in leaves)}
        wanted = group[0].leaves
        candidates = [
            other
            for other, own in zip(candidates, leaves, strict=True)
            if all(own.get(key, MISSING) == wanted.get(key, MISSING) for key in varied)
        ]
    return candidates[0] if candidates else None


def _note_missing(group: Sequence[Run], draws: Iterable[Draw | None], apart: Sequence[Apart]) -> list[str]:
    """A note for each of ``draws`` that a configuration lacks, with the reason if it is known."""
    notes = []
    for draw in sorted({draw for draw in draws if draw is not None} - {run.draw for run in group}, key=order):
        why = [a.reason for a in apart if a.run.configuration == group[0].configuration and a.run.draw == draw]
        notes.append(f"{name_draw(draw)} is missing" + (f" ({why[-1]})" if why else ""))
    return notes


def _take_difference(
    group: tuple[Run, ...], baseline: tuple[Run, ...] | None, named: str
) -> tuple[Estimate | None, list[str]]:
    """(difference from the baseline, what there is to say of it)."""
    if baseline is group or not named:
        return None, []
    if baseline is None:
        return None, [f"no {named} of the same settings to compare with"]
    difference = estimate_difference(_map_scores(group), _map_scores(baseline))
    return difference, [] if difference else [f"shares no seed with {baseline[0].label}"]


def _average(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each measure, the mean over the runs that have it."""
    names = dict.fromkeys(name for one in measured for name in one)
    having = {name: [one[name] for one in measured if name in one] for name in names}
    return {name: sum(values) / len(values) for name, values in having.items()}
