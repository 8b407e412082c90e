"""Files without an end, folders that take no file, and a user without a home: each is a line, in seconds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from multiscale import compare, generate, segment
from multiscale.checks import InvalidInput, expand, read_file
from multiscale.config.compose import jobs
from multiscale.data.files import data_folder
from multiscale.jobs.prepare import prepare
from multiscale.jobs.resume import read_request, resume_run
from multiscale.runs.folder import make
from tests.conftest import ROOT
from tests.faults.breaking import SMALL, run


@pytest.fixture
def endless(tmp_path):
    """Paths that are there and cannot be read to an end, or not within the memory of a machine."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**42)
    return [tmp_path / "fifo", Path("/dev/urandom"), Path("/dev/zero"), tmp_path / "sparse", tmp_path]


def test_a_text_that_has_no_end_is_refused_before_it_is_read(endless):
    for path in endless:
        (config,) = jobs(["data=text_file", f"data.path={path}", "logger=csv"])
        with pytest.raises(
            InvalidInput, match=r"data\.path must be a readable text file.*(no regular|bytes, more than)"
        ):
            prepare(config)


def test_a_checkpoint_that_has_no_end_is_refused_before_it_is_read(endless):
    for path in endless:
        for door, words in ((generate, ["prompt=a"]), (segment, ["text=a"])):
            with pytest.raises(InvalidInput, match=r"no regular|bytes, more than"):
                door.main([f"checkpoint={path}", *words])


def test_only_so_much_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert read_file(tmp_path / "a", 3) == b"abc"
    with pytest.raises(OSError, match="3 bytes, more than the 2"):
        read_file(tmp_path / "a", 2)


def test_a_folder_that_takes_no_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    for place in ("/proc/nothing", tmp_path / "file/below"):
        with pytest.raises(InvalidInput, match=r"hydra\.run\.dir must be a folder to write to; got"):
            make(Path(place), "hydra.run.dir")
    make(tmp_path / "new/folder", "hydra.run.dir")
    assert list((tmp_path / "new/folder").iterdir()) == []


def test_a_user_who_is_not_there_has_no_folder_and_no_traceback():
    assert expand("~nobody_of_this_name/x") == Path("~nobody_of_this_name/x")
    with pytest.raises(InvalidInput, match="runs must be folders"):
        compare.main(["~nobody_of_this_name/x"])


def test_a_user_without_a_home_has_a_folder_for_data(monkeypatch):
    monkeypatch.delenv("MULTISCALE_DATA", raising=False)
    monkeypatch.setattr("multiscale.data.files.user_cache_dir", lambda name: str(Path("~nobody_of_this_name")))
    assert data_folder() == Path("~nobody_of_this_name")


def as_nobody(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """A run of a user who owns the files here, and has neither a name nor a home."""
    alone = ["unshare", "--user", "--map-user=43210", "--map-group=43210", "env", "-u", "HOME"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no users' namespaces here")
    words = (*alone, f"PYTHONPATH={ROOT}", sys.executable, "-m", "multiscale.run", *words)
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_user_without_a_home_can_run(tmp_path):
    words = ["model=clockwork", "hydra.run.dir=here", *SMALL, f"data.path={ROOT}/README.md", "trainer.max_epochs=1"]
    done = as_nobody(tmp_path, *(word for word in words if word != "logger=csv"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here/summary.json").exists()


@pytest.mark.slow
def test_a_run_folder_that_may_not_be_written_to_is_named(tmp_path):
    run(tmp_path / "run", "model=clockwork", "trainer.max_epochs=1")
    folders = [tmp_path / "run", *(path for path in (tmp_path / "run").rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        done = as_nobody(tmp_path, "resume=run", "trainer.max_epochs=2")
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert done.returncode == 2
    assert re.fullmatch(r"error: resume must be a folder to write to; got 'run': Permission denied\.\n", done.stderr)
    assert resume_run(read_request([f"resume={tmp_path / 'run'}", "trainer.max_epochs=2"])) == 0
