"""Damaged, foreign and malicious files are refused by name; a full disk costs nothing that was there."""

import json
import pickle
import random
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.jobs.resume import read_request, resume_run
from multiscale.jobs.start import run_here
from multiscale.runs import folder as run_folder
from multiscale.runs.files import DiskFull, tidy, write
from multiscale.training.checkpoint import files
from tests.conftest import ROOT
from tests.faults.breaking import SMALL, run
from tests.faults.processes import finish, start

pytestmark = pytest.mark.slow


def resume(words: list[str]) -> None:
    """What ``python -m multiscale.run resume=...`` does for a run."""
    sys.exit(resume_run(read_request(words)))


WORDS = ["model=clockwork", "trainer.max_epochs=2"]


def flipped(content: bytes, seed: int) -> bytes:
    bit = random.Random(seed).randrange(8 * len(content))
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_every_flipped_bit_is_found(copy):
    last = copy / "checkpoints/last.ckpt"
    content = last.read_bytes()
    files.load(last)
    for seed in range(60):
        last.write_bytes(flipped(content, seed))
        with pytest.raises(files.Damaged, match=r"last.ckpt is damaged.*resume=.*previous.ckpt"):
            files.load(last)


@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: c + b"x"])
@pytest.mark.parametrize("with_digest", [True, False])
def test_a_cut_or_empty_checkpoint_is_named(copy, damage, with_digest):
    last = copy / "checkpoints/last.ckpt"
    if not with_digest:
        torch.save(files.load(last), last)
        files.load(last)
    last.write_bytes(damage(last.read_bytes()))
    with pytest.raises(files.Damaged, match=r"last.ckpt is .*resume=.*previous.ckpt"):
        files.load(last)


def test_the_checkpoint_before_a_damaged_one_is_gone_on_with(copy):
    (copy / "summary.json").unlink()
    last = copy / "checkpoints/last.ckpt"
    last.write_bytes(b"")
    with pytest.raises(SystemExit) as end:
        resume([f"resume={copy}"])
    assert end.value.code == 2
    with pytest.raises(SystemExit) as end:
        resume([f"resume={copy / 'checkpoints/previous.ckpt'}"])
    assert end.value.code == 0
    assert (copy / "checkpoints/replaced.ckpt").read_bytes() == b""
    assert run_folder.state(copy) == run_folder.FINISHED


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return (Path.touch, (self.canary,))


def test_a_malicious_checkpoint_runs_nothing(copy, tmp_path):
    last, canary = copy / "checkpoints/last.ckpt", tmp_path / "canary"
    torch.save({"state_dict": Evil(canary), "recipe": {}}, last)
    assert files.is_whole(last.read_bytes())
    with pytest.raises(files.Damaged, match=r"last.ckpt"):
        files.load(last)
    last.write_bytes(pickle.dumps(Evil(canary)))
    with pytest.raises(files.Damaged, match=r"last.ckpt"):
        files.load(last)
    assert not canary.exists()
    pickle.loads(last.read_bytes())
    assert canary.exists()  # it would have


def test_a_run_folder_may_only_name_our_classes(copy, tmp_path):
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("multiscale.training.finite.FiniteNumbers", "os.system"))
    with pytest.raises(InvalidInput, match=r"_target_ must start with .*os.system"):
        resume([f"resume={copy}"])


def test_a_checkpoint_of_another_network_lists_what_differs(made, tmp_path):
    best = made / "checkpoints/best.ckpt"
    with pytest.raises(InvalidInput, match=r"of another network: head.gates.* there and .* here.*; and \d+ more"):
        run(tmp_path / "a", "model=stacked_lstm", f"init_from={best}")
    with pytest.raises(InvalidInput, match=r"backbone.* is \[16, .* there and \[24, .* here"):
        run(tmp_path / "b", *WORDS, "model.hidden_size=24", f"init_from={best}")


def test_weights_of_a_run_begin_another(made, tmp_path):
    best = files.load(made / "checkpoints/best.ckpt")["state_dict"]
    run(tmp_path, *WORDS, "optim.optimizer.lr=1e-12", "trainer.max_epochs=1", f"init_from={made}/checkpoints/best.ckpt")
    after = files.load(tmp_path / "checkpoints/last.ckpt")["state_dict"]
    assert best.keys() == after.keys()
    for name, tensor in best.items():
        torch.testing.assert_close(tensor, after[name])


