"""What the README tells a newcomer to type works."""

import re

import pytest
import torch

from multiscale.config.compose import jobs
from multiscale.jobs.prepare import prepare
from tests.conftest import MODELS, ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^(?:    )?python -m multiscale\.run +(.*?)(?:#.*)?$", README, re.M)


def test_there_are_commands_to_check():
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("command", [c.strip() for c in COMMANDS if not c.startswith(("--help", "resume="))])
def test_every_run_command_composes_and_builds(command, tmp_path):
    (tmp_path / "book.txt").write_text("It was a dark and stormy night. " * 300)
    words = command.replace("book.txt", str(tmp_path / "book.txt")).split()
    for config in jobs([word for word in words if word != "-m"]):
        prepare(config)


def test_every_make_target_it_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make (\w[\w-]*)  ", README)) | {"setup", "run", "test", "lint"}:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_its_library_example_runs():
    example = next(block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "HMLSTM(" in block)
    torch.manual_seed(0)
    names: dict = {}
    exec(example, names)
    assert names["output"].levels[0].shape == (8, 100, 64)


def test_the_example_of_one_step_at_a_time_runs():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/backbones.md").read_text(), re.S)
    names: dict = {}
    exec(example, names)
    assert names["levels"][2].shape == (1, 64)
    assert names["stream"].trace is None


def test_its_pictures_exist_and_every_model_of_its_tables_too():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file()
    named = set(re.findall(r"^\| `(\w+)` \|", README, re.M))
    assert {"hmlstm", "stacked_lstm"} <= named <= set(MODELS)
