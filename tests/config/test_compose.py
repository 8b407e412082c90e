"""Every YAML of every group composes, is consumed whole and instantiates."""

import logging
import sys

import pytest
import torch
from omegaconf import OmegaConf

from multiscale.checks import InvalidInput
from multiscale.config.compose import CONF, NeedsPlus, compose_jobs, jobs, spell_out
from multiscale.config.words import NO_GROUPS
from multiscale.jobs.prepare import prepare
from multiscale.jobs.run import run
from tests.conftest import TINY

GROUPS = ["model", "head", "optim", "scheduler", "trainer", "match", "callbacks", "debug"]
ELSEWHERE = ["data", "task", "experiment"]  # in test_tasks.py and test_experiments.py
FILES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


NEEDS = {"ridge": ["head=concat"]}  # of other groups


def reason_to_skip(group: str, choice: str) -> str | None:
    if (group, choice) == ("trainer", "gpu") and not torch.cuda.is_available():
        return "needs a GPU"
    return None


@pytest.mark.parametrize(("group", "choice"), FILES)
def test_every_choice_composes_and_builds(group, choice):
    if reason := reason_to_skip(group, choice):
        pytest.skip(reason)
    prepare(jobs([f"{group}={choice}", *NEEDS.get(choice, [])])[0])


@pytest.mark.parametrize("choice", [path.stem for path in sorted((CONF / "logger").glob("*.yaml"))])
def test_every_logger_takes_every_key_of_its_file(choice):
    prepare(jobs([f"logger={choice}"])[0])


def test_every_group_has_its_files_tested():
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert folders - set(NO_GROUPS) == {*GROUPS, *ELSEWHERE, "logger", "hydra"}
    assert set(NO_GROUPS) == {"search", "sweep"}  # in test_search.py and test_sweeps.py


def test_a_sweep_is_the_product_of_its_lists():
    sweep = jobs(["model=hmlstm,clockwork", "seed=0,1,2"])
    assert [(j.model._target_.split(".")[-1], j.seed) for j in sweep] == [
        (name, seed) for name in ("HMLSTM", "ClockworkRNN") for seed in (0, 1, 2)
    ]


def test_an_experiment_may_bring_lists_that_the_command_line_replaces():
    experiment = "experiment=first_comparison"
    sweep = jobs([experiment, "model=clockwork"], multirun=True)
    assert len({(j.data._target_, j.seed) for j in sweep}) == len(sweep) == 2 * 3
    assert [j.seed for j in jobs([experiment, "data=python_docs", "seed=7"], multirun=True)] == [7] * 5
    assert len(jobs([experiment])) == 1
    assert [j.seed for j in jobs(["seed=1,2"], multirun=True)] == [1, 2]


@pytest.fixture
def own_logging():
    """What Hydra sets up for its jobs ends with the test."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.usefixtures("own_logging")
def test_the_jobs_that_are_checked_are_those_that_hydra_runs(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr("multiscale.jobs.start.start_job", lambda config, *how: ran.append(config) or 0.0)
    words = ["experiment=first_comparison", "seed=3", "model=clockwork,hmlstm"]
    monkeypatch.setattr(sys, "argv", ["run", "-m", *words, f"hydra.sweep.dir={tmp_path}"])
    run()
    checked = jobs(words, multirun=True)
    assert [(j.data, j.model, j.seed) for j in ran] == [(j.data, j.model, j.seed) for j in checked]


def test_an_argument_that_the_config_does_not_set_needs_no_plus_sign(here, tmp_path):
    words = {"trainer.limit_train_batches": 2, "optim.optimizer.weight_decay": 0.1}
    for key in words:
        with pytest.raises(NeedsPlus, match=rf"write \+{key}=\.\.\."):
            jobs([f"{key}={words[key]}"])
    tiny = [word for word in TINY if "limit_train" not in word]
    done = here("model=stacked_lstm", *tiny, *(f"{key}={value}" for key, value in words.items()))
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("config.yaml")
    assert {key: OmegaConf.select(OmegaConf.load(path), key) for key in words} == words


def test_a_glob_is_spelled_out_with_choices_in_folders_of_a_group():
    words = spell_out(["experiment=glob(reproduced/skip_*)", "seed=0,1", "model=glob(hmlstm*)"])
    assert words == (
        "experiment=reproduced/skip_adding,reproduced/skip_frequency",
        "seed=0,1",
        "model=hmlstm,hmlstm_paper",
    )
    with pytest.raises(InvalidInput, match="must match one of"):
        spell_out(["model=glob(no_*)"])


def test_a_sweep_over_experiments_may_set_what_only_they_have():
    given = ["experiment=clock_recovery,clocked_symbols", "data.periods=[3,12]", "~callbacks.watch", "seed=1"]
    words = spell_out(given)
    assert words == (given[0], "data.periods=choice([3,12])", *given[2:])
    made = compose_jobs(words, multirun=True)
    assert [list(job.config.data.periods) for job in made] == [[3, 12], [3, 12]]
    assert [job.words for job in made] == [("experiment=clock_recovery",), ("experiment=clocked_symbols",)]
