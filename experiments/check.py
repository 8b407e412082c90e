"""The index and the tables of its pages, made from tables of runs: ``python -m experiments.check [--write]``.

Every figure of ours in ``README.md`` comes by ``index.yaml`` from the rows of a table that ``multiscale.compare`` read,
and what stands between the marks in a page's README from ``tabulate`` of its ``study.py``. Without ``--write`` a README
that says anything else is an error.
"""

import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from experiments.runs import HOME, read
from multiscale.comparison.statistics import Estimate, estimate

START, END = "<!-- made by experiments.check: do not edit -->\n\n", "\n<!-- end -->"
COLUMNS = ("what is measured", "published", "here", "seeds", "page")


def index(rows: list[dict[str, Any]], home: Path = HOME) -> str:
    """The index as tables in Markdown, a section's rows together."""
    lines: list[str] = []
    section = None
    for row in rows:
        if row["section"] != section:
            section = row["section"]
            lines += ["", f"### {section}", "", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
        ours, seeds = here(row, home)
        page = f"[{row['page']}]({row['page']}/README.md)"
        lines.append("| " + " | ".join((row["what"], str(row.get("published", "")), ours, seeds, page)) + " |")
    return "\n".join(lines[1:]) + "\n"


def here(row: dict[str, Any], home: Path = HOME) -> tuple[str, str]:
    """What our runs gave, and how many seeds; a row without a table of runs has not run.

    Raises:
        ValueError: if no finished run is as the row wants it.
    """
    if "runs" not in row:
        return "not run", ""
    found = [run for run in read(home / row["page"] / row["runs"]) if _matches(run, row["where"])]
    if not found:
        raise ValueError(f"{row['what']}: no run in {row['page']}/{row['runs']} has {row['where']}.")
    scale = 100.0 if row.get("percent") else 1.0
    form = f"{{:.{row.get('digits', 3)}f}}" + (" %" if row.get("percent") else "")
    got = estimate({i: scale * float(run[row["value"]]) for i, run in enumerate(found)})
    return show(got, form), str(got.n)


def show(got: Estimate | None, form: str) -> str:
    """A mean as ``form`` has a number, with its range or interval in brackets."""
    if got is None:
        return "-"
    spread = f" ({form.format(got.spread[0])} to {form.format(got.spread[1])})" if got.spread else ""
    return form.format(got.mean) + spread


def _matches(run: dict[str, str], where: dict[str, str]) -> bool:
    return run.get("state", "finished") == "finished" and all(
        fnmatchcase(run[column], str(wanted)) for column, wanted in where.items()
    )


def remade() -> Iterator[tuple[Path, str, str]]:
    """Every README with marks: its path, what it says, and what it has to say."""
    for path in sorted(HOME.rglob("README.md")):
        text = path.read_text()
        if START in text:
            before, rest = text.split(START)
            yield path, text, before + START + _made(path.parent) + END + rest.split(END)[1]


def _made(folder: Path) -> str:
    if folder == HOME:
        return index(yaml.safe_load((HOME / "index.yaml").read_text()))
    return "\n".join(import_module(f"experiments.{folder.name}.study").tabulate()).strip() + "\n"


def main(words: list[str]) -> None:
    if words not in ([], ["--write"]):
        sys.exit(f"experiments.check takes --write or nothing; got {' '.join(words)}.")
    for path, text, wanted in remade():
        if words:
            path.write_text(wanted)
        elif wanted != text:
            told = path.relative_to(HOME.parent)
            sys.exit(f"{told} is not what its runs say; python -m experiments.check --write makes it anew.")


if __name__ == "__main__":
    main(sys.argv[1:])
