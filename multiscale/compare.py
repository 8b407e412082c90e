"""Set runs side by side: ``python -m multiscale.compare <folder>... [key=value]``.

<folder>             of a run, of a sweep, or any above them; several are read as one set
baseline=MODEL       a model or a configuration of the set, from which differences by seed are taken
to=comparison        the folder for the page, index.html, with its figures as PNG, PDF and CSV in figures/, and for
                     the tables: runs.csv, runs.md, configurations.csv, configurations.md
"""

import sys
from pathlib import Path

from rich.console import Console

from multiscale.checks import InvalidInput, expand
from multiscale.cli import arguments, command

PIPED_WIDTH = 160  # characters, where there is no terminal


def main(words: list[str]) -> None:
    """Read, compare, write and print."""
    from multiscale.comparison import page, text
    from multiscale.comparison.runs import read_all
    from multiscale.comparison.table import build

    folders = [word for word in words if "=" not in word or Path(word).is_dir()]
    given = arguments([word for word in words if word not in folders], {"baseline": "", "to": "comparison"})
    if not folders:
        raise InvalidInput("runs must be given, as one or more folders of runs.")
    table = build(read_all(folders), given["baseline"])
    folder = expand(given["to"])
    try:
        paths = text.write(table, folder)
        report = page.write(table, folder)
    except OSError as error:
        raise InvalidInput(f"to must be a folder that can be written to; {given['to']!r}: {error.strerror}.") from error
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    text.show(table, console)
    console.print()
    for path in paths:
        console.print(f"{'table':<12}{path}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"{'page':<12}{report}", soft_wrap=True, highlight=False, markup=False)
    text.conclude(table, console)


if __name__ == "__main__":
    command(main, __doc__)
