"""Every command of the package by its word: ``multiscale run seed=1`` is ``python -m multiscale.run seed=1``."""

import ast
import runpy
import sys
from pathlib import Path

from multiscale.checks import InvalidInput, one_of
from multiscale.cli import fail

GUARD = 'if __name__ == "__main__":'


def commands() -> dict[str, Path]:
    """The files beside this one that can be run, by the word that picks each."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return {path.stem: path for path in files if GUARD in path.read_text(encoding="utf-8")}


def help_text() -> str:
    """How the commands are called, and what each says of itself in the first line of its file."""
    known = commands()
    width = max(map(len, known))
    lines = [
        "multiscale <command> ..., which is python -m multiscale.<command> ...; each explains itself with --help.",
        "",
    ]
    for name, path in known.items():
        first = (ast.get_docstring(ast.parse(path.read_bytes())) or "").partition("\n")[0]
        lines.append(f"  {name:<{width}}  {first.partition(': ``')[0].rstrip('.')}")
    return "\n".join(lines)


def main() -> None:
    """Run the command that the first word names on the words after it, as ``python -m`` would."""
    name, words = sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:]
    if name in ("--help", "-h"):
        print(help_text())
        return
    try:
        one_of("command", name, list(commands()))
    except InvalidInput as error:
        fail(error)
    sys.argv[1:] = words
    runpy.run_module(f"multiscale.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
