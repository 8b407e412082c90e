"""One row a configuration: means over seeds, differences from a baseline, and what is missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from multiscale.checks import InvalidInput, nearest
from multiscale.comparison.curves import column_names
from multiscale.comparison.identity import MISSING, flat
from multiscale.comparison.records import section
from multiscale.comparison.runs import Run
from multiscale.comparison.selection import Apart, select
from multiscale.comparison.statistics import Estimate, estimate, paired

NO_MEASURE = {"name", "units"}  # of a level
CLOCK = "trace/period_"


@dataclass(frozen=True)
class Row:
    """One configuration on one data set and task.

    Args:
        runs: those that count, in the order of their seeds.
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
class Table:
    """Everything that is compared.

    Args:
        rows: by data set and task, then the best first.
        runs: all that were read.
        apart: those that stand in no row.
        baseline: what the user named; empty if nothing.
        measured: the plain numbers of each run, by the names of columns, as in :attr:`Row.measures`.
    """

    rows: tuple[Row, ...]
    runs: tuple[Run, ...]
    apart: tuple[Apart, ...]
    baseline: str
    measured: Mapping[Run, Mapping[str, float]]


def build(runs: Sequence[Run], baseline: str = "") -> Table:
    """Set labelled runs side by side; ``baseline`` is a model, a label or a run's name.

    Raises:
        InvalidInput: for a baseline that no run that counts has.
    """
    kept, apart = select(runs)
    if baseline:
        known = list(dict.fromkeys(word for run in kept for word in (run.model, run.label, run.name)))
        if baseline not in known:
            raise InvalidInput(
                f"baseline must be one of {', '.join(known) or 'the models that finished'}; got {baseline!r}."
                f"{nearest(baseline, known)}"
            )
    rows, measured = [], {run: measures(run) for run in runs}
    for setting in dict.fromkeys(run.setting for run in kept):
        inside = [run for run in kept if run.setting == setting]
        groups = [_by_seed(inside, key) for key in dict.fromkeys(run.configuration for run in inside)]
        groups.sort(key=lambda group: estimate(_scores(group)).mean)
        seeds = {run.seed for run in inside}
        for group in groups:
            beside = _baseline(group, groups, baseline)
            difference, notes = _difference(group, beside, baseline)
            rows.append(
                Row(
                    runs=group,
                    score=estimate(_scores(group)),
                    difference=difference,
                    baseline=beside[0].label if beside else "",
                    measures=_means([measured[run] for run in group]),
                    notes=(*_missing(group, seeds, apart), *notes),
                )
            )
    return Table(tuple(rows), tuple(runs), tuple(apart), baseline, measured)


def _by_seed(runs: Sequence[Run], configuration: str) -> tuple[Run, ...]:
    return tuple(sorted((run for run in runs if run.configuration == configuration), key=lambda run: run.seed or 0))


def _scores(group: Sequence[Run]) -> dict[int, float]:
    return {run.seed: run.score for run in group if run.seed is not None}


def _baseline(group: tuple[Run, ...], groups: Sequence[tuple[Run, ...]], name: str) -> tuple[Run, ...] | None:
    """The configuration that ``group`` is compared with; where several have the name, the one of the same settings."""
    candidates = [other for other in groups if name == other[0].label]
    candidates = candidates or [other for other in groups if name in (other[0].model, other[0].name)]
    if len(candidates) > 1:
        leaves = [flat(other[0].essence) for other in candidates]
        varied = {
            key for own in leaves for key in own if any(theirs.get(key, MISSING) != own[key] for theirs in leaves)
        }
        wanted = flat(group[0].essence)
        candidates = [
            other
            for other, own in zip(candidates, leaves, strict=True)
            if all(own.get(key, MISSING) == wanted.get(key, MISSING) for key in varied)
        ]
    return candidates[0] if candidates else None


def _missing(group: Sequence[Run], seeds: Iterable[int | None], apart: Sequence[Apart]) -> list[str]:
    """A note for each of ``seeds`` that a configuration lacks, with the reason if it is known."""
    notes = []
    for seed in sorted({seed for seed in seeds if seed is not None} - {run.seed for run in group}):
        why = [a.reason for a in apart if a.run.configuration == group[0].configuration and a.run.seed == seed]
        notes.append(f"seed {seed} is missing" + (f" ({why[-1]})" if why else ""))
    return notes


def _difference(
    group: tuple[Run, ...], baseline: tuple[Run, ...] | None, named: str
) -> tuple[Estimate | None, list[str]]:
    """(difference from the baseline, what there is to say of it)."""
    if baseline is group or not named:
        return None, []
    if baseline is None:
        return None, [f"no {named} of the same settings to compare with"]
    difference = paired(_scores(group), _scores(baseline))
    return difference, [] if difference else [f"shares no seed with {baseline[0].label}"]


def _means(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each measure, the mean over the runs that have it."""
    names = dict.fromkeys(name for one in measured for name in one)
    having = {name: [one[name] for one in measured if name in one] for name in names}
    return {name: sum(values) / len(values) for name, values in having.items()}


def measures(run: Run) -> dict[str, float]:
    """The plain numbers of a run's summary, and of its clocks at its best epoch, by the names of columns."""
    summary = run.summary
    macs, trace = section(summary, "macs"), section(summary, "trace")
    found: dict[str, Any] = {
        "parameters": summary.get("parameters"),
        "macs": macs.get("dense"),
        "macs_done": macs.get("done"),
        "macs_head": macs.get("head"),
        "operations": trace.get("operations"),
        "state_size": summary.get("state_size"),
        "seconds": summary.get("seconds"),
        "epochs": summary.get("epochs"),
    }
    found |= {name: value for name, value in summary.get("test", {}).items() if name != f"test/{run.metric}"}
    for number, level in enumerate(summary.get("levels", []), 1):
        found |= {f"{kind}_{number}": value for kind, value in level.items() if kind not in NO_MEASURE}
    if summary and any(name.startswith(CLOCK) for name in column_names(run.folder / "metrics.csv")):
        found |= _periods(run)
    return {name: float(value) for name, value in found.items() if _is_number(value)}


def _periods(run: Run) -> dict[str, float]:
    """Period of each clock, in steps, when the monitored metric was best."""
    curves = run.curves()
    steps, values = curves.get(run.monitor, (np.empty(0), np.empty(0)))
    best = steps[np.nanargmin(values)] if np.isfinite(values).any() else None
    periods = {}
    for name, (steps, values) in curves.items():
        if name.startswith(CLOCK):
            at = (steps == best).nonzero()[0]
            periods[name.removeprefix("trace/")] = float(values[at[0] if len(at) else -1])
    return periods


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
