"""What a command loads, and when: help and mistakes wait for nothing heavy, a training only for what it trains with."""

import gc
import os
import subprocess
import sys

import pytest

from multiscale import cli
from multiscale.training.lean import stand_in
from tests.conftest import ROOT, TINY

HEAVY = {"torch", "pytorch_lightning", "torchmetrics", "matplotlib", "scipy", "pandas", "plotly", "wandb"}
LATER = {"matplotlib", "scipy.signal", "scipy.stats", "pandas", "plotly", "jinja2", "optuna", "wandb.sdk.launch"}


def loaded(program: str, *words: str, cwd=ROOT) -> set[str]:
    """The modules that a program tells of on the last line of what it prints."""
    command = [sys.executable, "-c", program, *words]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{cwd}", "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)
    assert done.stdout, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("door", "words"),
    [
        ("run", "--help"),
        ("run", "model=hmlstmm"),
        ("run", "trainer.max_epochs=x"),
        ("run", "optim.optimizer.lr=-1"),
        ("run", "-m model=hmlstm,gru trainer.max_epochs=x"),
        ("compare", "--help"),
        ("generate", "prompt="),
        ("segment", "--help"),
        ("search", "search=x"),
        ("benchmark", "model=hmlst"),
    ],
)
def test_help_and_mistakes_load_nothing_heavy(door, words):
    program = (
        f"import runpy, sys\ntry: runpy.run_module('multiscale.{door}', run_name='__main__')\n"
        "except SystemExit: pass\nprint(); print(*sys.modules)"
    )
    modules = loaded(program, *words.split())
    assert not HEAVY & modules


def test_comparing_folders_needs_no_torch():
    program = "import sys, multiscale.comparison.page, multiscale.comparison.runs; print(*sys.modules)"
    assert not {"torch", "pytorch_lightning"} & loaded(program)


def test_a_training_begins_before_what_only_draws_or_compares_is_loaded(tmp_path):
    (tmp_path / "first.py").write_text(
        "import os, sys\nimport pytorch_lightning as pl\n"
        "class First(pl.Callback):\n"
        "    def on_train_batch_end(self, *rest):\n"
        "        before = ' '.join(sys.modules)\n"
        "        import matplotlib, scipy.signal\n"
        "        assert callable(scipy.signal.get_window)\n"
        "        print(); print(before, flush=True)\n"
        "        os._exit(0)\n"
    )
    words = [word for word in TINY if not word.startswith("logger=")]
    program = "from multiscale.run import main; main()"
    modules = loaded(program, *words, "+callbacks.first._target_=first.First", cwd=tmp_path)
    assert {"pytorch_lightning", "wandb"} <= modules
    assert not LATER & modules


def test_a_stand_in_is_gone_afterwards_and_stands_in_for_nothing_that_is_loaded():
    with stand_in("no_such_module", answer=42):
        import no_such_module
    assert no_such_module.answer == 42
    assert "no_such_module" not in sys.modules
    with stand_in("gc", answer=42):
        assert sys.modules["gc"] is gc


def test_python_looks_for_garbage_seldom_until_it_is_told_to_again():
    before = gc.get_threshold()
    try:
        cli.collect_seldom()
        assert gc.get_threshold()[0] == cli.SELDOM
        cli.collect_as_usual()
        assert gc.get_threshold() == cli.USUAL
    finally:
        gc.set_threshold(*before)
