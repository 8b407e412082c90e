"""Every experiment is a complete recipe: two batches of it train, validate, test and end in a summary."""

import json
import math
import re
import sys

import pytest
from omegaconf import OmegaConf

from multiscale.checks import InvalidInput
from multiscale.config.compose import CONF, jobs
from multiscale.jobs.prepare import prepare
from multiscale.run import main
from multiscale.training.build import load
from tests.conftest import MODELS, ROOT
from tests.helpers import tiny

ENDS = ("word_ends", "phrase_ends", "sentence_ends")
DATA = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
FEW = [f"+trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]
QUIET = [
    "logger=csv",
    "trainer.max_epochs=1",
    "trainer.val_check_interval=1.0",
    "+trainer.enable_progress_bar=false",
    "~callbacks.progress",
]
QUIET += ["~callbacks.learning_rate", "model.hidden_size=24"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    tiny.data_sets(folder)
    return folder


@pytest.fixture
def run(files, tmp_path, monkeypatch):
    """A run of the command line in this process; its summary."""

    def call(*words: str) -> dict:
        monkeypatch.setenv("MULTISCALE_DATA", str(files))
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.chdir(files)
        monkeypatch.setattr(sys, "argv", ["run", *words, f"hydra.run.dir={tmp_path}/run", *QUIET, *FEW])
        main()
        return json.loads((tmp_path / "run/summary.json").read_text())

    return call


def test_every_data_set_has_its_experiment_and_its_small_form():
    assert set(DATA) <= {path.stem for path in (CONF / "experiment").glob("*.yaml")}
    assert set(DATA) == set(tiny.SMALL)


@pytest.mark.parametrize("name", DATA)
def test_an_experiment_runs_two_batches_and_tells_what_is_measured(run, name, capsys):
    summary = run(f"experiment={name}", "model=hmlstm", *tiny.SMALL[name])
    assert all(math.isfinite(value) for value in summary["test"].values())
    assert summary["val"]
    assert len(summary["data"]["sha256"]) == 64
    shown = capsys.readouterr().out
    for word in (*summary["test"], *summary["data"]["references"]):
        assert word.replace("/", " ") in shown


ALL = {str(path.relative_to(CONF / "experiment").with_suffix("")) for path in (CONF / "experiment").rglob("*.yaml")}
OTHERS = sorted(ALL - set(DATA))
ARMS = [name for name in OTHERS if "/" in name]
FIRST = sorted({name.split("/")[0]: name for name in reversed(ARMS)}.values())  # of each study: they differ in little


def small(name: str) -> list[str]:
    """The words that make an experiment's data small."""
    target = jobs([f"experiment={name}"])[0].data._target_
    data = next(choice for choice in DATA if OmegaConf.load(CONF / f"data/{choice}.yaml").get("_target_") == target)
    return tiny.SMALL[data]


@pytest.mark.parametrize(
    "name",
    [*(name for name in OTHERS if "/" not in name), *(pytest.param(name, marks=pytest.mark.slow) for name in FIRST)],
)
def test_an_experiment_with_a_model_of_its_own_runs_two_batches(run, name):
    summary = run(f"experiment={name}", *small(name))
    assert all(math.isfinite(value) for value in summary["test"].values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ARMS)
def test_every_arm_of_a_study_can_be_built_and_is_of_the_size_it_asks_for(files, monkeypatch, name):
    monkeypatch.setenv("MULTISCALE_DATA", str(files))
    monkeypatch.chdir(files)
    ready = prepare(jobs([f"experiment={name}", *small(name), "logger=csv", "++trainer.val_check_interval=1.0"])[0])
    assert ready.solved or ready.config.model.hidden_size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model"),
    [*(("adding", model) for model in MODELS), *(("frequency", model) for model in ("hmlstm", "learned_clock"))],
)
def test_any_model_runs_two_batches_of_sequences_with_one_target_and_with_many(run, name, model):
    size = ["model.hidden_size=24"] if "hidden_size" in jobs([f"model={model}"])[0].model else []
    summary = run(f"experiment={name}", f"model={model}", *tiny.SMALL[name], *size)
    assert all(math.isfinite(value) for value in summary["test"].values())
    assert 0 <= summary["macs"]["done"] <= summary["macs"]["dense"]


@pytest.mark.parametrize("name", DATA)
def test_an_experiment_takes_any_model(name):
    config = jobs([f"experiment={name}", "model=clockwork"])[0]
    assert set(config.model) == set(jobs(["model=clockwork"])[0].model)


@pytest.mark.parametrize("name", [name for name in DATA if "data.verify=false" in tiny.SMALL[name]])
def test_a_file_that_is_not_the_public_one_is_refused_by_its_checksum(run, name, capsys):
    words = [word for word in tiny.SMALL[name] if word != "data.verify=false"]
    with pytest.raises(SystemExit) as end:
        run(f"experiment={name}", *words)
    assert end.value.code == 2
    assert "MD5" in capsys.readouterr().err


def test_boundaries_are_scored_against_every_level_of_the_artificial_language(run, capsys):
    summary = run("experiment=artificial_language", *tiny.SMALL["artificial_language"])
    for reference in ENDS:
        assert f"f1_{reference}" in summary["levels"][0]
        assert f"f1_{reference}" in summary["levels"][1]
    told = capsys.readouterr().out.replace("_", " ")
    levels = summary["levels"][:2]
    gains = {r: max(level[f"f1_{r}"] - level[f"f1_{r}_random"] for level in levels) for r in ENDS}
    best = max(gains, key=gains.__getitem__).replace("_", " ")
    (heading,) = [line for line in told.splitlines() if "by entropy" in line]
    assert re.split("  +", heading.strip()) == [
        "level",
        f"F1, {best}",
        "at random",
        "by surprisal",
        "by entropy",
        "by symbol",
    ]
    assert max(map(len, told[told.index("level ") : told.index("figure ")].splitlines())) <= 80


@pytest.mark.parametrize("data", ["python_docs", "artificial_language"])
def test_a_matched_run_tells_the_size_and_the_cost_of_what_it_trained(run, data, tmp_path):
    words = [f"data={data}", "model=stacked_lstm", "match.target=30000"]
    summary = run("experiment=first_comparison", *words, *tiny.SMALL[data])
    assert summary["parameters"] == pytest.approx(30_000, rel=0.01)
    sizes = [level["units"] for level in summary["levels"]]
    kept = OmegaConf.load(tmp_path / "run/config.yaml")
    assert kept.model.hidden_size in (sizes, sizes[0])
    assert kept.match is None
    assert kept.choices.match == "parameters"
    assert load(tmp_path / "run/checkpoints/best.ckpt").recipe["config"]["model"] == kept.model
    assert summary["macs"]["done"] == summary["macs"]["dense"] > 4 * sizes[0] * (64 + sizes[0])
    assert summary["state_size"] == 2 * sum(sizes)


def test_a_missing_file_is_named_with_where_and_how(tmp_path, monkeypatch):
    from multiscale.data import language
    from multiscale.data.files import Remote

    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    gone = Remote("text8/text8", "0", "http://127.0.0.1:9/text8.zip", "text8")
    monkeypatch.setattr(language, "TEXT8", gone)
    with pytest.raises(InvalidInput) as error:
        prepare(jobs(["data=text8"])[0])
    message = str(error.value)
    for word in ("text8/text8 is missing", f"{tmp_path}/text8/text8", "Download http://127.0.0.1:9", "MULTISCALE_DATA"):
        assert word in message
    assert not message.startswith("data.")


def test_every_data_set_and_task_is_in_the_table_of_the_documentation():
    table = (ROOT / "docs/data.md").read_text()
    for name in (*DATA, *(path.stem for path in (CONF / "task").glob("*.yaml"))):
        assert f"`{name}`" in table
