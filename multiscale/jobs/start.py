"""How jobs are started: in this process, in one of their own, or in several; what their ends mean."""

import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from multiscale.checks import InvalidInput
from multiscale.cli import USER_ERROR
from multiscale.runs import folder, status
from multiscale.runs.signals import Interrupted, Signals

FAILED = 1
GRACE = 10  # seconds that a process which lost a peer waits to be ended with it


def processes(config: DictConfig) -> int:
    """How many processes train together, on all nodes."""
    devices = config.trainer.get("devices", 1)
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    if devices in ("auto", -1):
        import torch

        wants_gpu = config.trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda")
        devices = max(1, torch.cuda.device_count()) if wants_gpu else 1
    here = devices if isinstance(devices, int) else len(devices)
    return here * config.trainer.get("num_nodes", 1)


def start(config: DictConfig, command: str, sweep: bool, quiet: bool = False) -> float:
    """Run the job of a frozen config: alone and on one device in this process, else in others.

    A job of a sweep that has finished is not run again; one that fails does not stop the sweep. ``quiet`` writes
    what it prints to ``output.txt`` in its folder.

    Returns:
        The monitored metric of the best weights; NaN for a job of a sweep that failed.

    Raises:
        InvalidInput: if its folder holds another run, or one that is finished.
        SystemExit: with the exit code of a job that failed or was interrupted, or a sweep that was.
    """
    place = Path(config.folder)
    if folder.claim(config, command) == folder.FINISHED:
        if not sweep:
            raise InvalidInput(f"{place} holds this run, finished; give another hydra.run.dir to run it again.")
        return folder.value(place)
    alone = not sweep and processes(config) == 1
    code = work(place) if alone else apart(place, place / "output.txt" if quiet else None)
    if code and not sweep:
        sys.exit(code)
    return folder.value(place) if code == 0 else float("nan")


def apart(place: Path, output: Path | None = None) -> int:
    """Run the job of a folder in a process of its own, to which signals are passed on.

    Returns:
        Its exit code.

    Raises:
        Interrupted: if this process was asked to end; the job has then ended by itself.
    """
    command = [sys.executable, "-m", "multiscale.jobs.worker", str(place)]
    with Signals(silent=True) as signals:
        signals.deferred = True
        file = output.open("ab") if output else None
        child = subprocess.Popen(command, start_new_session=True, stdout=file, stderr=file)
        passed = 0
        while child.poll() is None:
            if signals.received and not passed:
                passed = signals.received
                child.send_signal(passed)
            time.sleep(0.05)
        if file:
            file.close()
        signals.deferred = False
        if signals.received:
            raise Interrupted(signals.received)
    if child.returncode < 0:
        state = status.Status(place)
        if state.known.get("state") == status.RUNNING:
            state.update(status.INTERRUPTED, error=f"ended by {signal.Signals(-child.returncode).name}")
        return 128 - child.returncode
    return child.returncode


def work(place: Path) -> int:
    """Run the job of a folder in this process, from its last checkpoint if there is one; returns the exit code.

    What went wrong is said on the terminal, and with the traceback in ``error.txt``; a folder that another process has
    is left as it is.
    """
    try:
        with folder.held(place, int(os.environ.get("RANK", "0"))):
            return _work(place)
    except folder.InUse as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR


def _work(place: Path) -> int:
    from multiscale.jobs import train

    if train.rank() == 0:
        (place / "error.txt").unlink(missing_ok=True)
    try:
        train.train(folder.read(place))
    except InvalidInput as error:
        return _failed(place, USER_ERROR, error, f"error: {error}", f"{error}\n")
    except Interrupted as error:
        if train.rank() == 0:
            status.Status(place).update(status.INTERRUPTED, error=str(error))
            print(f"{error}: saved. Go on with: python -m multiscale.run resume={place}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if lost_peer(error):
            time.sleep(GRACE)  # who failed first speaks first, and ends the others
        text = traceback.format_exc()
        return _failed(place, FAILED, error, text.rstrip(), text)
    return 0


def lost_peer(error: Exception) -> bool:
    """Whether another process of the same training is gone, which is that one's failure."""
    words = ("Connection closed by peer", "Connection reset by peer", "NCCL", "recvBuffer", "Broken pipe")
    return "WORLD_SIZE" in os.environ and any(word in str(error) for word in words)


def _failed(place: Path, code: int, error: Exception, said: str, kept: str) -> int:
    """Say what went wrong, unless that of another process was first."""
    if first_error(place, kept):
        line = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        status.Status(place).update(status.FAILED, error=line)
        print(said, file=sys.stderr, flush=True)
    return code


def first_error(place: Path, text: str) -> bool:
    """Keep ``text`` as what went wrong, unless another process of the same training was first."""
    try:
        with (place / "error.txt").open("x") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def describe(place: Path) -> dict[str, Any]:
    """A job in a row of a table: its folder's name, state, metric and what went wrong."""
    known = status.read(place)
    state = known.get("state", "not begun")
    if state == status.RUNNING and status.is_gone(known):
        state, known["error"] = status.INTERRUPTED, "ended without a word"
    return {
        "job": place.name,
        "state": state,
        "epoch": known.get("epoch", 0),
        "value": folder.value(place),
        "error": known.get("error", ""),
    }
