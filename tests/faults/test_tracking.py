"""Weights & Biases that dies, and a training that dies with it: neither costs the other anything."""

import csv
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.conftest import ROOT
from tests.training.test_wandb import WANDB, fragments, logged, rows, summary

pytestmark = pytest.mark.slow


def test_a_wandb_that_dies_in_the_middle_is_one_warning_and_its_files_are_kept(cli, tmp_path):
    kill = "+callbacks.kill._target_=tests.helpers.spoil.KillWandb"
    done = cli(*WANDB, kill, "hydra.run.dir=here", PYTHONPATH=str(ROOT))
    assert (tmp_path / "killed").exists()
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("Weights & Biases is off") == 1
    assert "Traceback" not in done.stderr
    (fragment,) = fragments(tmp_path / "here")
    assert shlex.join(["wandb", "sync", str(fragment)]) in done.stdout
    assert list(fragment.glob("*.wandb"))
    with (tmp_path / "here/metrics.csv").open() as file:
        assert any(row["val/bpc"] for row in csv.DictReader(file))


def kept(folder) -> bool:
    """Whether W&B has written anything of the run to the disk, which it does once a second."""
    return any(path.stat().st_size > 1000 for part in fragments(folder) for path in part.glob("*.wandb"))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_training_that_was_ended_and_goes_on_leaves_each_row_once(cli, tmp_path, how):
    words = [*WANDB, "trainer.max_epochs=9", "trainer.log_every_n_steps=2", "hydra.run.dir=here"]
    words.append("+callbacks.slow._target_=tests.faults.breaking.Slow")
    words = [word.replace("train_batches=2", "train_batches=12") for word in words]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    environment = {**inherited, "NETRC": str(tmp_path / "no-netrc"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "multiscale.run", *words]
    with subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        while not logged(tmp_path / "here") or logged(tmp_path / "here")[-1] < 16 or not kept(tmp_path / "here"):
            assert run.poll() is None
            time.sleep(0.02)
        run.send_signal(how)
        run.communicate(timeout=60)
    done = cli("resume=here", "trust=[tests.]", PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    parts = fragments(tmp_path / "here")
    assert len({summary(part)["run_id"] for part in parts}) == 1 < len(parts)
    sent = [row for part in parts for row in rows(part) if "epoch" in row or "lr-Adam/pg1" in row]
    steps = [row["trainer/global_step"] for row in sent]
    if how == signal.SIGTERM:
        assert steps == logged(tmp_path / "here")
    assert not Counter(steps) - Counter(logged(tmp_path / "here"))
    assert shlex.join(["wandb", "sync", *map(str, parts)]) in done.stdout
