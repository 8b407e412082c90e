"""What the README and the documentation show works: links, pictures, examples. Their commands: test_commands.py."""

import re

import pytest
import torch

from tests.conftest import MODELS, ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
README = TEXT["README.md"]
PYTHON = [block for text in TEXT.values() for block in re.findall(r"```python\n(.*?)```", text, re.S)]


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
