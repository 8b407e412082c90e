"""Search hyper-parameters: ``python -m multiscale.search search=<name> [group=choice] [key=value]``.

A file of conf/search names the space; every trial is a run of its own, in a process of its own. The same command goes
on with a search that was stopped or killed, and several of them at once share one.
"""

import ctypes
import json
import shlex
import signal
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from multiscale.checks import InvalidInput, nearest, one_of, positive_int
from multiscale.cli import arguments, command
from multiscale.config.compose import CONF, compose_jobs, jobs
from multiscale.jobs.prepare import check_jobs

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from multiscale.jobs.study import Plan, Search

HELP = """
Search hyper-parameters with Optuna; each trial is a run: python -m multiscale.search search=<name> [key=value ...]

  search=<name>          a file of conf/search, or of search/ in the folder of --config-dir
  search.trials=20       how many trials; the same command with more goes on
  search.study=<name>    of the study, and of its folder in searches/; default: what the file says
  search.sampler=tpe     or random;  search.seed=0, search.startup=10: of the sampler
  key=value, group=...   what every trial shares, as for multiscale.run

Several such commands at once work on one study. Ctrl-C stops; the same command goes on.
"""
DEFAULTS = {"trials": 20, "study": str, "sampler": "tpe", "seed": 0, "startup": 10}
BEST = 10  # rows of the table
PATIENCE = 30  # seconds for a run to end when it is asked to
PR_SET_PDEATHSIG = 1  # of Linux's prctl
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Order(NamedTuple):
    """What a command line asks for."""

    name: str
    plan: "Plan"
    config_dir: str | None
    monitor: str


