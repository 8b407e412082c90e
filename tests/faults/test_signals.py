"""A run that is asked to end, or that is killed, loses nothing; a sweep and several processes neither."""

import json
import os
import random
import signal
import time

import pytest
import torch

from multiscale.training.checkpoint import files
from tests.conftest import ROOT
from tests.faults.breaking import SMALL, differing, result
from tests.faults.processes import DDP, begin, finish, resume, start, trained

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MULTISCALE_KILLS", "3"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the training comes to if nothing stops it, by its words."""
    known = {}

    def make(*words):
        if words not in known:
            folder = tmp_path_factory.mktemp("whole")
            code, output = finish(begin(folder, *words))
            assert code == 0, output
            known[words] = result(folder / "run")
        return known[words]

    return make


def assert_same(folder, expected):
    tensors, rows = result(folder)
    assert not differing(tensors, expected[0])
    assert rows == expected[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_saves_and_tells_how_to_go_on(tmp_path, whole, number, code):
    process = begin(tmp_path)
    trained(tmp_path / "run", 8)
    process.send_signal(number)
    ended, output = finish(process, 60)
    assert ended == code
    assert f"Go on with: python -m multiscale.run resume={tmp_path}/run" in output
    assert "Traceback" not in output
    known = json.loads((tmp_path / "run/status.json").read_text())
    assert (known["state"], known["error"]) == ("interrupted", signal.Signals(number).name)
    assert resume(tmp_path / "run")[0] == 0
    assert_same(tmp_path / "run", whole())


def test_a_second_ctrl_c_stops_at_once_with_whole_files(tmp_path, whole):
    process = begin(tmp_path, "+callbacks.stuck._target_=tests.faults.breaking.Stuck")
    trained(tmp_path / "run", 8)
    time.sleep(1)  # now it hangs in a step
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert finish(process, 20)[0] == 130
    assert time.monotonic() - began < 3
    files.load(tmp_path / "run/checkpoints/last.ckpt")
    (tmp_path / "stuck").touch()  # it hangs once
    assert resume(tmp_path / "run")[0] == 0
    assert_same(tmp_path / "run", whole())


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_any_time_it_goes_on_to_the_same_end(tmp_path, whole, seed):
    process = begin(tmp_path)
    trained(tmp_path / "run", 0)
    time.sleep(random.Random(seed).uniform(0, 5))
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL, "it was over before it was killed"
    code, output = resume(tmp_path / "run")
    assert code == 0, output
    assert_same(tmp_path / "run", whole())


def test_a_folder_that_was_moved_goes_on_where_it_lies(tmp_path, whole):
    process = begin(tmp_path)
    trained(tmp_path / "run", 8)
    process.kill()
    finish(process)
    (tmp_path / "run/checkpoints/.last.ckpt.1.tmp").touch()  # as a process leaves it that is killed while it writes
    moved = tmp_path / "elsewhere/kept"
    moved.parent.mkdir()
    (tmp_path / "run").rename(moved)
    code, output = resume(moved)
    assert code == 0, output
    assert_same(moved, whole())
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    "words", [["run", "seed=1"], ["search", "search=lr_and_size"], ["compare", "runs"], ["jobs.worker", "x"]]
)
def test_ctrl_c_while_modules_load_ends_without_a_traceback(cli, tmp_path, words):
    for name in ("hydra", "omegaconf", "torch"):
        (tmp_path / f"{name}.py").write_text("raise KeyboardInterrupt\n")
    done = cli(*words[1:], module=words[0], PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert done.returncode == 130
    assert not done.stderr


def test_sigterm_to_one_rank_of_two_stops_both_at_the_same_step(tmp_path, whole):
    words = [*DDP, "+callbacks.kill._target_=tests.faults.breaking.Kill", "+callbacks.kill.hook=train"]
    words += ["+callbacks.kill.epoch=1", "+callbacks.kill.batch=5", "+callbacks.kill.rank=1"]
    code, output = finish(begin(tmp_path, *words))
    assert code == 143, output
    assert output.count("Go on with") == 1
    assert len(files.load(tmp_path / "run/checkpoints/last.ckpt")["resume"]["processes"]) == 2
    assert resume(tmp_path / "run")[0] == 0
    (tmp_path / "unstopped").mkdir()
    (tmp_path / "unstopped/killed").touch()
    code, output = finish(begin(tmp_path / "unstopped", *words))
    assert code == 0, output
    assert_same(tmp_path / "run", result(tmp_path / "unstopped/run"))


def test_one_and_two_devices_have_the_same_loss_curve(tmp_path, whole):
    # Detectors rank the scores of each device's streams apart.
    words = ["model=hmlstm_paper", "trainer.gradient_clip_val=null"]
    code, output = finish(begin(tmp_path, *DDP, *words))
    assert code == 0, output
    code, output = finish(begin(tmp_path / "one", *words))
    assert code == 0, output
    (one, _), (two, _) = result(tmp_path / "one/run"), result(tmp_path / "run")
    weights = [name for name in one if name.startswith("/state_dict")]
    assert weights
    for name in weights:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_rank_that_dies_brings_the_other_down_and_is_named(tmp_path, how):
    broken = ["+callbacks.broken._target_=tests.faults.breaking.Raise", "+callbacks.broken.rank=1"]
    broken += ["+callbacks.broken.hard=true"] if how == "kill" else []
    began = time.monotonic()
    code, output = finish(begin(tmp_path, *DDP, *broken), 120)
    assert time.monotonic() - began < 60 + 30  # half a minute to start on a busy machine
    assert code == 1
    first = (tmp_path / "run/error.txt").read_text()
    assert ("the third batch is haunted" if how == "raise" else "rank 1 was ended by SIGKILL") in first
    assert output.count("Traceback") == (1 if how == "raise" else 0)
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "failed"


def states(sweep) -> dict:
    return {p.parent.name: json.loads(p.read_text())["state"] for p in sorted(sweep.glob("*/status.json"))}


SWEEP = ["-m", *SMALL, "data.path=text.txt", "model=clockwork,stacked_lstm"]


def test_sigterm_to_a_sweep_stops_it_and_the_rest_can_be_run(tmp_path):
    sweep = tmp_path / "sweep"
    words = [*SWEEP, "seed=0,1", f"hydra.sweep.dir={sweep}", "+callbacks.slow._target_=tests.faults.breaking.Slow"]
    words += ["trainer.max_epochs=20"]
    process = start(tmp_path, *words)
    trained(sweep / "0_clockwork_seed0", 8)
    process.terminate()
    code, output = finish(process, 60)
    assert code == 143, output
    assert states(sweep) == {"0_clockwork_seed0": "interrupted"}
    assert "3 of 4 jobs were not begun" in output
    assert f"resume={sweep}" in output


def test_a_joblib_sweep_that_is_killed_takes_its_processes_with_it(tmp_path):
    sweep = tmp_path / "sweep"
    words = [*SWEEP, f"hydra.sweep.dir={sweep}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = start(tmp_path, *words, "+callbacks.slow._target_=tests.faults.breaking.Slow", "trainer.max_epochs=20")
    trained(sweep / "0_clockwork_seed0", 4)
    process.kill()
    finish(process, 60)  # the pipe to this test closes when the last of them has ended


def test_a_failing_job_does_not_stop_the_rest_and_a_second_try_runs_only_what_is_left(tmp_path):
    sweep = tmp_path / "sweep"
    words = [*SWEEP, f"hydra.sweep.dir={sweep}", "+callbacks.broken._target_=tests.faults.breaking.Raise"]
    words += ["+callbacks.broken.unless=mended", "seed=0"]
    code, output = finish(start(tmp_path, *words))
    assert code == 1
    assert states(sweep) == {"0_clockwork_seed0": "failed", "1_stacked_lstm_seed0": "failed"}
    assert "Traceback" in (sweep / "0_clockwork_seed0/error.txt").read_text()
    assert "RuntimeError: the third batch is haunted" in output.splitlines()[-4]
    (tmp_path / "mended").touch()
    code, output = resume(sweep)
    assert code == 0, output
    assert set(states(sweep).values()) == {"finished"}
    kept = {p: p.stat().st_mtime for p in sweep.glob("*/checkpoints/last.ckpt")}
    code, output = finish(start(tmp_path, *words))
    assert code == 0, output
    assert kept == {p: p.stat().st_mtime for p in sweep.glob("*/checkpoints/last.ckpt")}


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_other_launchers_run_a_sweep(tmp_path, launcher):
    sweep = tmp_path / "sweep"
    words = [*SWEEP, f"hydra.sweep.dir={sweep}", f"hydra/launcher={launcher}"]
    words += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    code, output = finish(start(tmp_path, *words))
    assert code == 0, output
    assert set(states(sweep).values()) == {"finished"}
    assert len(states(sweep)) == 2
    assert "finished" in output


def test_a_sweep_on_two_devices_is_one_sweep(tmp_path):
    sweep = tmp_path / "sweep"
    code, output = finish(start(tmp_path, *SWEEP, *DDP, f"hydra.sweep.dir={sweep}"))
    assert code == 0, output
    assert states(sweep) == {"0_clockwork_seed0": "finished", "1_stacked_lstm_seed0": "finished"}
    assert len(list(tmp_path.glob("**/multirun.yaml"))) == 1
