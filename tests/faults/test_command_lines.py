"""Random command lines end in a run, or in one line that says why there is none, and then leave nothing behind."""

import os
import random
import signal
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from multiscale import run
from multiscale.config.compose import CONF, jobs
from multiscale.config.identity import flatten
from tests.faults.breaking import SMALL, TEXT

pytestmark = pytest.mark.slow

TRIES = int(os.environ.get("MULTISCALE_COMMANDS", "200"))
WORKERS = 8
SECONDS = 60
TINY = [*SMALL, "data.path=text.txt", "model.hidden_size=8", "trainer.max_epochs=1", "hydra.run.dir=there"]
TINY = [*(word for word in TINY if "limit_train" not in word), "+trainer.limit_train_batches=2"]
GROUPS = [
    "model",
    "data",
    "head",
    "task",
    "optim",
    "trainer",
    "logger",
    "callbacks",
    "match",
    "experiment",
    "hydra/launcher",
]
VALUES = [
    "",
    "0",
    "-1",
    "1",
    "2",
    "3.5",
    "1e400",
    "-1e-300",
    "nan",
    "inf",
    "99999999999999999999",
    "1_000",
    "true",
    "null",
    "x",
]
VALUES += [
    "[]",
    "[1,2]",
    "[null]",
    "{}",
    "{a:1}",
    "{_target_:os.getcwd}",
    "'[/x]'",
    "'a b'",
    "../x",
    "/",
    "é",
    "${seed}",
    "${nothing}",
]
VALUES += [
    "{",
    "[",
    "'",
    "a=b",
    "???",
    "${oc.env:NOTHING}",
    "text.txt",
    "glob(*)",
    "choice(1,2)",
    "range(0,3)",
    "0x10",
    "1,2",
]


def command_line(chance: random.Random) -> list[str]:
    """A small run with one to three words that a careless user may type."""
    words = list(TINY)
    if chance.random() < 0.1:
        words.append(
            chance.choice(["-m", "--help", "--cfg=job", "-x", "--info=all", "model", "=", "resume=there", "trust=[x]"])
        )
    leaves = list(flatten(OmegaConf.to_container(jobs(TINY)[0])))
    for _ in range(chance.randint(1, 3)):
        kind = chance.random()
        if kind < 0.2:
            group = chance.choice(GROUPS)
            files = [path.stem for path in (CONF / group).glob("*.yaml")]
            word = f"{chance.choice(['', '', '+', '~'])}{group}={chance.choice([*files, *VALUES])}"
        elif kind < 0.3:
            word = f"~{chance.choice([*leaves, *GROUPS])}"
        else:
            key = chance.choice(leaves)
            parts = key.split(".")
            if chance.random() < 0.2:
                key = ".".join(
                    [*parts[: chance.randint(0, len(parts))], chance.choice(["_args_", "_target_", "more", "1", ""])]
                )
            word = f"{chance.choice(['', '', '', '+', '++'])}{key}={chance.choice(VALUES)}"
        words.append(word)
    return words


def type_in(words: list[str], folder: Path, capfd, monkeypatch) -> tuple[int, str]:
    """(exit code, what was said) of a command line in a folder; fails if it takes too long."""

    def late(*_):
        raise AssertionError(f"it takes more than {SECONDS} s")

    folder.mkdir()
    (folder / "text.txt").write_text(TEXT)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["multiscale.run", *words])
    GlobalHydra.instance().clear()
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        run.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    said = capfd.readouterr()
    return code, said.err


@pytest.mark.parametrize("worker", range(WORKERS))
def test_a_command_line_ends_in_a_run_or_in_a_line(tmp_path, capfd, monkeypatch, worker):
    for seed in range(worker, TRIES, WORKERS):
        chance = random.Random(seed)
        words = command_line(chance)
        here = tmp_path / str(seed)
        told = f"seed {seed}: {' '.join(words[len(TINY) :])}"
        try:
            code, said = type_in(words, here, capfd, monkeypatch)
        except BaseException as error:
            raise AssertionError(told) from error
        assert code in (0, 1, 2), told
        assert "Traceback" not in said, f"{told}\n{said}"
        if code == 2:
            assert said.count("error: ") == 1 or "usage:" in said, f"{told}\n{said}"
            assert [path.name for path in here.iterdir()] == ["text.txt"], told
