"""What a sweep's user wants to know at its end: how every job went, and how to go on."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from multiscale.checks import InvalidInput, describe_error, read_file
from multiscale.config.compose import Job
from multiscale.config.foreign import parse_yaml
from multiscale.config.words import parse
from multiscale.jobs.start import describe_job
from multiscale.runs import status
from multiscale.training.logging.wandb_mode import find_unsent

SUBDIR = "hydra.sweep.subdir="
NAMED = f"++{SUBDIR}"  # as name_folders says it, in a form that tells it from a user's own
PLACE = ("hydra.sweep.dir=", "hydra.mode=", NAMED)  # words that say where and that a sweep is
IN_NAME = ("model", "seed", "name")  # what a job's folder tells anyway
STYLES = {status.FINISHED: "green", status.FAILED: "red", status.INTERRUPTED: "yellow"}


class Sweep(Callback):
    """Hydra's callback that knows where the sweep of this process is."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        Sweep.folder = Path(config.hydra.sweep.dir).resolve()


def name_folders(jobs: Sequence[Job], words: Sequence[str]) -> list[str]:
    """The word by which the folder of each job tells the values that the sweep is over, beside what the config has in
    it; none if ``words`` say it otherwise, or if the sweep was begun without."""
    sweep: Any = OmegaConf.to_container(jobs[0].composed.hydra.sweep)
    begun = Path(jobs[0].composed.hydra.sweep.dir) / "multirun.yaml"
    if any(word.startswith(SUBDIR) for word in words) or (begun.exists() and NAMED.encode() not in read_file(begun)):
        return []
    told = ""
    for at, word in enumerate(jobs[0].words):
        key = word.lstrip("+").partition("=")[0]
        plain = all(re.fullmatch(r"[\w.+-]+", job.words[at].partition("=")[2]) for job in jobs)
        if plain and key not in IN_NAME:
            where = f"hydra:runtime.choices.{key}" if key in jobs[0].config.choices else key
            told += f"_{key.rpartition('.')[2]}${{{where}}}"
    return [f"{NAMED}{sweep['subdir']}{told}"]


def conclude(folder: Path, code: int, jobs: int, words: Sequence[str]) -> int:
    """Print a line for each of the ``jobs`` in a sweep's folder, and how to go on; returns the exit code.

    ``words`` are those of its command line. The exit code is ``code``, but 1 if that is 0 and a job has not finished.
    """
    rows = [describe_job(config.parent) for config in sorted(folder.glob("*/config.yaml"), key=_number)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, side in (("job", "left"), ("state", "left"), ("epochs", "right"), ("best", "right"), ("", "left")):
        table.add_column(title, justify=side)  # type: ignore[arg-type]
    for row in rows:
        state = Text(row["state"], STYLES.get(row["state"], "default"))
        score = f"{row['value']:.4f}" if row["value"] == row["value"] else "-"
        table.add_row(Text(row["job"]), state, str(row["epoch"]), score, Text(row["error"]))
    console = Console()
    console.print()
    console.print(table)
    left = jobs - sum(row["state"] == status.FINISHED for row in rows)
    if jobs > len(rows):
        console.print(f"\n{jobs - len(rows)} of {jobs} jobs were not begun")
    if left:
        hydra = [word for word in words if word.lstrip("+~").startswith("hydra") and not word.startswith(PLACE)]
        again = shlex.join(["python", "-m", "multiscale.run", f"resume={folder}", *hydra])
        console.print(f"\ngo on with: {again}", soft_wrap=True, highlight=False, markup=False)
    if any(find_unsent(config.parent) for config in folder.glob("*/config.yaml")):
        places = f"wandb sync {shlex.quote(str(folder))}/*/wandb/offline-run-*"
        console.print(f"\nsend all: {places}", soft_wrap=True, highlight=False, markup=False)
    return code or int(left > 0)


def _number(config: Path) -> tuple[int, str]:
    first = config.parent.name.partition("_")[0]
    return (int(first) if first.isdigit() else sys.maxsize, config.parent.name)


def read_words(folder: Path) -> tuple[list[str], list[str]]:
    """The words of the command line that began the sweep in ``folder``: (those of its jobs, Hydra's but for the place).

    Raises:
        InvalidInput: if there is none, or it cannot be read.
    """
    try:
        saved = parse_yaml(read_file(folder / "multirun.yaml"))["hydra"]["overrides"]
        task, hydra = ([word for word in saved[kind] if isinstance(word, str)] for kind in ("task", "hydra"))
    except Exception as error:
        told = describe_error(error)
        raise InvalidInput(f"{folder} must be the folder of a sweep; multirun.yaml cannot be read: {told}") from error
    return task, [word for word in hydra if not word.startswith(PLACE)]


def check_folder(words: Sequence[str]) -> None:
    """Raise :class:`InvalidInput` if the folder that ``words`` give a sweep holds another one."""
    place = [Path(str(parse(word).value())) for word in words if word.startswith("hydra.sweep.dir=")]
    for folder in place:
        if (folder / "multirun.yaml").exists():
            task, hydra = read_words(folder)
            there, asked = sorted([*task, *hydra]), sorted(word for word in words if not word.startswith(PLACE))
            if there != asked:
                raise InvalidInput(
                    f"hydra.sweep.dir must be a folder of this sweep's own; {folder} holds that of: {' '.join(there)}"
                )
