"""Every YAML of every group composes, is consumed whole and instantiates."""

import pytest
import torch

from multiscale.configuration import CONF, jobs
from multiscale.session import rehearse

GROUPS = ["model", "head", "optim", "trainer"]
ELSEWHERE = ["data", "task", "experiment"]  # in test_tasks.py and test_experiments.py
FILES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


def reason_to_skip(group: str, choice: str) -> str | None:
    if (group, choice) == ("trainer", "gpu") and not torch.cuda.is_available():
        return "needs a GPU"
    return None


@pytest.mark.parametrize(("group", "choice"), FILES)
def test_every_choice_composes_and_builds(group, choice):
    if reason := reason_to_skip(group, choice):
        pytest.skip(reason)
    rehearse(jobs([f"{group}={choice}"])[0])


@pytest.mark.parametrize("choice", [path.stem for path in sorted((CONF / "logger").glob("*.yaml"))])
def test_every_logger_takes_every_key_of_its_file(choice):
    rehearse(jobs([f"logger={choice}"])[0])


def test_every_group_has_its_files_tested():
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert folders == {*GROUPS, *ELSEWHERE, "logger", "callbacks", "hydra"}


def test_a_sweep_is_the_product_of_its_lists():
    sweep = jobs(["model=hmlstm,clockwork", "seed=0,1,2"])
    assert [(j.model._target_.split(".")[-1], j.seed) for j in sweep] == [
        (name, seed) for name in ("HMLSTM", "ClockworkRNN") for seed in (0, 1, 2)
    ]
