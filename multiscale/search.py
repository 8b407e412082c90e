"""Search hyper-parameters with Optuna, each trial a run: ``python -m multiscale.search search=<name> [key=value ...]``.

search=<name>          a file of conf/search, or of search/ in the folder of --config-dir: the space
search.trials=20       how many trials; the same command with more goes on
search.study=<name>    of the study, and of its folder in searches/; default: what the file says
search.sampler=tpe     or random;  search.seed=0, search.startup=10: of the sampler
key=value, group=...   what every trial shares, as for multiscale.run

Several such commands at once work on one study. Ctrl-C stops; the same command goes on.
"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from multiscale.checks import InvalidInput
from multiscale.cli import command
from multiscale.runs.signals import Interrupted, Signals

if TYPE_CHECKING:
    from multiscale.jobs.study import Search

BEST = 10  # rows of the table
PLAIN: dict[str, Any] = {"soft_wrap": True, "highlight": False, "markup": False}  # as it is, for whoever copies it


def report(search: "Search", console: Console) -> None:
    """Print the best trials, what failed, and the command of the best."""
    from multiscale.jobs.study import number, reason

    plan, ended = search.plan, search.ended_trials()
    best = [trial for trial in ended if trial.value is not None]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("trial", plan.monitor, *plan.space):
        table.add_column(title, justify="right")
    for trial in best[:BEST]:
        table.add_row(
            str(number(trial)), f"{trial.value:.4f}", *(Text(_short(trial.params[key])) for key in plan.space)
        )
    console.print(table)
    for trial in ended[len(best) :]:
        console.print(f"trial {number(trial)} failed: {reason(trial)}", **PLAIN)
    if len(ended) < plan.trials:
        console.print(f"{len(ended)} of {plan.trials} trials have ended; others are under way.")
    if best:
        console.print(f"best: {shlex.join(plan.command(best[0].params))}", **PLAIN)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(words: list[str]) -> None:
    """The command line."""
    try:
        from multiscale.jobs.plan import read
    except ImportError as error:
        raise InvalidInput(f"a search needs Optuna: pip install 'multiscale-rnn[search]' ({error}).") from error
    plan, console = read(words), Console()

    from multiscale.jobs.study import Search, number, reason, run_trial  # with torch

    folder = Path("searches").resolve() / plan.study

    def objective(place: int, params: list[str]) -> float:
        return run_trial(folder / f"trial_{place:03d}", [*plan.words, *params], plan.config_dir)

    def say(trial: Any) -> None:
        value = reason(trial) if trial.value is None else f"{plan.monitor} {trial.value:.4f}"
        params = "  ".join(f"{key}={_short(value)}" for key, value in trial.params.items())
        console.print(f"trial {number(trial)}: {value}  {params}", **PLAIN)

    with Signals(silent=True):
        search = Search(folder, plan, objective, say)
        try:
            search.work()
        except Interrupted as signal:
            console.print("stopped; the same command goes on")
            sys.exit(signal.exit_code)
    report(search, console)


if __name__ == "__main__":
    command(main, __doc__)
