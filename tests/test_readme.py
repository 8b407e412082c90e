"""What the README and the documentation tell a newcomer to type works."""

import re
import shlex
from importlib import import_module

import pytest
import torch

from multiscale.config.compose import jobs
from multiscale.jobs.prepare import prepare
from tests.conftest import MODELS, ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
README = TEXT["README.md"]
COMMAND = re.compile(r"^ *python -m multiscale\.(\w+)((?: [^#\n]*)?)", re.M)
FOUND = [found for text in TEXT.values() for found in COMMAND.findall(text.replace("\\\n", " "))]
COMMANDS = sorted({(door, words.strip()) for door, words in FOUND})
PLACEHOLDER = re.compile(
    r"<|\.\.\.|\$|resume=|--help|--cfg"
)  # what the reader fills in, what needs a run, what runs none
LACKS = {"submitit_slurm": "a cluster", "trainer=gpu": "a GPU", "rendezvous=": "two nodes", "devices=4": "four devices"}
PYTHON = [block for text in TEXT.values() for block in re.findall(r"```python\n(.*?)```", text, re.S)]


def composed() -> list[str]:
    """Every command line of a run, and what a search says of its runs."""
    runs = {words for door, words in COMMANDS if door == "run"}
    runs |= {re.sub(r"search(\.\w+)?=\S+", "", words).strip() for door, words in COMMANDS if door == "search"}
    return sorted(words for words in runs if not PLACEHOLDER.search(words))


def test_there_are_commands_to_check():
    assert len(composed()) >= 20
    assert len(COMMAND.findall(README)) >= 2


@pytest.mark.parametrize("command", composed())
def test_every_run_command_composes_and_builds(command, tmp_path, monkeypatch):
    for name in ("book.txt", "one.txt", "two.txt", "letters/one.txt", "src/one/two.c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("It was a dark and stormy night. " * 300)
    rows = [f"{hour},{hour % 24},{hour % 168}" for hour in range(4000)]
    (tmp_path / "load.csv").write_text("\n".join(["hour,load,heat", *rows]))
    rows = [f"{trial},{'ab'[trial % 2]},{step}" for trial in range(100) for step in range(9)]
    (tmp_path / "trials.csv").write_text("\n".join(["trial,kind,reading", *rows]))
    monkeypatch.chdir(tmp_path)
    configs = jobs([word for word in shlex.split(command) if word != "-m"])
    assert configs
    if not any(lacking in command for lacking in LACKS):  # of the others, that they compose
        prepare(configs[0])


@pytest.mark.parametrize(("door", "command"), [pair for pair in COMMANDS if pair[0] != "run"])
def test_every_other_command_has_its_door_and_the_arguments_that_it_tells_of(door, command):
    told = import_module(f"multiscale.{door}").__doc__
    for word in shlex.split(command):
        key = word.partition("=")[0]
        if "=" in word and (door != "search" or key.startswith("search")):
            assert re.search(rf"\b{re.escape(key)}(=| )", told), word


def test_every_make_target_it_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"make (\w[\w-]*)(?:  |`)", "\n".join(TEXT.values())))
    for target in named | {"setup", "run", "test", "lint", "docs"}:
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.parametrize("page", TEXT)
def test_every_link_leads_to_a_file_of_the_repository(page):
    for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", re.sub(r"```.*?```", "", TEXT[page], flags=re.S)):
        assert ((ROOT / page).parent / link).exists(), link


def test_its_library_example_runs():
    example = next(block for block in PYTHON if "HMLSTM(" in block)
    torch.manual_seed(0)
    names: dict = {}
    exec(example, names)
    assert names["output"].levels[0].shape == (8, 100, 64)


def test_the_example_of_one_step_at_a_time_runs():
    (example,) = re.findall(r"```python\n(.*?)```", TEXT["docs/backbones.md"], re.S)
    names: dict = {}
    exec(example, names)
    assert names["levels"][2].shape == (1, 64)
    assert names["stream"].trace is None


@pytest.mark.parametrize("example", [block for block in PYTHON if "laws(" not in block])  # that is a file of tests
def test_every_other_example_runs_too(example):
    exec(example, {"__name__": "example"})


def test_its_pictures_exist_and_every_model_of_its_tables_too():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file()
    named = set(re.findall(r"^\| `(\w+)` \|", README, re.M))
    assert {"hmlstm", "stacked_lstm"} <= named <= set(MODELS)