def read(words: Sequence[str]) -> Order:
    """The search that a command line asks for, every end of its space composed and built once.

    Raises:
        InvalidInput: for what does not exist or is not allowed, with the nearest name.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd")
    known, rest = parser.parse_known_args(list(words))
    own = [word for word in rest if word.partition("=")[0] == "search" or word.startswith("search.")]
    shared = [word for word in rest if word not in own]
    for word in shared:
        if word.startswith("-"):
            raise InvalidInput(f"{word} is no word of a search; see --help.")
        if word.startswith(("hydra.run.dir", "hydra.sweep")):
            raise InvalidInput(f"{word.partition('=')[0]} is the search's own to choose; got {word!r}.")
    name, file = _file(own, known.config_dir)
    plan = _plan(file, [word for word in own if word.startswith("search.")], shared)
    configs = jobs(shared, known.config_dir)
    if len(configs) != 1:
        raise InvalidInput("a search takes one value for each key; what is searched stands in the space.")
    _check_space(name, plan, known.config_dir)
    return Order(name, plan, known.config_dir, str(configs[0].task.monitor))


def _file(own: Sequence[str], config_dir: str | None) -> tuple[str, dict[str, Any]]:
    """The name and the content of the search file that is asked for."""
    folders = [CONF / "search", *([Path(config_dir) / "search"] if config_dir else [])]
    files = {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}
    name = next((word.partition("=")[2] for word in own if word.startswith("search=")), None)
    if name is None:
        raise InvalidInput(f"search must be given, as search=<name>; there is {', '.join(files)}.")
    content = OmegaConf.to_container(OmegaConf.load(files[one_of("search", name, list(files))]))
    return name, {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def _plan(file: Mapping[str, Any], changes: list[str], shared: Sequence[str]) -> "Plan":
    """The plan of a search file with the ``changes`` of a command line."""
    allowed = (*DEFAULTS, "space")
    for key in file:
        if key not in allowed:
            raise InvalidInput(f"{key} is no part of a search; there is {', '.join(allowed)}.{nearest(key, allowed)}")
    if not isinstance(file.get("space"), dict) or not file["space"]:
        raise InvalidInput("a search must have a space: keys of a run's config with what they may be.")
    plain = {**DEFAULTS, **{key: value for key, value in file.items() if key != "space"}}
    given = arguments(changes, {f"search.{key}": value for key, value in plain.items()})
    settings = {key.removeprefix("search."): value for key, value in given.items()}
    for key in ("trials", "startup"):
        positive_int(f"search.{key}", settings[key])
    Plan, distribution = _optuna()
    one_of("search.sampler", settings["sampler"], ("tpe", "random"))
    for word in shared:
        if word.partition("=")[0].lstrip("+~") in file["space"]:
            raise InvalidInput(f"{word.partition('=')[0]} is searched, and cannot be given too; got {word!r}.")
    space = {key: distribution(key, given) for key, given in file["space"].items()}
    return Plan(**settings, space=space, words=tuple(shared))


def _optuna() -> tuple[Any, Any]:
    try:
        from multiscale.jobs.study import Plan, distribution
    except ImportError as error:
        raise InvalidInput(f"a search needs Optuna: pip install 'multiscale[search]' ({error}).") from error
    return Plan, distribution


def _check_space(name: str, plan: "Plan", config_dir: str | None) -> None:
    """Compose every choice and both ends of every range; build the first and the last of all together."""
    from multiscale.jobs.study import ends, overrides

    values_of = {key: ends(kind) for key, kind in plan.space.items()}
    try:
        for key, values in values_of.items():
            for value in values:
                jobs([*plan.words, *overrides({key: value})], config_dir)
        for end in (0, -1):
            words = overrides({key: values[end] for key, values in values_of.items()})
            check_jobs(compose_jobs([*plan.words, *words], config_dir))
    except InvalidInput as error:
        raise InvalidInput(f"the space of search {name}: {error}") from error


def run_trial(folder: Path, words: Sequence[str], places: Sequence[str] = ()) -> float:
    """One run in a process of its own, in ``folder``, its output beside it; returns its validation metric.

    Raises:
        TrialFailed: if the run fails, with the last line that it wrote.
    """
    from multiscale.jobs.study import TrialFailed

    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    line = [sys.executable, "-m", "multiscale.run", *places, *words, f"hydra.run.dir='{quoted}'"]
    output = folder.with_suffix(".log")
    with output.open("w") as written:
        process = subprocess.Popen(
            line,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is the worker's to pass on
            preexec_fn=_follow,  # noqa: PLW1509  it calls one function of C
        )
        try:
            code = process.wait()
        except BaseException:
            _stop(process)
            raise
    if code:
        lines = [text for text in output.read_text(errors="replace").splitlines() if text.strip()]
        raise TrialFailed(f"exit code {code}: {lines[-1].strip() if lines else 'no output'}")
    try:
        (value,) = json.loads((folder / "summary.json").read_text())["val"].values()
        return float(value)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrialFailed(f"it left no summary: {error}") from error


def _follow() -> None:
    """In a new process, before its program: end with the worker, even one that is killed."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def report(search: "Search", order: Order, console: Console) -> None:
    """Print the best trials, what failed, and the command of the best."""
    ended = search.settled()
    best = [trial for trial in ended if trial.value is not None]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("trial", order.monitor, *order.plan.space):
        table.add_column(title, justify="right")
    for trial in best[:BEST]:
        table.add_row(str(trial.number), f"{trial.value:.4f}", *(_short(trial.params[key]) for key in order.plan.space))
    console.print(table)
    for trial in ended:
        if trial.value is None:
            reason = trial.user_attrs.get("reason", "")
            console.print(f"trial {trial.number} failed: {reason}", soft_wrap=True, highlight=False, markup=False)
    if len(ended) < order.plan.trials:
        console.print(f"{len(ended)} of {order.plan.trials} trials have ended; others are under way.")
    if best:
        from multiscale.jobs.study import overrides

        places = ["--config-dir", order.config_dir] if order.config_dir else []
        line = ["python", "-m", "multiscale.run", *places, *order.plan.words, *overrides(best[0].params)]
        console.print(f"best: {shlex.join(line)}", soft_wrap=True, highlight=False, markup=False)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _said(order: Order, console: Console) -> Callable[["FrozenTrial"], None]:
    def say(trial: "FrozenTrial") -> None:
        value = trial.user_attrs.get("reason") if trial.value is None else f"{order.monitor} {trial.value:.4f}"
        params = "  ".join(f"{key}={_short(value)}" for key, value in trial.params.items())
        console.print(f"trial {trial.number}: {value}  {params}", soft_wrap=True, highlight=False, markup=False)

    return say


def main(words: list[str]) -> None:
    """The command line."""
    order = read(words)
    from multiscale.jobs.study import Search

    folder = Path("searches").resolve() / order.plan.study
    places = ["--config-dir", order.config_dir] if order.config_dir else []
    console = Console()

    def objective(number: int, params: list[str]) -> float:
        return run_trial(folder / f"trial_{number:03d}", [*order.plan.words, *params], places)

    search = Search(folder, order.plan, objective, _said(order, console))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        search.work()
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on")
        raise
    report(search, order, console)


if __name__ == "__main__":
    command(main, HELP)
