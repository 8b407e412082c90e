"""What a run ran on: of its code the commit, and of the machine what its speed and its rounding hang on."""

import os
import platform
import subprocess
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
PATIENCE = 5.0  # seconds for git to answer


def describe_machine(threads: int) -> dict[str, str | int]:
    """Host, processor, the threads that PyTorch uses, and the commit of the code, if it is a checkout of git."""
    told: dict[str, str | int] = {"host": platform.node(), "processor": _processor(), "threads": threads}
    return told | ({"commit": commit} if (commit := _commit(SOURCE)) else {})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit(folder: Path) -> str:
    """The commit that is checked out, with a word where tracked files differ from it; empty if there is none."""
    if not (folder / ".git").exists():  # not that of a repository around an installed package
        return ""
    head = _git(folder, "rev-parse", "HEAD")
    return head and head[:12] + (", changed" if _git(folder, "status", "--porcelain", "-uno") else "")


def _git(folder: Path, *words: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
