"""All kinds of runs, disturbed at random and gone on with, end as if nothing had been.

    python -m tests.faults.soak 0 200

does so for the seeds 0 to 199: each begins a run of one kind, kills, signals or halts it, or cuts it in the middle of a
write, up to three times, goes on with it after each, and compares it at last with one that ran through.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from multiscale.runs import folder as folders
from tests.conftest import ROOT
from tests.faults.breaking import SMALL, differing, result
from tests.faults.processes import DDP, finish, start
from tests.helpers import tiny

STEPS = 20  # of each run, at least
ADDS = "+callbacks.{0}._target_={1}"
SHORT = [word for word in SMALL if not word.startswith(("+trainer.limit_train", "data"))]
SHORT += ["trainer.max_epochs=2", "+trainer.limit_train_batches=10", "callbacks.checkpoints.every_n_steps=3"]
SHORT += [ADDS.format("slow", "tests.faults.breaking.Slow"), ADDS.format("cut", "tests.faults.breaking.Cut")]
TEXT = [word for word in SMALL if word.startswith("data")] + ["data.path=text.txt"]
STOPPING = [ADDS.format("stop", "pytorch_lightning.callbacks.EarlyStopping"), "+callbacks.stop.monitor=val/bpc"]
SWEEP = ["-m", *SHORT, *TEXT, "model=clockwork,stacked_lstm"]

KINDS = {
    "hmlstm": [*SHORT, *TEXT, "model=hmlstm"],
    "sampled": [*SHORT, *TEXT, "model=hmlstm_paper", "model.boundary=sample"],
    "clockwork": [*SHORT, *TEXT, "model=clockwork"],
    "learned_clock": [*SHORT, *TEXT, "model=learned_clock"],
    "learned_clock_dct": [*SHORT, *TEXT, "model=learned_clock_dct"],
    "stacked_lstm": [*SHORT, *TEXT, "model=stacked_lstm"],
    "regression": [*SHORT, "experiment=adding", *tiny.SMALL["adding"], "data.sequences=[40,8,8]"],
    "accumulated": [*SHORT, *TEXT, "+trainer.accumulate_grad_batches=3", "+trainer.val_check_interval=4"],
    "steps": [*SHORT, *TEXT, "trainer.max_epochs=-1", "+trainer.max_steps=20"],
    "double": [*SHORT, *TEXT, "trainer.precision=64-true"],
    "half": [*SHORT, *TEXT, "trainer.precision=bf16-true"],
    "averaged": [*SHORT, *TEXT, ADDS.format("mean", "pytorch_lightning.callbacks.EMAWeightAveraging")],
    "stopping": [*SHORT, *TEXT, "trainer.max_epochs=9", "optim.optimizer.lr=0.1", *STOPPING],
    "wandb": [*SHORT, *TEXT, "logger=wandb", "logger.wandb.mode=offline"],
    "ddp": [*SHORT, *TEXT, *DDP],
    "sweep": SWEEP,
    "joblib": [*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "search": ["search=lr_and_size", "search.trials=2", "model=clockwork", *SHORT, *TEXT],
}
KINDS["regression"].remove("experiment=quick_look")
KINDS["wandb"].remove("logger=csv")
KINDS["hmlstm"].remove("~callbacks.figures")
KINDS["search"].remove("model.hidden_size=16")
WRITTEN = ("last.ckpt", "best.ckpt", "status.json", "summary.json", "excerpt.json", "previous.ckpt", "config.yaml")
WAYS = ("kill", "end", "interrupt", "interrupt twice", "hang up", "halt and kill", "halt and go on")
WAYS += ("kill all", "end all", "interrupt all", "kill a child", "end a child", "cut")


class Stop(NamedTuple):
    """A disturbance: its way, after so many steps (or seconds, if it is early), and the write that it cuts."""

    way: str
    steps: int | None
    seconds: float
    cut: str

    def __str__(self) -> str:
        return f"cut {self.cut}" if self.cut else f"{self.way} at {self.steps} steps + {self.seconds:.2f} s"


def plan(seed: int) -> tuple[str, list[Stop], list[bool]]:
    """(kind of run, what disturbs it, whether it is gone on with by ``resume=`` or by its own command again)."""
    drawn = random.Random(seed)
    kind = drawn.choice(list(KINDS)) if seed >= len(KINDS) else list(KINDS)[seed]
    stops = []
    for _ in range(drawn.randint(1, 3)):
        way = drawn.choice(WAYS)
        cut = f"{drawn.choice(WRITTEN)}:{drawn.randint(1, 3)}:{drawn.choice(('half', 'before', 'after'))}"
        early = drawn.random() < 0.15
        steps, seconds = (None, drawn.uniform(0, 6)) if early else (drawn.randrange(STEPS), drawn.uniform(0, 0.2))
        if kind == "search" and (way.endswith("a child") or way == "cut"):
            way = "kill all"  # a trial that fails is a result of a search
        stops.append(Stop(way, steps, seconds, cut if way == "cut" else ""))
    return kind, stops, [drawn.random() < 0.5 for _ in stops]


def begin(place: Path, kind: str, again: bool = True, cut: str = "") -> subprocess.Popen:
    """The run as a command, or what goes on with it."""
    goal = place / ("sweep" if KINDS[kind][0] == "-m" else "run")
    if kind == "search":
        return start(place, *KINDS[kind], module="search", alone=True, MULTISCALE_CUT=cut)
    words = [*KINDS[kind], f"hydra.{goal.name}.dir={goal}"]
    if not again and ((goal / "config.yaml").exists() or (goal / "multirun.yaml").exists()):
        words = [f"resume={goal}", "trust=[tests.]", *(word for word in KINDS[kind] if word.startswith("hydra"))]
    return start(place, *words, alone=True, MULTISCALE_CUT=cut)


def children(parent: int) -> list[int]:
    """The processes that a process has begun."""
    found = []
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(child) for child in path.read_text().split()]
    return found


def steps_done(place: Path) -> int:
    """Steps after which the last of the runs in a place was saved."""
    steps = [-1]
    for path in place.rglob("status.json"):
        with suppress(OSError, ValueError):
            steps.append(json.loads(path.read_text()).get("step", 0))
    return max(steps)


def wait(process: subprocess.Popen, place: Path, stop: Stop) -> None:
    """Wait until it is to be disturbed, or has ended."""
    until = time.monotonic() + 100
    while stop.steps is not None and process.poll() is None and steps_done(place) < stop.steps:
        assert time.monotonic() < until, f"it never came to {stop.steps} steps"
        time.sleep(0.02)
    time.sleep(stop.seconds)


def send(process: subprocess.Popen, way: str) -> None:
    """Disturb a process in one of the ``WAYS``."""
    number = {"k": signal.SIGKILL, "e": signal.SIGTERM, "i": signal.SIGINT, "h": signal.SIGHUP}[way[0]]
    with suppress(ProcessLookupError):  # it has ended
        if way.startswith("halt"):
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
            process.send_signal(signal.SIGKILL if way == "halt and kill" else signal.SIGCONT)
        elif way.endswith("all"):
            os.killpg(process.pid, number)
        elif way.endswith("a child"):
            os.kill((children(process.pid) or [process.pid])[-1], number)
        else:
            process.send_signal(number)
            if way == "interrupt twice":
                time.sleep(0.1)
                process.send_signal(number)


def read(place: Path) -> dict[str, tuple]:
    """What each run in a place has come to, by its folder: every value of the checkpoint, the rows, the figures."""
    found = {}
    for path in sorted(place.rglob("summary.json")):
        run, summary = path.parent, json.loads(path.read_text())
        values, rows = result(run)
        assert json.loads((run / "status.json").read_text())["state"] == "finished"
        assert not list(run.rglob(".*.tmp")), "something half-written was left"
        kept = {key: summary[key] for key in ("val", "test", "trace", "levels", "macs", "epochs")}
        excerpts = [path.read_text() for path in run.glob("excerpt.json")]
        found[str(run.relative_to(place))] = (values, rows, kept, excerpts)
    return found


def is_finished(run: Path) -> bool:
    return run.exists() and folders.state(run) == folders.FINISHED


def check(found: dict[str, tuple], expected: dict[str, tuple]) -> None:
    assert found.keys() == expected.keys()
    for name, (values, *others) in expected.items():
        assert not differing(found[name][0], values)
        assert list(found[name][1:]) == others


def run_through(place: Path, kind: str) -> dict[str, tuple]:
    """What a kind of run comes to that nothing disturbs."""
    code, output = finish(begin(place, kind))
    assert code == 0, output
    return read(place)


def run_disturbed(place: Path, seed: int) -> dict[str, tuple]:
    """What the run of a seed comes to; raises :class:`AssertionError` for an end that a user could not understand."""
    kind, stops, ways_on = plan(seed)
    again = True
    for stop, next_again in zip(stops, ways_on, strict=True):
        process = begin(place, kind, again, stop.cut)
        if not stop.cut:
            wait(process, place, stop)
            send(process, stop.way)
        code, output = finish(process)
        ours = "Traceback" in output and f"{ROOT}/multiscale/" in output  # else Python had not come to us yet
        assert not ours, output
        if code == 0 or is_finished(place / "run"):  # a signal may come when all is done
            return read(place)
        again = next_again
    code, output = finish(begin(place, kind, again))
    assert code == 0, output
    return read(place)


def main(first: int, count: int) -> int:
    """Run the sequences of ``count`` seeds, a line each; returns how many ended as something else."""
    expected: dict[str, dict] = {}
    told: Counter = Counter()
    for seed in range(first, first + count):
        kind, stops, _ = plan(seed)
        with tempfile.TemporaryDirectory() as folder:
            try:
                if kind not in expected:
                    expected[kind] = run_through(Path(folder) / "through", kind)
                check(run_disturbed(Path(folder) / "disturbed", seed), expected[kind])
                word = "same"
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                word = f"DIFFERENT: {error}"
        told[word[:4]] += 1
        told.update(stop.way for stop in stops)
        print(f"{seed:4}  {kind:17}  {'; '.join(map(str, stops))}: {word}", flush=True)
    print("  ".join(f"{name} {number}" for name, number in told.items()))
    return told["DIFF"]


if __name__ == "__main__":
    sys.exit(min(1, main(*map(int, sys.argv[1:]))))
