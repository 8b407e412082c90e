"""How a run stands, for whoever looks into its folder: status.json."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from multiscale.checks import read_file
from multiscale.runs import files

WAITING, RUNNING, FINISHED, FAILED, INTERRUPTED = "waiting", "running", "finished", "failed", "interrupted"


class Status:
    """The state of the run in ``folder``, written whole with every change; without a folder, nothing is written."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / "status.json"
        self.known: dict[str, Any] = {} if folder is None else read(folder)
        self._since = time.monotonic()
        self._before = float(self.known.get("seconds", 0.0))

    def seconds(self) -> float:
        """How long it has run, in this process and in those before it, as far as they told."""
        return self._before + time.monotonic() - self._since

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done within takes no time of the run's."""
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began

    def begin(self, state: str = RUNNING, command: str = "") -> None:
        """It is to be run, or this process runs it from now on."""
        self.known = {"command": command, "started": _now(), "epoch": 0, "step": 0, **self.known}
        self.update(state)

    def update(self, state: str, epoch: int | None = None, step: int | None = None, error: str = "") -> None:
        """It is ``state`` now; epochs and steps are those that are over."""
        self.known |= {
            "state": state,
            "updated": _now(),
            "error": error,
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        self.known["seconds"] = round(self.seconds(), 1)
        self.known |= {key: value for key, value in (("epoch", epoch), ("step", step)) if value is not None}
        if self.path is not None:
            files.write_json(self.path, self.known)


def read(folder: Path) -> dict[str, Any]:
    """What was last written; empty if there is nothing, or nothing that can be read."""
    try:
        known = files.parse_json(read_file(folder / "status.json"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def is_gone(known: dict[str, Any]) -> bool:
    """Whether the process that a status names ran on this machine, and runs no more."""
    pid = known.get("pid")
    if known.get("host") != socket.gethostname():
        return False
    if not isinstance(pid, int) or pid <= 0:
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # another user's
        return False
    return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
