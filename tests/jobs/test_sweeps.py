"""Files for `wandb sweep`, and the W&B dashboard: nothing here needs a network."""

import subprocess
import sys

import pytest
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args, load_sweep_config

from multiscale.config.compose import CONF, compose_jobs, jobs, read_line
from multiscale.jobs.prepare import check_jobs
from tests.conftest import MODELS, ROOT, TINY

SWEEPS = sorted((CONF / "sweep").glob("*.yaml"))
KEYS = {"name", "project", "program", "command", "method", "metric", "parameters", "run_cap", "early_terminate"}
RANGES = {"log_uniform_values": float, "int_uniform": int}


def values(parameter: dict) -> list:
    """What a parameter may be: every value, or both ends of its range."""
    if "distribution" in parameter:
        assert parameter.keys() == {"distribution", "min", "max"}
        ends = [parameter["min"], parameter["max"]]
        assert all(type(end) is RANGES[parameter["distribution"]] for end in ends)
        assert 0 < ends[0] < ends[1]
        return ends
    return parameter["values"] if "values" in parameter else [parameter["value"]]


def line(config: dict, end: int) -> list[str]:
    """The command line that W&B's agent makes of the first or the last value of every parameter."""
    picked = {key: {"value": values(given)[end]} for key, given in config["parameters"].items()}
    given = {**create_sweep_command_args({"args": picked}), "env": ["/usr/bin/env"], "interpreter": ["python"]}
    made = [given[word[2:-1]] if word.startswith("${") else [word] for word in create_sweep_command(config["command"])]
    return [word for words in made for word in words]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_expands_to_runs_that_compose_and_build(path):
    config = load_sweep_config(str(path))
    assert config.keys() <= KEYS
    assert config["method"] in ("grid", "random", "bayes")
    assert (ROOT / config["program"]).exists()
    for end in (0, -1):
        words = line(config, end)
        assert words[:4] == ["/usr/bin/env", "python", "-m", "multiscale.run"]
        asked = read_line(words[4:])
        check_jobs(compose_jobs(asked.words, several=asked.sweeps))
    for key, parameter in config["parameters"].items():
        for value in values(parameter):
            jobs([f"{key}={value}"])


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_minimises_what_the_logger_sends(path):
    config = load_sweep_config(str(path))
    monitor = jobs(line(config, 0)[4:])[0].task.monitor
    assert config["metric"] == {"name": monitor.replace("val/", "best/"), "goal": "minimize"}


def test_sweeps_compare_backbones_by_seed_and_search_rates_and_sizes():
    configs = [load_sweep_config(str(path)) for path in SWEEPS]
    grid = next(config for config in configs if config["method"] == "grid")
    assert {"hmlstm", "stacked_lstm"} <= set(values(grid["parameters"]["model"])) <= set(MODELS)
    assert len(values(grid["parameters"]["seed"])) > 1
    bayes = next(config for config in configs if config["method"] == "bayes")
    assert {"optim.optimizer.lr", "model.hidden_size"} <= bayes["parameters"].keys()


@pytest.mark.slow
def test_what_an_agent_starts_runs(cli, tmp_path):
    words = line(load_sweep_config(str(CONF / "sweep/lr_and_size.yaml")), 0)
    done = cli(*words[4:], *TINY)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("summary.json"))


def dashboard(*words: str) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "experiments.wandb_workspace", *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_the_dashboard_can_be_seen_without_an_account():
    shown = dashboard("dry_run=true")
    assert shown.returncode == 0, shown.stderr
    sections = [text for text in shown.stdout.splitlines() if not text.startswith(" ")]
    assert sections == ["scores", "boundaries", "clocks", "cost"]
    for word in ("best/bpc", "best/error", "figures/boundaries", "trace/period_.*", "trace/operations"):
        assert word in shown.stdout


def test_a_dashboard_of_nobody_is_a_mistake():
    refused = dashboard("project=p")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "entity must be given" in refused.stderr
