"""Runs as commands of their own, to be broken from outside."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.faults.breaking import SMALL, TEXT

LONG = [*SMALL, "model=hmlstm", "+trainer.limit_train_batches=30", "callbacks.checkpoints.every_n_steps=4"]
LONG = [word for word in LONG if word != "+trainer.limit_train_batches=7"]
SLOW_DOWN = "+callbacks.slow._target_=tests.faults.breaking.Slow"
DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


def start(cwd: Path, *words: str, module: str = "run", alone: bool = False, **variables: str) -> subprocess.Popen:
    """``python -m multiscale.<module>`` in ``cwd``, on a small text there; ``alone`` in a process group of its own."""
    cwd.mkdir(parents=True, exist_ok=True)
    (cwd / "text.txt").write_text(TEXT)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    return subprocess.Popen(
        [sys.executable, "-m", f"multiscale.{module}", *words],
        cwd=cwd,
        env={
            **environment,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "NETRC": "none",
            "COLUMNS": "200",
            **variables,
        },
        start_new_session=alone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen, seconds: float = 200) -> tuple[int, str]:
    """(exit code, what was printed)."""
    output = process.communicate(timeout=seconds)[0]
    return process.returncode, output


def begin(cwd: Path, *words: str) -> subprocess.Popen:
    """A training of half a minute and more, in ``cwd``/run, as a command."""
    return start(cwd, *LONG, "data.path=text.txt", SLOW_DOWN, f"hydra.run.dir={cwd}/run", *words)


def resume(folder: Path) -> tuple[int, str]:
    return finish(start(folder.parent, f"resume={folder}", "trust=[tests.]"))


def trained(folder: Path, steps: int, seconds: float = 120) -> dict:
    """Wait until the run in ``folder`` has been saved after so many steps; returns its status."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            known = json.loads((folder / "status.json").read_text())
        except (OSError, ValueError):
            known = {}
        if known.get("state") == "running" and known.get("step", 0) >= steps:
            return known
        time.sleep(0.02)
    raise AssertionError(f"{folder} did not come to step {steps}")
