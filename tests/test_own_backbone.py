"""What the tutorial says of a new backbone is true to the letter: in a copy of the tree and outside of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from multiscale.testing import LAWS
from tests.conftest import ROOT

SECTION = (ROOT / "docs/tutorials/backbone.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", SECTION, re.S)
CODE, LINE = (text for kind, text in BLOCKS if kind == "python")
(YAML,) = (text for kind, text in BLOCKS if kind == "yaml")
PLACE = re.search(r"# (conf/model/\w+\.yaml)", YAML)[1]
LISTS = (
    "tests/test_readme.py",
    "tests/jobs/test_sweeps.py",
    "tests/config/test_compose.py",
    "tests/training/test_cost.py",
    "tests/backbones/test_base.py",
)


def run_pytest(folder: Path, *words: str, tree: Path = ROOT) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    place = {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        line, cwd=folder, env={**os.environ, **place}, capture_output=True, text=True, check=False, timeout=240
    )
    return done


def count(done: subprocess.CompletedProcess, what: str = "passed") -> int:
    found = re.search(rf"(\d+) {what}", done.stdout)
    return int(found[1]) if found else 0


def test_one_python_file_and_one_yaml_are_held_to_every_law_and_no_list_must_know_them(tmp_path):
    for folder in ("multiscale", "conf", "tests", "docs", "experiments"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("README.md", "Makefile", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    (tmp_path / "multiscale/backbones/toy.py").write_text(CODE)
    (tmp_path / PLACE).write_text(YAML)
    chosen = ["-k", "toy or Toy or models or tables or sweeps_compare or these_backbones"]
    done = run_pytest(tmp_path, "-vv", "tests/backbones/test_contract.py", *LISTS, *chosen, tree=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("test_every_model_keeps_every_law[toy-") == 2 * len(LAWS)
    for test in ("test_its_pictures_exist_and_every_model_of_its_tables", "test_sweeps_compare_backbones"):
        assert test in done.stdout


@pytest.fixture
def package(tmp_path):
    """A folder with the tutorial's backbone, YAML and line of pytest, and nothing of ours."""
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).write_text(re.sub(r"_target_: .*", "_target_: mine.Toy", YAML))
    (tmp_path / "test_mine.py").write_text(LINE)
    return tmp_path


def test_a_package_of_ones_own_is_held_to_every_law_by_one_line(package):
    done = run_pytest(package)
    assert done.returncode == 0, done.stdout + done.stderr
    assert count(done) == 2 * len(LAWS)


def test_the_line_goes_red_where_the_package_breaks_a_law_and_says_which(package):
    broken = CODE.replace("0.5 * state +", "0.5 * state.mean(0) +")
    assert broken != CODE
    (package / "mine.py").write_text(broken)
    done = run_pytest(package)
    assert count(done, "failed")
    assert "The law a_sample_does_not_see_its_batch: A sample alone gives what it gives in a batch." in done.stdout
