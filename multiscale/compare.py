"""Set runs side by side: ``python -m multiscale.compare <folder>... [key=value]``.

<folder>             of a run, of a sweep, or any above them; several are read as one set
baseline=MODEL       a model or a configuration of the set, from which differences by seed are taken
to=comparison        the folder for the page, index.html, with its figures as PNG, PDF and CSV in figures/, and for
                     the tables: runs.csv, runs.md, configurations.csv, configurations.md, configurations.tex
watch=false          true writes it all again whenever a summary in the folders changes, until Ctrl-C
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import sleep

from rich.console import Console

from multiscale.checks import InvalidInput, expand
from multiscale.cli import arguments, command

PIPED_WIDTH = 160  # characters, where there is no terminal
PAUSE = 2.0  # seconds between two looks at the folders


def main(words: list[str]) -> None:
    """Compare once, or, watching, whenever a summary has changed."""
    folders = [word for word in words if "=" not in word or Path(word).is_dir()]
    known = {"baseline": "", "to": "comparison", "watch": False}
    given = arguments([word for word in words if word not in folders], known)
    if not folders:
        raise InvalidInput("runs must be given, as one or more folders of runs.")
    before = _look(folders)
    _compare(folders, given["baseline"], given["to"])
    with suppress(KeyboardInterrupt):  # which is how watching ends
        while given["watch"]:
            sleep(PAUSE)
            if (now := _look(folders)) != before:
                before = now
                _compare(folders, given["baseline"], given["to"])


def _look(folders: Sequence[str]) -> dict[Path, int]:
    """When each run that has finished wrote its summary, in nanoseconds."""
    from multiscale.comparison.runs import find

    paths = [folder / "summary.json" for folder in find(folders)]
    return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}


def _compare(folders: Sequence[str], baseline: str, to: str) -> None:
    """Read, compare, write and print."""
    from multiscale.comparison import page, text
    from multiscale.comparison.runs import read_all
    from multiscale.comparison.table import build

    table = build(read_all(folders), baseline)
    folder = expand(to)
    try:
        paths = text.write(table, folder)
        report = page.write(table, folder)
    except OSError as error:
        raise InvalidInput(f"to must be a folder that can be written to; {to!r}: {error.strerror}.") from error
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    text.show(table, console)
    console.print()
    for path in paths:
        console.print(f"{'table':<12}{path}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"{'page':<12}{report}", soft_wrap=True, highlight=False, markup=False)
    text.conclude(table, console)


if __name__ == "__main__":
    command(main, __doc__)
