"""SIGTERM and Ctrl-C: a training ends its step and saves; a second Ctrl-C stops at once."""

import ctypes
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

from multiscale.runs.processes import get_rank

CAUGHT = (signal.SIGINT, signal.SIGTERM)
PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Interrupted(BaseException):
    """A signal asked for the end; what is to be saved has been saved.

    Args:
        signum: the signal's number; the exit code is 128 more.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        return 128 + self.signum


class Signals:
    """A context in which a signal is noted in ``received`` while ``deferred``, and else raises :class:`Interrupted`.

    Args:
        silent: say nothing; another process does.
    """

    def __init__(self, silent: bool = False) -> None:
        self.silent = silent
        self.received = 0  # the signal's number
        self.deferred = False
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Catch the signals from here on, whoever caught them before."""
        if threading.current_thread() is threading.main_thread():
            for signum in CAUGHT:
                before = signal.signal(signum, self._catch)
                self._before.setdefault(signum, before)

    def __enter__(self) -> "Signals":
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for signum, before in self._before.items():
            signal.signal(signum, before)
        self._before = {}

    def _catch(self, signum: int, frame: FrameType | None) -> None:
        again = self.received == signum == signal.SIGINT
        if again:
            if not self.silent:
                _say("stopped at once; what was saved last is there to go on from")
            os._exit(128 + signum)
        self.received = max(self.received, signum)
        if not self.deferred:
            raise Interrupted(signum)
        if not self.silent and get_rank() == 0:
            hint = "; Ctrl-C again stops at once" if signum == signal.SIGINT else ""
            _say(f"{signal.Signals(signum).name}: ending this step, then saving{hint}")


def end_with_parent() -> None:
    """Have Linux send this process a SIGTERM when its parent is gone, however it went; elsewhere, nothing."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    except (OSError, AttributeError):
        return


def _say(text: str) -> None:
    line, stream = f"\n{text}\n", sys.stderr
    with suppress(OSError, ValueError, RuntimeError):  # a stream that is gone or in use ends no saving
        if stream is sys.__stderr__ and stream is not None:
            os.write(stream.fileno(), line.encode())  # the only safe way to print inside a handler
        else:  # a notebook's has no file, or that of the terminal where its server runs
            print(line, end="", file=stream, flush=True)
