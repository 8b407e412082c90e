"""Which runs may be averaged, and why the others may not."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from multiscale.comparison.records import Run, group_by


@dataclass(frozen=True)
class Apart:
    """A run that stands in no average, and the reason in a line."""

    run: Run
    reason: str

    @property
    def line(self) -> str:
        """Which run, and why."""
        return f"{self.run.label}, seed {self.run.seed}: {' '.join(self.reason.split())}"


def select(runs: Sequence[Run]) -> tuple[list[Run], list[Apart]]:
    """(runs to be averaged, the others): those count that finished, on the data that most used, the last of a seed."""
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
    for alike in group_by(runs, lambda run: (run.configuration, run.seed)).values():
        kept = max(reversed(alike), key=lambda run: (run.folder / "summary.json").stat().st_mtime)
        why = f"run again with the same config and seed, in {kept.folder.name}"
        reasons |= {run: why for run in alike if run is not kept}
    return reasons