def test_best_weights_are_no_whole_training(copy):
    with pytest.raises(InvalidInput, match=r"best.ckpt has weights and no whole training; use init_from="):
        resume([f"resume={copy / 'checkpoints/best.ckpt'}"])


def test_a_finished_run_can_be_made_longer(copy):
    with pytest.raises(InvalidInput, match=r"holds a finished run; trainer.max_epochs=3 or more"):
        resume([f"resume={copy}"])
    with pytest.raises(SystemExit) as end:
        resume([f"resume={copy}", "trainer.max_epochs=3"])
    assert end.value.code == 0
    assert json.loads((copy / "summary.json").read_text())["epochs"] == 3


def test_only_what_is_said_can_change_with_resume(copy):
    for word, message in {"model=hmlstm": "there may only be", "trainer.max_epochs=1": "at least the 2"}.items():
        with pytest.raises(InvalidInput, match=message):
            resume([f"resume={copy}", word])
    with pytest.raises(InvalidInput, match="must be the folder of a run"):
        resume([f"resume={copy}/nowhere"])


def contents(folder) -> dict:
    """Every file but the lock, which is there while somebody holds it."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_two_processes_do_not_share_a_folder(copy, capfd):
    before = contents(copy)
    with run_folder.held(copy, 0):
        assert run_here(copy) == 2
    assert re.search(r"is in use by process \d+", capfd.readouterr().err)
    assert before == contents(copy)


@pytest.mark.slow
def test_two_runs_do_not_share_a_folder(tmp_path):
    words = [*SMALL, *WORDS, "data.path=text.txt", f"hydra.run.dir={tmp_path}/run"]
    assert finish(start(tmp_path, *words))[0] == 0
    before = contents(tmp_path / "run")
    code, output = finish(start(tmp_path, *words, "seed=1"))
    assert code == 2
    assert "holds another run (seed is 0 there and 1 here)" in output
    code, output = finish(start(tmp_path, *words))
    assert code == 2
    assert "holds this run, finished" in output
    assert before == contents(tmp_path / "run")


@pytest.fixture
def small_files():
    """No file may become larger than 4 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_does_not_fit_leaves_the_old_one_and_says_what_it_needed(copy, small_files):
    last = copy / "checkpoints/last.ckpt"
    before = last.read_bytes()
    checkpoint = {**files.load(last), "more": torch.zeros(10**5)}
    with pytest.raises(DiskFull, match=r"last.ckpt needs \d+\.\d .iB, and .* free; the one before .* intact"):
        files.save(checkpoint, last)
    assert last.read_bytes() == before
    files.load(last)
    assert not list((copy / "checkpoints").glob(".*.tmp"))


@pytest.mark.slow
def test_a_run_on_a_full_disk_ends_with_what_it_needed(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", tmp_path], check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        words = [
            *SMALL,
            "model=clockwork",
            "model.hidden_size=64",
            "data.path=text.txt",
            f"hydra.run.dir={tmp_path}/run",
        ]
        code, output = finish(start(tmp_path, *words))
        assert code == 1
        assert re.search(r"^error: .*last\.ckpt needs \d+\.\d .iB, and .*iB are free; there was none", output, re.M)
        assert "Traceback" not in output
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_write_is_whole_or_not_there(tmp_path):
    """Ended at any moment, a process leaves the old file or the new one."""
    path = tmp_path / "file"
    write(path, b"0" * 10**6)
    program = (
        "import sys; from pathlib import Path; from multiscale.runs import files\n"
        f"path = Path({str(path)!r})\nprint(flush=True)\n"
        "for i in range(10**6): files.write(path, str(i % 10).encode() * 10**6)"
    )
    writer = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"\n"
    for _ in range(50):
        content = path.read_bytes()
        assert len(content) == 10**6
        assert len(set(content)) == 1
    writer.kill()
    writer.wait()
    assert len(set(path.read_bytes())) == 1
    (tmp_path / ".file.1.tmp").write_bytes(b"half")
    tidy(tmp_path)
    assert [left.name for left in tmp_path.iterdir()] == ["file"]
