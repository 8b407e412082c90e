"""Hyper-parameter search: several workers, kills, resumption, failures, mistakes; most with a made-up objective."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.study import Study
from optuna.trial import Trial, TrialState
from rich.console import Console

from multiscale.checks import InvalidInput
from multiscale.jobs import study
from multiscale.jobs.plan import Plan, distribution, overrides
from multiscale.jobs.study import KILLED, STOPPED, Search, TrialFailed, number, reason, run_trial
from multiscale.runs.folder import InUse, held
from multiscale.search import report
from tests.conftest import ROOT, TEXT, TINY

SPACE = {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "size": {"low": 3, "high": 11, "step": 2}, "head": ["a", "b"]}
PLAN = Plan("s", 6, "tpe", 0, 3, {key: distribution(key, given) for key, given in SPACE.items()}, ("model=x",))


def quick(number: int, words: list[str]) -> float:
    """Least at lr = 0.002, size = 7, head = a."""
    given = dict(word.split("=") for word in words)
    return abs(float(given["lr"]) - 0.002) * 100 + abs(int(given["size"]) - 7) + (given["head"] == "b")


def searched(folder, objective=quick, **changes) -> Search:
    search = Search(folder, replace(PLAN, **changes), objective)
    search.work()
    return search


def test_a_search_tries_what_its_space_allows_and_finds_the_best(tmp_path):
    search = searched(tmp_path, trials=8)
    trials = search.ended_trials()
    assert [trial.value for trial in trials] == sorted(quick(0, overrides(trial.params)) for trial in trials)
    for trial in trials:
        assert 1e-4 <= trial.params["lr"] <= 1e-2
        assert trial.params["size"] in (3, 5, 7, 9, 11)
        assert trial.params["head"] in ("a", "b")
    assert trials[0].number == search.study.best_trial.number


def test_a_resumed_search_asks_what_an_unbroken_one_asks(tmp_path):
    whole = searched(tmp_path / "whole")
    searched(tmp_path / "parts", trials=2)
    searched(tmp_path / "parts", trials=4)
    parts = searched(tmp_path / "parts")
    assert [t.params for t in parts.study.trials] == [t.params for t in whole.study.trials]
    assert len({str(trial.params) for trial in parts.study.trials}) == len(parts.study.trials) == 6
    other = searched(tmp_path / "other", seed=100)
    assert [t.params for t in other.study.trials] != [t.params for t in whole.study.trials]


def test_a_failing_trial_is_told_with_its_reason_and_the_search_goes_on(tmp_path):
    def objective(number: int, words: list[str]) -> float:
        if number == 1:
            raise TrialFailed("exit code 2: no such thing")
        return float("nan") if number == 2 else quick(number, words)

    search = searched(tmp_path, objective, trials=5)
    reasons = {trial.number: trial.user_attrs.get("reason") for trial in search.study.trials}
    assert reasons == {0: None, 1: "exit code 2: no such thing", 2: "its value is not a number", 3: None, 4: None}
    assert [trial.state for trial in search.study.trials[1:3]] == [TrialState.FAIL] * 2
    assert [trial.number for trial in search.ended_trials()[-2:]] == [1, 2]


def test_a_stopped_trial_is_told_and_made_again(tmp_path):
    def objective(number: int, words: list[str]) -> float:
        if number == 1:
            raise KeyboardInterrupt
        return quick(number, words)

    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, objective, trials=3)
    search = searched(tmp_path, trials=3)
    first, stopped, again, *_ = search.study.trials
    assert (stopped.state, stopped.user_attrs["reason"]) == (TrialState.FAIL, STOPPED)
    assert again.params == stopped.params
    assert [trial.number for trial in search.study.trials if trial.value is not None] == [0, 2, 3]
    assert first.state == TrialState.COMPLETE


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("place", ["first value", "second value", "number", "lock", "told"])
def test_a_search_that_is_killed_anywhere_asks_what_an_unbroken_one_asks(tmp_path, monkeypatch, place, sampler):
    made: dict[str, list] = {"whole": [], "parts": []}

    def objective(where):
        return lambda number, words: made[where].append((number, words)) or quick(number, words)

    searched(tmp_path / "whole", objective("whole"), sampler=sampler)
    calls = iter(range(1000))

    def dies(when):
        return lambda method: lambda *given, **more: killed() if next(calls) == when else method(*given, **more)

    def killed():
        raise KeyboardInterrupt

    owner, name, when = {
        "first value": (Trial, "_suggest", 6),
        "second value": (Trial, "_suggest", 7),
        "number": (Trial, "set_user_attr", 2),
        "lock": (Search, "_trial_lock", 2),
        "told": (Study, "tell", 2),
    }[place]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dies(when)(getattr(owner, name)))
        patch.setattr(Search, "_fail", lambda *_: None)  # a killed worker leaves no word
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "parts", objective("parts"), sampler=sampler)
    assert len(made["parts"]) == (3 if place == "told" else 2)
    searched(tmp_path / "parts", objective("parts"), sampler=sampler)
    if place == "told":
        assert made["parts"].pop(2) == made["parts"][2]
    assert made["parts"] == made["whole"]
    assert [number for number, _ in made["parts"]] == [*range(6)]


def test_two_workers_share_the_trials_of_one_study(tmp_path):
    made, both = [], threading.Barrier(2)

    def objective(number: int, words: list[str]) -> float:
        if number < 2:
            both.wait(20)  # a trial of each worker is under way at once
        made.append((number, threading.get_ident()))
        return quick(number, words)

    searches = [Search(tmp_path, PLAN, objective) for _ in range(2)]
    workers = [threading.Thread(target=search.work) for search in searches]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(number for number, _ in made) == list(range(6))
    assert len({worker for _, worker in made}) == 2
    assert len({str(trial.params) for trial in searches[0].ended_trials()}) == 6


WORKER = """
import sys, time
from pathlib import Path
from tests.jobs.test_search import PLAN, quick
from multiscale.jobs.study import Search

