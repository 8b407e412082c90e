"""Every YAML of every group composes, is consumed whole, and instantiates; every mistake is named."""

import logging
import sys

import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.configuration import CONF, jobs
from multiscale.run import run
from multiscale.session import rehearse

GROUPS = ["model", "head", "optim", "trainer", "match"]
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


def test_an_experiment_may_bring_lists_that_the_command_line_replaces():
    experiment = "experiment=first_comparison"
    sweep = jobs([experiment, "model=clockwork"], multirun=True)
    assert len({(j.data._target_, j.seed) for j in sweep}) == len(sweep) == 2 * 3
    assert [j.seed for j in jobs([experiment, "data=python_docs", "seed=7"], multirun=True)] == [7] * 4
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
    monkeypatch.setattr("multiscale.launch.start", lambda config, *how: ran.append(config) or 0.0)
    words = ["experiment=first_comparison", "seed=3", "model=clockwork,hmlstm"]
    monkeypatch.setattr(sys, "argv", ["run", "-m", *words, f"hydra.sweep.dir={tmp_path}"])
    run()
    checked = jobs(words, multirun=True)
    assert [(j.data, j.model, j.seed) for j in ran] == [(j.data, j.model, j.seed) for j in checked]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=quick_look", "sead=1"], "sead does not exist; .*Did you mean 'seed'"),
        (["modle=hmlstm"], "modle does not exist; .*Did you mean 'model'"),
        (["model=hmlstn"], "model must be one of .*got 'hmlstn'. Did you mean 'hmlstm'"),
        (["data=pythn_docs"], "data must be one of .*Did you mean 'python_docs'"),
        (["model.hiden_size=3"], "model.hiden_size does not exist; below model .*Did you mean 'hidden_size'"),
        (["model=clockwork", "model.period=[1]"], "model.period .*Did you mean 'periods'"),
        (["model.hidden_size"], "not of the form key=value"),
        (["seed=0,1", "model=hmlstm,nothing"], "got 'nothing'"),
        (["model.hidden_size=-3"], "model.hidden_size must be a whole number of at least 1; got -3"),
        (["model.hidden_size=abc"], "model.hidden_size must be .*got 'abc'"),
        (["model.hidden_size=[8,8]"], r"model.hidden_size must be one number or 3 of them; got \[8, 8\]"),
        (["model.slope.start=0"], "start must be a number above 0; got 0"),
        (["+model.depth=3"], "model.depth is not an argument .*allowed are"),
        (["model=clockwork", "model.periods=[]"], "model.periods must be a list of at least one"),
        (["model=clockwork", "model.periods=[0,1]"], r"periods\[0\] must be a whole number of at least 1; got 0"),
        (["model=learned_clock", "model.basis=fourier"], "model.basis must be one of binary"),
        (["data=text_file"], "data.path must be given, as data.path=..."),
        (["data=text_file", "data.path=/no/such/file"], "data.path must be a readable text file; '/no/such/file'"),
        (["data=text_file", "data.path=/tmp"], "data.path must be a readable text file"),
        (["data.batch_size=100000"], "data..* one batch needs at least 6400001"),
        (["data.batch_size=0"], "data.batch_size must be a whole number of at least 1; got 0"),
        (["seed=-1"], "seed must be a whole number from 0"),
        (["threads=0"], "threads must be a whole number of at least 1; got 0"),
        (["seed=x"], "seed must be a whole number from 0"),
        (["trainer.max_epochs=0"], "trainer.max_epochs must be at least 1"),
        (["head.embedding_size=0"], "head.embedding_size must be"),
        (["task.embedding_size=-1"], "task.embedding_size must be"),
        (["logger.mod=x"], "logger.mod .*Did you mean 'mode'"),
        (["model.kernel=warp"], "model.kernel must be one of auto, .*got 'warp'"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(words, message):
    with pytest.raises(InvalidInput, match=message) as error:
        list(map(rehearse, jobs(words)))
    assert "\n" not in str(error.value).strip()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said():
    with pytest.raises(InvalidInput, match="trainer"):
        rehearse(jobs(["trainer=gpu"])[0])
