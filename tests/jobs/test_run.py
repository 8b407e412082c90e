"""The command line, as a user calls it: runs, sweeps, mistakes, W&B, a backbone of one's own."""

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from multiscale.config.compose import compose_jobs
from multiscale.jobs import train
from multiscale.jobs.sweep import conclude, name_folders
from multiscale.runs import status
from multiscale.training.logging.csv_log import CSVLog
from tests.conftest import ROOT, TEXT, TINY

CLOCK = ["model=clockwork", *TINY]  # the quickest backbone


def one_cycle() -> list[float]:
    """Six rates of torch's own."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.003, total_steps=6)
    rates = []
    for _ in range(6):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    return rates


def folders(root) -> list:
    return sorted(path.parent for path in root.rglob("summary.json"))


@pytest.mark.parametrize(("model", "way"), [("hmlstm", "cli"), ("stacked_lstm", "here"), ("learned_clock", "here")])
def test_a_run_ends_with_a_table_figures_metrics_and_two_checkpoints(request, tmp_path, model, way):
    done = request.getfixturevalue(way)(f"model={model}", *TINY)
    assert done.returncode == 0, done.stderr
    (folder,) = folders(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    for word in ("test bpc", "parameters", "updates per step", "kernel", " s for 1 epoch\n", *summary["figures"]):
        assert word in re.sub(" +\n", "\n", done.stdout)
    assert "site-packages" not in done.stdout + done.stderr  # no library warns of what a user did not do
    assert ("boundaries per step" in done.stdout) == (model == "hmlstm")
    assert len(summary["data"]["sha256"]) == 64
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert figures == {"raster"} | {"hmlstm": {"boundaries"}, "learned_clock": {"periods"}}.get(model, set())
    page = (folder / "watch.html").read_text()
    assert all(f"figures/{name}.png" in page for name in figures)
    assert f"watch       {folder / 'watch.html'}\n" in done.stdout
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert any(row["val/bpc"] for row in rows)
    names = {"best.ckpt", "last.ckpt"}
    assert {path.name for path in (folder / "checkpoints").iterdir()} == names
    for path in (folder / "checkpoints").glob("*.ckpt"):
        assert torch.load(path, weights_only=True)["recipe"]["config"]["model"]["_target_"].startswith("multiscale.")


def test_last_is_the_last_epoch_and_best_the_best(here, tmp_path):
    # At this rate of learning the second epoch is worse than the first.
    words = ["trainer.max_epochs=3", "optim.optimizer.lr=0.003", "optim.scheduler.factor=0.999"]
    done = here(*CLOCK, *words, "+callbacks.spoil._target_=tests.helpers.spoil.Spoil")
    assert done.returncode == 0, done.stderr
    (folder,) = folders(tmp_path)
    saved = {p.stem: torch.load(p, weights_only=True) for p in (folder / "checkpoints").glob("*.ckpt")}
    epochs = {name: checkpoint["epoch"] for name, checkpoint in saved.items()}
    scores = [float(row["val/bpc"]) for row in csv.DictReader((folder / "metrics.csv").open()) if row["val/bpc"]]
    assert epochs == {"best": scores.index(min(scores)), "previous": 2, "last": 3}  # epochs that are over
    assert epochs["best"] < 2
    assert json.loads((folder / "summary.json").read_text())["val"]["val/bpc"] == pytest.approx(min(scores))


def test_the_same_seed_gives_the_same_summary_and_another_seed_another(cli, here, tmp_path):
    scores = {}
    for number, (call, seed) in enumerate([(cli, 5), (here, 5), (here, 6)]):
        assert call(*CLOCK, f"seed={seed}", f"hydra.run.dir={tmp_path}/{number}").returncode == 0
        scores[number] = json.loads((tmp_path / str(number) / "summary.json").read_text())["test"]
    assert scores[0] == scores[1] != scores[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["modle=hmlstm"], "Did you mean 'model'?"),
        (["data=pythn_docs"], "Did you mean 'python_docs'?"),
        (["data=text_file", "data.path=nowhere.txt"], "'nowhere.txt': No such file"),
        (["model.hidden_size=-1"], "model.hidden_size must be a whole number of at least 1; got -1"),
        (["-m", "model=hmlstm,clockwrk"], "Did you mean 'clockwork'?"),
    ],
)
def test_a_mistake_is_one_message_exit_code_2_and_no_folder(here, tmp_path, words, message):
    done = here(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_mistake_found_late_is_one_message_too(here, tmp_path):
    done = here(*CLOCK, "callbacks.boundaries.reference=wordends")
    assert done.returncode == 2
    assert "Did you mean 'word_ends'?" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_help_names_every_group_and_choice(cli):
    shown = cli("--help").stdout
    for word in (
        "model: ",
        "clockwork, ",
        "hmlstm, ",
        "python_docs",
        "logger: csv, mlflow, tensorboard, wandb",
        "python -m multiscale.run",
    ):
        assert word in shown


@pytest.mark.slow
def test_two_processes_train_as_one(cli, here, tmp_path):
    words = [*CLOCK, "+trainer.limit_val_batches=null", "+trainer.limit_test_batches=null"]
    words = [w for w in words if not w.startswith(("+trainer.limit_val_batches=2", "+trainer.limit_test_batches=2"))]
    (tmp_path / "text.txt").write_text(TEXT * 4)
    words += ["data=text_file", f"data.path={tmp_path}/text.txt", "data.batch_size=4", "data.split=[0.6,0.2,0.2]"]
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    for call, name, more in ((here, "1", []), (cli, "2", two)):
        done = call(*words, *more, f"hydra.run.dir={tmp_path}/{name}")
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / n / "summary.json").read_text()) for n in "12")
    assert one["test"]["test/bpc"] == pytest.approx(two["test"]["test/bpc"], rel=1e-4)


TOY = """
import torch
from torch import nn
from multiscale.backbones.base import Backbone, StepTrace

