"""What every test may use: the model files, small backbones built from them, and the command line."""

import logging
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from multiscale.config.compose import CONF, jobs
from multiscale.data.text_file import TextFile
from multiscale.run import main
from multiscale.training.build import build
from multiscale.training.module import SequenceModule

ROOT = Path(__file__).parent.parent
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
TINY = ["experiment=quick_look", "logger=csv", "+trainer.limit_train_batches=2", "+trainer.limit_val_batches=2"]
TINY += ["+trainer.limit_test_batches=2", "+trainer.enable_progress_bar=false", "~callbacks.progress"]


torch.set_num_threads(1)  # the networks of the tests are small


@cache
def model_config(model: str) -> DictConfig:
    """What a model file composes to, read once; whoever takes it must not write to it."""
    return jobs([f"model={model}"])[0].model


def backbone(model: str, input_size: int = 5, hidden_size: int = 13, kernel: str = "auto", **changes):
    """The backbone of a model file, at a small, odd width if it has one to choose, in float64, weights from seed 0."""
    torch.manual_seed(0)
    config = model_config(model)
    size = {"hidden_size": hidden_size} if "hidden_size" in config else {}
    return instantiate(OmegaConf.merge(config, {**size, **changes}), input_size=input_size).double().use(kernel)


TEXT = "the quick brown fox jumps over the lazy dog, again and again. " * 40


@pytest.fixture
def data(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    module = TextFile(str(tmp_path / "text.txt"), batch_size=4, steps=16)
    module.setup()
    return module


def network(data, *words: str) -> SequenceModule:
    torch.manual_seed(0)
    return build(jobs(["experiment=quick_look", *words])[0], data.facts)


def trainer(folder, **changes) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    settings = {"accelerator": "cpu", "max_epochs": 2, "default_root_dir": str(folder), **quiet}
    return pl.Trainer(**{**settings, **changes})


@pytest.fixture
def cli(tmp_path):
    """Run ``python -m multiscale.<module> ...`` in a fresh folder, without network and without a W&B key."""

    def call(*words: str, module: str = "run", cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
        return subprocess.run(
            [sys.executable, "-m", f"multiscale.{module}", *words],
            check=False,
            cwd=cwd,
            env={**inherited, "NETRC": str(tmp_path / "no-netrc"), "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=240,
        )

    return call


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """``cli("...")`` in this process, seconds quicker, for what a process of its own tells nothing more about."""

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])  # Hydra's would write to this test's output ever after

    def call(*words: str) -> subprocess.CompletedProcess:
        for name in [name for name in os.environ if name.startswith("WANDB")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["run", *words])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return call
