"""Weights & Biases: what a run holds, read back with W&B's own tool, and everything that may go wrong with it."""

import csv
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
from PIL import Image

from multiscale.training.logging import wandb_log
from multiscale.training.logging.loggers import closing_lines, finish, log_image, log_table
from multiscale.training.logging.wandb_log import SafeWandb
from tests.conftest import ROOT, TINY

WANDB = ["model=clockwork", *(word for word in TINY if word != "logger=csv")]  # the quickest backbone
KEY = {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}  # where nothing listens
CHOICES = {"model": "hmlstm", "data": "python_docs", "head": "gated", "experiment": None}
START = {"project": "p", "name": "n", "monitor": "val/bpc", "choices": CHOICES, "group": "g", "tags": ["t"]}
OFFLINE = {**START, "mode": "offline"}


def inspect(folder, *words: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *words, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def summary(folder) -> dict:
    return json.loads(inspect(folder, "--summary"))


def records(folder, kind: str) -> list[dict]:
    lines = map(json.loads, inspect(folder).splitlines())
    return [line[kind] for line in lines if line["type"] == kind]


def rows(folder) -> list[dict]:
    """What was logged, call by call, without W&B's own keys."""
    items = [record["item"] for record in records(folder, "history")]
    return [{key: value for key, value in item.items() if not key.startswith("_")} for item in items]


def fragments(folder) -> list[Path]:
    """The offline runs of a folder, in the order of their beginning."""
    return sorted(folder.glob("wandb/offline-run-*"), key=lambda path: path.name)


@pytest.fixture
def logger(tmp_path, monkeypatch):
    """Makes W&B loggers in one folder, as one training and those that resume it do."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    yield lambda **changes: SafeWandb(str(tmp_path), **{**OFFLINE, **changes})
    wandb.teardown()


def said(caplog) -> list[str]:
    return [record.message for record in caplog.records if record.name == wandb_log.__name__]


@pytest.mark.slow
def test_a_sweep_is_one_wandb_run_a_job_grouped_by_configuration(cli, tmp_path):
    done = cli("-m", "seed=0,1", *WANDB)
    assert done.returncode == 0, done.stderr
    assert "wandb" not in done.stderr.lower()  # without a key it is offline, and says nothing
    groups, seeds = set(), []
    for folder in sorted(path.parent for path in tmp_path.rglob("summary.json")):
        written = json.loads((folder / "summary.json").read_text())
        (fragment,) = fragments(folder)
        kept, (run,) = summary(fragment), records(fragment, "run")
        assert done.stdout.count(shlex.join(["wandb", "sync", str(fragment)])) == 1
        assert kept["state"] == "finished"
        assert kept["name"] == f"clockwork-seed{written['seed']}"
        assert kept["run_id"] == (folder / "wandb_id.txt").read_text().strip()
        assert kept["tags"] == ["clockwork", "python_docs", "gated", "quick_look"]
        assert run["job_type"] == "quick_look"
        assert kept["config"]["seed"] == written["seed"]
        assert kept["config"]["machine"] == written["machine"]
        assert kept["config"]["model"]["_target_"].startswith("multiscale.")
        groups.add(run["run_group"])
        seeds.append(written["seed"])
        assert kept["summary"]["test/bpc"] == pytest.approx(written["test"]["test/bpc"])
        assert kept["summary"]["val/bpc"] == {"min": pytest.approx(written["val"]["val/bpc"])}
        shown = {key for key, value in kept["summary"].items() if isinstance(value, dict) and "filenames" in value}
        assert shown == {f"figures/{path.stem}" for path in (folder / "figures").glob("*.png")}
        assert list(fragment.rglob("media/images/figures/*.png"))
        assert kept["summary"]["summary"]["nrows"] == 1
        assert kept["summary"]["cost/parameters"] == written["parameters"]
        curves = {key for row in rows(fragment) for key in row}
        assert {"val/bpc", "trace/update_1", "trace/update_8", "lr-Adam/pg1"} <= curves
        assert all("trainer/global_step" in row for row in rows(fragment))
    assert seeds == [0, 1]
    (group,) = groups
    assert re.fullmatch("clockwork-python_docs-[0-9a-f]{6}", group)


def test_learned_periods_arrive_as_curves(logger, tmp_path):
    mine = logger()
    for epoch in range(3):
        mine.log_metrics({"trace/period_1": 4.0 + epoch, "trace/update_1": 0.5, "epoch": epoch}, step=10 * epoch)
    finish([mine])
    (fragment,) = fragments(tmp_path)
    assert [(row["trainer/global_step"], row["trace/period_1"]) for row in rows(fragment)] == [(0, 4), (10, 5), (20, 6)]


def test_the_summary_holds_the_best_and_a_sweep_finds_it_as_a_number(logger, tmp_path):
    mine = logger()
    for step, (bpc, accuracy) in enumerate([(3.0, 0.1), (1.0, 0.7), (2.0, 0.4)]):
        mine.log_metrics({"val/bpc": bpc, "val/accuracy": accuracy, "trace/f1_1": accuracy, "x": bpc}, step)
    finish([mine])
    kept = summary(fragments(tmp_path)[0])["summary"]
    assert kept["val/bpc"] == {"min": 1.0}
    assert kept["val/accuracy"] == kept["trace/f1_1"] == {"max": 0.7}
    assert (kept["best/bpc"], kept["x"]) == (1.0, 2.0)


def test_a_resumed_run_is_the_same_run_and_sends_no_row_twice(logger, tmp_path):
    first = logger()
    for step in range(4):
        first.log_metrics({"val/bpc": 1.0 + step}, step)
    finish([first], interrupted=True)
    (tmp_path / "metrics.csv").write_text("epoch,step,val/bpc\n0,0,1.0\n0,1,2.0\n0,2,\n")
    second = logger()
    second.begin(rows=2, again=2)  # it starts again from step 2, and steps 2 and 3 were sent
    for step in range(2, 6):
        second.log_metrics({"val/bpc": 1.0 + step}, step)
    finish([second])
    before, after = fragments(tmp_path)
    (identity,) = {summary(path)["run_id"] for path in (before, after)}
    assert identity == (tmp_path / "wandb_id.txt").read_text().strip()
    assert [row["trainer/global_step"] for path in (before, after) for row in rows(path)] == list(range(6))
    assert rows(after)[-1]["best/bpc"] == 1.0
    assert records(after, "run")[0]["resume"]
    assert closing_lines([second]) == [shlex.join(["wandb", "sync", *map(str, fragments(tmp_path))])]


def test_who_owns_a_run_what_it_is_about_and_its_best_weights_are_sent_if_asked(logger, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/best.ckpt").write_bytes(b"weights")
    log = logger(entity="team", notes="a note", send_best=True)
    log.log_metrics({"val/bpc": 1.0}, 1)
    log.finish("finished")
    (run,) = records(fragments(tmp_path)[0], "run")
    assert (run["entity"], run["notes"]) == ("team", "a note")
    (artifact,) = records(fragments(tmp_path)[0], "artifact")
    assert (artifact["type"], artifact["manifest"]["contents"][0]["path"]) == ("model", "best.ckpt")


@pytest.mark.parametrize(
    ("how", "state", "code"), [({}, "finished", 0), ({"failed": True}, "failed", 1), ({"interrupted": True}, None, 143)]
)
def test_a_run_ends_in_the_state_of_its_training(logger, tmp_path, how, state, code):
    mine = logger()
    mine.log_metrics({"val/bpc": 1.0}, 0)
    finish([mine], **how)
    (fragment,) = fragments(tmp_path)
    assert summary(fragment)["exit_code"] == code
    assert bool(records(fragment, "preempting")) == ("interrupted" in how)
    assert state in (None, summary(fragment)["state"])


def test_pictures_and_tables_are_kept_small(logger, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_log, "IMAGES", 3)
    mine = logger()
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (2001 + number, 100)).save(path)
        log_image([mine], "figures/raster", path)
    log_table([mine], "long", {"a": [str(n) for n in range(1200)], "b": ["x"] * 1200})
    finish([mine])
    (fragment,) = fragments(tmp_path)
    pictures = sorted(fragment.rglob("*.png"))
    assert len(pictures) == 3
    assert {Image.open(path).width for path in pictures} == {1600}
    (table,) = fragment.rglob("*.table.json")
    data = json.loads(table.read_text())["data"]
    assert (len(data), data[0], data[-1]) == (1000, ["0", "x"], ["201 more rows were left out", ""])


def test_the_last_picture_of_many_is_sent(logger, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_log, "IMAGES", 2)
    mine = logger()
    for width in (10, 20, 30, 40):
        Image.new("RGB", (width, 5)).save(tmp_path / f"{width}.png")
        log_image([mine], "figures/raster", tmp_path / f"{width}.png")
    finish([mine])
    assert [row["figures/raster.width"] for row in rows(fragments(tmp_path)[0])] == [10, 40]


@pytest.mark.slow
def test_without_the_package_a_run_is_what_it_is_without_wandb(cli, tmp_path):
    (tmp_path / "absent/wandb").mkdir(parents=True)
    (tmp_path / "absent/wandb/__init__.py").write_text("raise ImportError('No module named wandb')\n")
    done = cli(*WANDB, "hydra.run.dir=here", PYTHONPATH=os.pathsep.join([str(tmp_path / "absent"), str(ROOT)]))
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("Weights & Biases") == 1
    assert "wandb sync" not in done.stdout
    assert (tmp_path / "here/summary.json").exists()


def test_a_server_out_of_reach_is_one_warning_and_an_offline_run(logger, tmp_path, monkeypatch, caplog, capfd):
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)
    mine = logger(mode="online", timeout=1.0)
    with caplog.at_level(logging.WARNING):
        mine.log_metrics({"val/bpc": 1.0}, 0)
        finish([mine])
    (message,) = said(caplog)
    assert "offline" in message
    (fragment,) = fragments(tmp_path)
    assert [row["val/bpc"] for row in rows(fragment)] == [1.0]
    assert closing_lines([mine]) == [shlex.join(["wandb", "sync", str(fragment)])]
    assert capfd.readouterr() == ("", "")


def test_a_wandb_that_cannot_start_is_one_warning(logger, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    mine = logger(mode="auto")
    mine.log_hyperparams({"seed": 0})
    mine.log_metrics({"val/bpc": 1.0}, 0)
    finish([mine])
    (message,) = said(caplog)
    assert "Weights & Biases is off" in message
    assert closing_lines([mine]) == []


def logged(folder) -> list[int]:
    """The step of every row of metrics.csv."""
    if not (folder / "metrics.csv").exists():
        return []
    with (folder / "metrics.csv").open() as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["step"]]