class Toy(Backbone):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, (hidden_size,))
        self.mix = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size, device, dtype):
        return torch.zeros(batch_size, *self.level_sizes, device=device, dtype=dtype)

    def step(self, x_t, state):
        h = 0.5 * state + 0.5 * torch.tanh(self.mix(torch.cat([x_t, state], 1)))
        return (h,), h, StepTrace(torch.full_like(h[:, :1], 0.5))
"""


def test_a_new_backbone_is_one_python_file_and_one_yaml(cli, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(ROOT / "multiscale", project / "multiscale")
    shutil.copytree(ROOT / "conf", project / "conf")
    (project / "multiscale/backbones/toy.py").write_text(TOY)
    (project / "conf/model/toy.yaml").write_text("_target_: multiscale.backbones.toy.Toy\nhidden_size: 20\n")
    done = cli("model=toy", *TINY, cwd=project, PYTHONPATH=str(project))
    assert done.returncode == 0, done.stderr
    (folder,) = folders(project)
    assert json.loads((folder / "summary.json").read_text())["levels"][0]["update"] == pytest.approx(0.5)


def test_a_backbone_may_also_live_in_a_package_of_the_users(cli, tmp_path):
    (tmp_path / "mine.py").write_text(TOY)
    (tmp_path / "extra/model").mkdir(parents=True)
    (tmp_path / "extra/model/toy.yaml").write_text("_target_: mine.Toy\nhidden_size: 20\n")
    done = cli("--config-dir", "extra", "model=toy", *TINY)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optim.optimizer.lr=1e-3,1e-2"], "_lr${optim.optimizer.lr}"),
        (["head=concat,gated"], "_head${hydra:runtime.choices.head}"),
        (["seed=0,1", "model=hmlstm,stacked_lstm"], ""),  # they are in the name
        (["model.hidden_size=[8,8,8],16"], ""),  # no name of a folder
    ],
)
def test_the_folders_of_a_sweep_tell_what_it_is_over(tmp_path, words, told):
    words = [*words, f"hydra.sweep.dir={tmp_path}"]
    jobs = compose_jobs(words, multirun=True)
    assert name_folders(jobs, words) == ["++hydra.sweep.subdir=${hydra.job.num}_${name}_seed${seed}" + told]
    assert name_folders(jobs, [*words, "hydra.sweep.subdir=${seed}"]) == []
    (tmp_path / "multirun.yaml").write_text("hydra: {overrides: {task: [], hydra: []}}")
    assert name_folders(jobs, words) == []  # begun before, when folders told nothing


def test_the_offline_runs_of_a_sweep_are_sent_by_one_line(tmp_path, capsys):
    for job in ("0_a", "1_b"):
        (tmp_path / "a sweep" / job).mkdir(parents=True)
        (tmp_path / "a sweep" / job / "config.yaml").touch()
    sent = tmp_path / "a sweep/1_b/wandb/offline-run-1-x"
    sent.mkdir(parents=True)
    (sent / "run.wandb").touch()
    line = f"send all: wandb sync '{tmp_path}/a sweep'/*/wandb/offline-run-*\n"
    conclude(tmp_path / "a sweep", 0, 2, [])
    assert line in capsys.readouterr().out
    (sent / "run.wandb.synced").touch()
    conclude(tmp_path / "a sweep", 0, 2, [])
    assert "wandb sync" not in capsys.readouterr().out


RATES = {  # at the start of each of three epochs of two steps
    "scheduler=none optim=sgd": [0.3, 0.3, 0.3],
    "scheduler=cosine optim=adamw": [0.003 * (1 + math.cos(math.pi * epoch / 3)) / 2 for epoch in range(3)],
    "scheduler=warmup optim.scheduler.total_iters=4 optim.scheduler.start_factor=0.5": [0.0015, 0.00225, 0.003],
    "optim.scheduler.threshold=1 trainer.val_check_interval=4 trainer.check_val_every_n_epoch=null": [0.003] * 2
    + [0.0015],
    "scheduler=one_cycle optim.interval=step optim.scheduler.total_steps=6": one_cycle()[::2],
}


@pytest.mark.parametrize("words", RATES)
def test_a_rate_goes_as_its_schedule_says(here, tmp_path, words):
    done = here("model=rnn", *TINY, "trainer.max_epochs=3", *words.split())
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("metrics.csv")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if any(row[key] for key in row if key.startswith("lr-"))]
    told = [float(next(row[key] for key in row if key.startswith("lr-"))) for row in rows]
    assert told == pytest.approx(RATES[words])


def test_early_stopping_and_the_debugging_groups_run(here, tmp_path):
    words = [word for word in TINY if "limit_" not in word]
    done = here("model=rnn", *words, "debug=profiler", "callbacks=early_stopping", "scheduler=none")
    assert done.returncode == 0, done.stderr
    (profile,) = tmp_path.rglob("fit-profile.txt")
    assert f"profile     {profile}" in done.stdout
    assert "training_step" in profile.read_text()
    (folder,) = folders(tmp_path)
    config = OmegaConf.load(folder / "config.yaml")
    assert config.optim.scheduler is None
    assert config.callbacks.early_stopping.monitor == "val/bpc"


def test_what_was_never_measured_is_told_and_weights_are_averaged_by_words(here, tmp_path):
    mean = "+callbacks.mean._target_=pytorch_lightning.callbacks.WeightAveraging"
    words = ["model=rnn", *TINY, mean, "+callbacks.mean.use_buffers=false", "callbacks=early_stopping"]
    done = here(
        *words,
        "callbacks.early_stopping.monitor=trace/f1_1",
        "callbacks.early_stopping.strict=true",
        "trainer.limit_test_batches=0",
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^early stopping +trace/f1_1 was never measured *$", done.stdout, re.MULTILINE)
    assert re.search(r"^val bpc +\d", done.stdout, re.MULTILINE)
    (folder,) = folders(tmp_path)
    last, best = (torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True) for name in ("last", "best"))
    assert last["averaging_state"]["n_averaged"] == 2
    assert all(torch.equal(best["state_dict"][key], value) for key, value in last["state_dict"].items())


def test_what_a_logger_waits_for_is_no_time_of_the_run(here, tmp_path, monkeypatch):
    late = [0.0]
    monkeypatch.setattr(status, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + late[0]))
    monkeypatch.setattr(CSVLog, "log_hyperparams", lambda *_: late.append(late.pop() + 1000))
    assert here("model=rnn", *TINY).returncode == 0
    (folder,) = folders(tmp_path)
    assert json.loads((folder / "summary.json").read_text())["seconds"] < 500


def test_no_validation_is_told_whatever_waits_for_one(here):
    words = [
        "model=rnn",
        *TINY,
        "callbacks=early_stopping",
        "+trainer.max_steps=1",
        "+trainer.check_val_every_n_epoch=9",
    ]
    done = here(*words)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^val/bpc +not measured: no validation ran *$", done.stdout, re.MULTILINE)
    assert re.search(r"^early stopping +val/bpc was never measured *$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("door", ["run", "compare"])
def test_who_reads_the_help_may_stop_early(door):
    words = [sys.executable, "-m", f"multiscale.{door}", "--help"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_numbers_too_small_to_matter_are_0_while_a_run_trains_and_only_then(here, monkeypatch):
    small, seen = torch.tensor([1e-20]), []
    monkeypatch.setattr(train, "_train", lambda *_: seen.append((small * small).item()) or 0.0)
    here(*CLOCK)
    assert seen == [0.0]
    assert (small * small).item() > 0
