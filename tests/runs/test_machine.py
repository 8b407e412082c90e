"""What a run says of the code and the machine that it ran on."""

import subprocess

from multiscale.runs import machine


def git(folder, *words):
    own = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", folder, *own, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_of_a_checkout_tells_whether_files_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "SOURCE", tmp_path)
    assert set(machine.describe_machine(2)) == {"host", "processor", "threads"}  # an installed package has none
    git(tmp_path, "init")
    assert "commit" not in machine.describe_machine(2)  # nor a repository before its first
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")[:12]
    (tmp_path / "runs").write_text("not tracked")
    assert machine.describe_machine(2)["commit"] == head
    (tmp_path / "a").write_text("2")
    assert machine.describe_machine(2)["commit"] == f"{head}, changed"


def test_a_machine_without_git_is_described_all_the_same(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(machine, "SOURCE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.describe_machine(3)
    assert found["threads"] == 3
    assert found["processor"]
    assert "commit" not in found
