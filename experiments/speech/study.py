"""The table, from runs.csv: ``python -m experiments.speech.study``. See README.md."""

from collections.abc import Iterator
from pathlib import Path

from experiments.check import show
from experiments.runs import Row, by_seed, group, markdown, read
from multiscale.comparison.statistics import estimate, estimate_difference

HERE = Path(__file__).parent
RIVAL = "lstm"
COLUMNS = ("arm", "seeds", "test error, %", "minus the LSTM's", "parameters", "products a step", "updates, %")


def tabulate() -> Iterator[str]:
    """A line a model, the least error first, in Markdown."""
    runs = {name: rows for (name,), rows in group(read(HERE / "runs.csv"), "name").items()}
    ordered = sorted(runs, key=lambda name: estimate(_errors(runs[name])).mean)
    yield from markdown(COLUMNS, (_line(name, runs[name], runs[RIVAL]) for name in ordered))


def _errors(rows: list[Row]) -> dict[int, float]:
    return {seed: 100 * error for seed, error in by_seed(rows, "score").items()}


def _line(name: str, rows: list[Row], rival: list[Row]) -> list[str]:
    return [
        f"`{name}`",
        str(len(rows)),
        show(estimate(_errors(rows)), "{:.1f}"),
        "" if name == RIVAL else show(estimate_difference(_errors(rows), _errors(rival)), "{:+.1f}"),
        f"{float(rows[0]['parameters']):,.0f}",
        f"{estimate(by_seed(rows, 'macs_done')).mean:,.0f}",
        f"{100 * estimate(by_seed(rows, 'operations')).mean:.0f}",
    ]


if __name__ == "__main__":
    print("\n".join(tabulate()))
