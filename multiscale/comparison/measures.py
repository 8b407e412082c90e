"""The plain numbers of a run, by the names of columns."""

from math import isfinite
from typing import Any

import numpy as np

from multiscale.comparison.records import number, section
from multiscale.comparison.runs import Run

NO_MEASURE = {"name", "units"}  # of a level
CLOCK = "trace/period_"


def read_measures(run: Run) -> dict[str, float]:
    """The plain numbers of a run's summary, and of its clocks at its best epoch, by the names of columns."""
    summary = run.summary
    macs, trace, test = section(summary, "macs"), section(summary, "trace"), section(summary, "test")
    values: dict[str, Any] = {
        "parameters": summary.get("parameters"),
        "macs": macs.get("dense"),
        "macs_done": macs.get("done"),
        "macs_head": macs.get("head"),
        "operations": trace.get("operations"),
        "state_size": summary.get("state_size"),
        "seconds": summary.get("seconds"),
        "epochs": summary.get("epochs"),
    }
    values |= {name: value for name, value in test.items() if name != f"test/{run.metric}"}
    for place, level in enumerate(summary.get("levels", []), 1):
        values |= {f"{kind}_{place}": value for kind, value in level.items() if kind not in NO_MEASURE}
    values |= _read_periods(run) if summary else {}
    return {name: number(value) for name, value in values.items() if isfinite(number(value))}


def _read_periods(run: Run) -> dict[str, float]:
    """Period of each clock, in steps, when the monitored metric was best."""
    clocks = {name: curve for name, curve in run.curves.items() if name.startswith(CLOCK)}
    steps, values = run.curves.get(run.monitor, (np.empty(0), np.empty(0)))
    best = steps[np.nanargmin(values)] if np.isfinite(values).any() else None
    periods = {}
    for name, (steps, values) in clocks.items():
        at = np.flatnonzero(steps == best)
        periods[name.removeprefix("trace/")] = float(values[at[0] if len(at) else -1])
    return periods
