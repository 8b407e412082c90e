"""Words, config, prepared, run folder, summary: each is made once."""

import functools
import sys
from collections import Counter

import pytest
import pytorch_lightning as pl
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from multiscale.analysis.figures import Figures
from multiscale.backbones.hmlstm import HMLSTM
from multiscale.config import hydra_internals
from multiscale.data.text_file import TextFile
from multiscale.run import main
from multiscale.training.logging.csv_log import CSVLog
from multiscale.training.module import SequenceModule
from tests.conftest import TEXT, TINY

COUNTED = {
    "composed": (ConfigLoaderImpl, "load_configuration"),
    "read": (TextFile, "read"),
    "network": (HMLSTM, "__init__"),
    "module": (SequenceModule, "__init__"),
    "trainer": (pl.Trainer, "__init__"),
    "callback": (Figures, "__init__"),
    "logger": (CSVLog, "__init__"),
}


@pytest.fixture
def counts(monkeypatch) -> Counter:
    """How often each of COUNTED was called."""
    counted: Counter = Counter()
    for name, (kind, method) in COUNTED.items():
        original = getattr(kind, method)

        @functools.wraps(original)
        def call(*args, name=name, original=original, **kwargs):
            counted[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(kind, method, call)
    return counted


def test_a_run_makes_everything_once(counts, tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text(TEXT)
    words = [*TINY, "data=text_file", f"data.path={tmp_path}/text.txt", "data.batch_size=4", "data.steps=16"]
    monkeypatch.setattr(sys, "argv", ["run", *words, f"hydra.run.dir={tmp_path}/run"])
    main()
    assert (tmp_path / "run/summary.json").exists()
    assert counts == dict.fromkeys(COUNTED, 1)


def test_what_hydra_keeps_to_itself_is_where_it_was():
    """Private names of Hydra that are used: an upgrade that moves them breaks this first."""
    options = {option for action in hydra_internals.make_parser()._actions for option in action.option_strings}
    assert {"--multirun", "--config-dir", "--cfg", "--config-name", "--experimental-rerun"} <= options
    assert {"on_run_start", "on_run_end", "on_job_start"} <= set(dir(hydra_internals.Callbacks))
