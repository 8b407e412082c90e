"""Runs from Python: compose and train do what the command line does, and say what is wrong in the same line."""

import json
import logging
import signal
import sys

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ReadonlyConfigError

import multiscale
from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.jobs import start
from multiscale.runs import status
from multiscale.runs.signals import Interrupted
from multiscale.training.language_model import load_language_model, write
from tests.conftest import TEXT, TINY

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
        (["data.path=Bücher, alt.txt"], "such a value stands in quotes of its own"),
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


def test_a_sweep_gives_its_folder_and_the_rows_of_compare_and_the_same_call_runs_none_again(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(start, "run_in_process", lambda folder, _: ran.append(folder.name) or start.run_here(folder))
    folder, argv, handlers = tmp_path / "zwei Läufe", sys.argv[:], logging.getLogger().handlers[:]
    (tmp_path / "Bücher.txt").write_text(TEXT)
    words = ["data=text_file", f"data.path={tmp_path}/Bücher.txt", "data.batch_size=4", "data.steps=16", "seed=0,1"]
    words += [*WORDS, "optim.optimizer.amsgrad=true", f"hydra.sweep.dir={folder}"]
    swept = multiscale.sweep(*words, baseline="clockwork")
    assert (swept.folder, ran) == (folder, ["0_clockwork_seed0", "1_clockwork_seed1"])
    scores = [json.loads((folder / name / "summary.json").read_text())["test"]["test/bpc"] for name in ran]
    assert [(run["seed"], run["score"]) for run in swept.runs] == [*enumerate(scores)]
    assert [row["mean"] for row in swept.configurations] == [pytest.approx(sum(scores) / 2)]
    assert (sys.argv, logging.getLogger().handlers) == (argv, handlers)
    assert multiscale.sweep(*words).runs == swept.runs
    assert len(ran) == 2  # both have finished
    with pytest.raises(InvalidInput, match=r"hydra\.sweep\.dir must be a folder of this sweep's own"):
        multiscale.sweep(*words, "head=top")


def test_a_sweep_whose_run_fails_tells_why_and_one_that_is_interrupted_raises(tmp_path, monkeypatch):
    def breaks(folder, _):
        status.Status(folder).update(status.FAILED, error="ValueError: it broke")
        return 1

    monkeypatch.setattr(start, "run_in_process", breaks)
    swept = multiscale.sweep(*WORDS, f"hydra.sweep.dir={tmp_path}/sweep")
    assert [(run["state"], run["reason"]) for run in swept.runs] == [
        ("failed", "failed at epoch 0, step 0: ValueError: it broke")
    ]
    assert not swept.configurations

    def stops(*_):
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(start, "run_in_process", stops)
    with pytest.raises(KeyboardInterrupt):
        multiscale.sweep(*WORDS, f"hydra.sweep.dir={tmp_path}/sweep")


def test_a_mistake_in_a_sweep_is_the_line_that_the_command_line_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"Did you mean 'gru'\?$"):
        multiscale.sweep("model=hmlstm,grru")
    with pytest.raises(InvalidInput, match=r"nowhere.txt': No such file"):
        multiscale.sweep("data=text_file", "data.path=nowhere.txt", "seed=0,1")
    with pytest.raises(InvalidInput, match="words must be texts of the form key=value; got '-m'"):
        multiscale.sweep("-m")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_trained_is_refused_before_there_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"data\.path must be a readable text file; 'nowhere.txt'"):
        multiscale.train(multiscale.compose("data=text_file", "data.path=nowhere.txt"))
    with pytest.raises(InvalidInput, match=r"config must be what multiscale\.compose gave; got dict"):
        multiscale.train({})
    assert not list(tmp_path.iterdir())
