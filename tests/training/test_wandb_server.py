"""Weights & Biases online: what a server receives from a run, from one that goes on, and from `wandb sync`."""

import logging
import os
import shlex
import subprocess
import sys
import time

import pytest
import wandb

from multiscale.training.logging import wandb_log
from multiscale.training.logging.loggers import closing_lines, finish
from multiscale.training.logging.wandb_log import SafeWandb
from tests.helpers.fake_wandb import FakeWandb

CHOICES = {"model": "hmlstm", "data": "python_docs", "head": "gated", "experiment": None}
START = {"project": "p", "name": "n", "monitor": "val/bpc", "choices": CHOICES, "group": "g", "tags": ["t"]}


@pytest.fixture
def server(monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    server = FakeWandb()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    wandb.teardown()
    server.close()


def train(folder, mode: str, steps, skip: int = 0, **end: bool) -> SafeWandb:
    """Log ``10 - step`` at every step, as a training does that has made the first ``skip`` of them before."""
    logger = SafeWandb(str(folder), **START, mode=mode, timeout=10)
    logger.begin(0, skip)
    for step in steps:
        logger.log_metrics({"val/bpc": 10.0 - step}, step)
    finish([logger], **end)
    return logger


def curve(run) -> list[tuple]:
    """(W&B's step, the training's step, value) of every row that the server has."""
    return [(row["_step"], row["trainer/global_step"], row["val/bpc"]) for row in run.history]


def test_an_interrupted_run_that_goes_on_is_one_run_on_the_server(server, tmp_path, capfd):
    first = train(tmp_path, "online", range(4), interrupted=True)
    ((identity, run),) = server.runs.items()
    assert (run.exit_code, run.preempting) == (143, True)
    assert (run.about["groupName"], run.about["displayName"], run.about["jobType"]) == ("g", "n", "python_docs")
    assert run.about["tags"] == ["hmlstm", "python_docs", "gated", "t"]
    train(tmp_path, "online", range(2, 6), skip=2)
    assert list(server.runs) == [identity]
    assert curve(run) == [(step, step, 10 - step) for step in range(6)]
    assert run.exit_code == 0
    assert closing_lines([first]) == [
        f"Weights & Biases: {server.environment['WANDB_BASE_URL']}/someone/p/runs/{identity}"
    ]
    assert capfd.readouterr() == ("", "")


def test_the_command_of_an_offline_run_sends_all_of_it(server, tmp_path):
    train(tmp_path, "offline", range(4))
    last = train(tmp_path, "offline", range(2, 6), skip=2)
    assert not server.runs
    (line,) = closing_lines([last])
    words = [sys.executable, "-m", *shlex.split(line)]
    sent = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert sent.returncode == 0, sent.stderr
    (run,) = server.runs.values()
    assert curve(run) == [(step, step, 10 - step) for step in range(6)]
    assert run.about["groupName"] == "g"
    assert closing_lines([last]) == []  # there is nothing left to send


def test_under_an_agent_of_a_sweep_the_run_is_the_agents(server, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "chosen1")
    train(tmp_path, "online", range(2))
    assert list(server.runs) == ["chosen1"]
    assert server.runs["chosen1"].about["sweep"] == "sweep1"
    assert [row["best/bpc"] for row in server.runs["chosen1"].history] == [10.0, 9.0]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_server_that_goes_away_holds_the_end_up_for_a_bounded_time(server, tmp_path, caplog):
    logger = SafeWandb(str(tmp_path), **START, mode="online", timeout=2)
    logger.log_metrics({"val/bpc": 1.0}, 0)
    server.close()
    begun = time.monotonic()
    for step in range(1, 50):
        logger.log_metrics({"val/bpc": 1.0}, step)
    assert time.monotonic() - begun < 1.0  # the training does not wait
    with caplog.at_level(logging.WARNING, logger=wandb_log.__name__):
        finish([logger])
    assert time.monotonic() - begun < 40.0  # ten times the timeout, and a little
    (message,) = [record.message for record in caplog.records if record.name == wandb_log.__name__]
    assert "Weights & Biases is off" in message
    (folder,) = tmp_path.glob("wandb/run-*")
    assert closing_lines([logger]) == [shlex.join(["wandb", "sync", str(folder)])]
