"""What a sweep's user wants to know at its end: how every job went, and how to go on."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from multiscale.checks import InvalidInput, describe_error, read_file
from multiscale.config.foreign import parse_yaml
from multiscale.jobs.start import describe_job
from multiscale.runs import status

PLACE = ("hydra.sweep.dir=", "hydra.mode=")  # words that say where and that a sweep is
STYLES = {status.FINISHED: "green", status.FAILED: "red", status.INTERRUPTED: "yellow"}


class Sweep(Callback):
    """Hydra's callback that knows where the sweep of this process is."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        Sweep.folder = Path(config.hydra.sweep.dir).resolve()


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
    place = [Path(word.partition("=")[2]) for word in words if word.startswith("hydra.sweep.dir=")]
    for folder in place:
        if (folder / "multirun.yaml").exists():
            task, hydra = read_words(folder)
            there, asked = sorted([*task, *hydra]), sorted(word for word in words if not word.startswith(PLACE))
            if there != asked:
                raise InvalidInput(
                    f"hydra.sweep.dir must be a folder of this sweep's own; {folder} holds that of: {' '.join(there)}"
                )
