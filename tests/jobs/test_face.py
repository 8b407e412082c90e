"""Runs from Python: compose and train do what the command line does, and say what is wrong in the same line."""

import json
import signal

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ReadonlyConfigError

import multiscale
from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.runs.signals import Interrupted
from multiscale.training.language_model import load_language_model, write
from tests.conftest import TINY

WORDS = ["model=clockwork", *TINY]


def test_a_config_is_that_of_the_command_line_needs_no_plus_sign_and_is_not_written_to():
    config, (wanted,) = (
        multiscale.compose(*WORDS, "optim.optimizer.amsgrad=true"),
        jobs([*WORDS, "+optim.optimizer.amsgrad=true"]),
    )
    ours, theirs = OmegaConf.to_container(config), OmegaConf.to_container(wanted)
    assert (ours.pop("folder"), theirs.pop("folder")) == (config.folder, "???")
    assert ours.pop("identity").items() >= theirs.pop("identity").items()
    assert ours == theirs
    with pytest.raises(ReadonlyConfigError):
        config.seed = 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["modle=hmlstm"], r"Did you mean 'model'\?$"),
        (["model=hmlstm,gru"], "asks for several jobs"),
        (["trainer.max_epochs=x"], "trainer.max_epochs must be at least 1 .*got 'x'"),
        (["-m", "model=gru"], "words must be texts of the form key=value; got '-m'"),
        ([{"model": "gru"}], "words must be texts of the form key=value; got {'model': 'gru'}"),
    ],
)
def test_a_mistake_in_words_is_the_line_that_the_command_line_has(words, message):
    with pytest.raises(InvalidInput, match=message):
        multiscale.compose(*words)


def test_training_gives_the_folder_and_the_numbers_of_the_command_line(here, tmp_path):
    (tmp_path / "texts").mkdir()
    for name in "ab":
        (tmp_path / "texts" / name).write_bytes(b"the quick brown \xff fox. " * 40)
    words = [*WORDS, "data=text_file", f"data.path={tmp_path}/texts", "data.units=bytes"]
    words += ["data.reset=true", "data.batch_size=4", "data.steps=16"]
    assert here(*words, f"hydra.run.dir={tmp_path}/there").returncode == 0
    config = multiscale.compose(*words, f"hydra.run.dir={tmp_path}/own")
    done = multiscale.train(config)
    there, own = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("there", "own"))
    assert (done.folder, done.summary) == (tmp_path / "own", own)
    assert {**own["test"], **own["val"]} == {**there["test"], **there["val"]}
    assert own["command"] == there["command"]
    assert (tmp_path / "own/config.yaml").read_text() == (tmp_path / "there/config.yaml").read_text().replace(
        "/there", "/own"
    )
    module, facts = load_language_model(str(done.checkpoint))
    assert len([*write(module, facts.encode("the"), 5, 1.0, 0)]) == 8
    with pytest.raises(InvalidInput, match="holds this run, finished"):
        multiscale.train(config)


@pytest.mark.parametrize(
    ("end", "error", "message"),
    [
        (Interrupted(signal.SIGINT), KeyboardInterrupt, None),
        (ValueError("it broke"), RuntimeError, "the run in .*run failed: ValueError: it broke"),
    ],
)
def test_a_run_that_does_not_end_raises_and_leaves_what_it_was(tmp_path, monkeypatch, end, error, message):
    def breaks(*_):
        raise end

    config = multiscale.compose(*WORDS, f"hydra.run.dir={tmp_path}/run")
    monkeypatch.setattr("multiscale.jobs.train.train", breaks)
    with pytest.raises(error, match=message):
        multiscale.train(config)
    assert (tmp_path / "run/config.yaml").exists()


def test_what_cannot_be_trained_is_refused_before_there_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"data\.path must be a readable text file; 'nowhere.txt'"):
        multiscale.train(multiscale.compose("data=text_file", "data.path=nowhere.txt"))
    with pytest.raises(InvalidInput, match=r"config must be what multiscale\.compose gave; got dict"):
        multiscale.train({})
    assert not list(tmp_path.iterdir())