def objective(number, words):
    if number == 2:
        print("under way", flush=True)
        time.sleep(60)
    return quick(number, words)

Search(Path(sys.argv[1]), PLAN, objective).work()
"""


@pytest.mark.slow
def test_the_trial_of_a_killed_worker_is_failed_and_made_again(tmp_path):
    words = [sys.executable, "-c", WORKER, str(tmp_path)]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as worker:
        assert worker.stdout.readline() == b"under way\n"
        other = Search(tmp_path, replace(PLAN, trials=3), quick)
        other.work()  # leaves the trial that is under way alone
        assert [trial.state for trial in other.study.trials][2] == TrialState.RUNNING
        worker.kill()
    search = searched(tmp_path)
    killed, again = search.study.trials[2:4]
    assert (killed.state, reason(killed)) == (TrialState.FAIL, KILLED)
    assert number(killed) == number(again) == 2
    assert (again.params, again.state) == (killed.params, TrialState.COMPLETE)
    assert len([trial for trial in search.study.trials if trial.state == TrialState.COMPLETE]) == 6


def test_a_study_of_something_else_is_refused(tmp_path):
    searched(tmp_path, trials=1)
    with pytest.raises(InvalidInput, match="another command line"):
        Search(tmp_path, replace(PLAN, words=("model=y",)), quick)
    with pytest.raises(InvalidInput, match="another space"):
        Search(tmp_path, replace(PLAN, space={"lr": PLAN.space["lr"]}), quick)


def test_without_optuna_the_error_says_what_to_install(cli, tmp_path):
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent/optuna.py").write_text("raise ImportError('No module named optuna')\n")
    path = os.pathsep.join([str(tmp_path / "absent"), str(ROOT)])
    done = cli("search=reading", module="search", PYTHONPATH=path)
    assert done.returncode == 2
    assert "pip install 'multiscale-rnn[search]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_that_fails_is_a_failed_trial_with_its_error(tmp_path):
    words = ["experiment=quick_look", "logger=csv", "data=text_file", f"data.path={tmp_path}/none.txt"]
    with pytest.raises(TrialFailed, match=r"exit code 2: .*none.txt"):
        run_trial(tmp_path / "trial_000", words)
    assert "none.txt" in (tmp_path / "trial_000/output.txt").read_text()
    with pytest.raises(TrialFailed, match="Did you mean 'model'"):
        run_trial(tmp_path / "trial_001", ["modle=hmlstm"])
    assert not (tmp_path / "trial_001").exists()


@pytest.mark.slow
def test_the_run_of_a_trial_that_is_there_goes_on_once_nobody_has_it(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text(TEXT)
    words, folder = ["model=clockwork", *TINY, "data=text_file", f"data.path={tmp_path}/text.txt"], tmp_path / "trial"
    words += ["data.batch_size=4", "data.steps=16"]
    value = run_trial(folder, words)
    made = (folder / "summary.json").stat().st_mtime_ns
    monkeypatch.setattr(study, "WAIT", 0.1)
    with held(folder, rank=0), pytest.raises(InUse, match="is in use by process"):
        run_trial(folder, words)
    assert run_trial(folder, words) == value
    assert (folder / "summary.json").stat().st_mtime_ns == made


def test_the_report_names_the_best_and_what_failed(tmp_path):
    def objective(number: int, words: list[str]) -> float:
        if number == 1:
            raise TrialFailed("exit code 2: [a] is none of [b]")
        return quick(number, words)

    search = searched(tmp_path, objective, trials=4)
    search.plan = PLAN
    console = Console(file=io.StringIO(), width=200)
    report(search, console)
    said = console.file.getvalue()
    best = search.ended_trials()[0]
    assert f"best: python -m multiscale.run model=x {' '.join(overrides(best.params))}" in said
    assert "trial 1 failed: exit code 2: [a] is none of [b]" in said
    assert "4 of 6 trials have ended" in said
    first = next(line for line in said.splitlines() if line.split()[:1] == [str(best.number)])
    assert f"{best.value:.4f}" in first
    assert said.index(first) < min(said.index(f"{trial.value:.4f}") for trial in search.ended_trials()[1:3])


@pytest.mark.slow
def test_a_search_of_runs_makes_a_folder_a_trial_and_ends_with_the_command_of_the_best(cli, tmp_path):
    words = ["search=lr_and_size", "search.trials=2", "model=clockwork", *TINY]
    done = cli(*words, module="search")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "searches/lr_and_size"
    values = [
        json.loads((folder / f"trial_00{number}/summary.json").read_text())["val"]["val/bpc"] for number in (0, 1)
    ]
    assert "best: python -m multiscale.run model=clockwork" in done.stdout
    assert done.stdout.index(f"{min(values):.4f}") >= 0
    again = cli(*words, module="search")
    assert again.returncode == 0
    assert not list(folder.glob("trial_002*"))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_search_that_is_stopped_takes_its_run_with_it(tmp_path, how):
    words = [sys.executable, "-m", "multiscale.search", "search=lr_and_size", "experiment=quick_look", "logger=csv"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        until(lambda: runs(tmp_path) and list(tmp_path.rglob("trial_000/metrics.csv")))
        worker.send_signal(how)
        said, _ = worker.communicate(timeout=60)
    assert worker.returncode == (130 if how == signal.SIGINT else -how)
    assert ("stopped; the same command goes on" in said) == (how == signal.SIGINT)
    until(lambda: not runs(tmp_path))


def runs(folder: Path) -> list[str]:
    """The processes that train in ``folder``."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            lines.append(process.read_bytes().replace(b"\0", b" ").decode())
    return [line for line in lines if "multiscale.jobs.worker" in line and str(folder) in line]


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)
