"""How jobs are started: in this process, in one of their own, or in several; what their ends mean."""

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
from multiscale.config.identity import to_plain
from multiscale.jobs.prepare import Prepared, prepare
from multiscale.runs import folder as folders
from multiscale.runs import status
from multiscale.runs.files import DiskFull
from multiscale.runs.processes import get_rank, is_rank
from multiscale.runs.signals import Interrupted, Signals
from multiscale.training.devices import count_processes

FAILED = 1
GRACE = 10  # seconds that a process which lost a peer waits to be ended with it


def make_ready(config: DictConfig) -> Prepared | None:
    """Prepare the job of a frozen config and make its folder, for :func:`start_job`; None where several processes train
    it, which prepare it themselves.

    Raises:
        InvalidInput: for a mistake in the config, before there is a folder.
    """
    prepared = prepare(config)
    folders.make(Path(config.folder), "hydra.run.dir")
    return None if needs_processes(config) else prepared


def start_job(
    config: DictConfig, command: str, sweep: bool = False, quiet: bool = False, prepared: Prepared | None = None
) -> float:
    """Run the job of a frozen config: alone and on one device in this process, else in others.

    A job of a sweep that has finished is not run again; one that fails does not stop the sweep. ``quiet`` writes
    what it prints to ``output.txt`` in its folder. What is ``prepared`` of it is used where it runs in this process.

    Returns:
        The monitored metric of the best weights; NaN for a job of a sweep that failed.

    Raises:
        InvalidInput: if its folder holds another run, or one that is finished.
        SystemExit: with the exit code of a job that failed or was interrupted, or a sweep that was.
    """
    folder = Path(config.folder)
    if folders.claim(config, command) == folders.FINISHED:
        if not sweep:
            raise InvalidInput(f"{folder} holds this run, finished; give another hydra.run.dir to run it again.")
        return folders.value(folder)
    if sweep or needs_processes(config):
        code = run_in_process(folder, folder / "output.txt" if quiet else None)
    else:
        code = run_here(folder, prepared)
    if code and not sweep:
        sys.exit(code)
    return folders.value(folder) if code == 0 else float("nan")


def needs_processes(config: DictConfig) -> bool:
    """Whether several processes train the job together."""
    return count_processes(to_plain(config.trainer)) > 1


def run_in_process(folder: Path, output: Path | None = None) -> int:
    """Run the job of a folder in a process of its own, to which signals are passed on.

    Returns:
        Its exit code.

    Raises:
        Interrupted: if this process was asked to end; the job has then ended by itself.
    """
    command = [sys.executable, "-m", "multiscale.jobs.worker", str(folder)]
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
        state = status.Status(folder)
        if state.known.get("state") == status.RUNNING:
            state.update(status.INTERRUPTED, error=f"ended by {signal.Signals(-child.returncode).name}")
        return 128 - child.returncode
    return child.returncode


def run_here(folder: Path, prepared: Prepared | None = None) -> int:
    """Run the job of a folder in this process, from its last checkpoint if there is one; returns the exit code.

    What went wrong is said on the terminal, and with the traceback in ``error.txt``; a folder that another process has
    is left as it is.
    """
    try:
        with folders.held(folder, get_rank()):
            return _run(folder, prepared)
    except InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR


def _run(folder: Path, prepared: Prepared | None) -> int:
    from multiscale.training.lean import import_lightning

    import_lightning()
    from multiscale.jobs.train import train
    from multiscale.training.finite import NotFinite

    if get_rank() == 0:
        (folder / "error.txt").unlink(missing_ok=True)
    try:
        train(folder, prepared)
    except InvalidInput as error:
        return _fail(folder, USER_ERROR, error, f"error: {error}", f"{error}\n")
    except Interrupted as error:
        if get_rank() == 0:
            status.Status(folder).update(status.INTERRUPTED, error=str(error))
            print(f"{error}: saved. Go on with: python -m multiscale.run resume={folder}", file=sys.stderr)
        return error.exit_code
    except (NotFinite, DiskFull) as error:
        told = error.strerror if isinstance(error, DiskFull) else error
        return _fail(folder, FAILED, error, f"error: {told}", traceback.format_exc())
    except Exception as error:
        if _lost_peer(error):
            time.sleep(GRACE)  # who failed first speaks first, and ends the others
        text = traceback.format_exc()
        return _fail(folder, FAILED, error, text.rstrip(), text)
    return 0


def _lost_peer(error: Exception) -> bool:
    """Whether another process of the same training is gone, which is that one's failure."""
    words = (
        "Connection closed by peer",
        "Connection reset by peer",
        "NCCL",
        "recvBuffer",
        "Broken pipe",
        "remote worker",
    )
    return is_rank() and any(word in str(error) for word in words)


def _fail(folder: Path, code: int, error: Exception, message: str, kept: str) -> int:
    """Say what went wrong, unless that of another process was first."""
    if keep_first_error(folder, kept):
        line = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        status.Status(folder).update(status.FAILED, error=line)
        print(message, file=sys.stderr, flush=True)
    return code


def keep_first_error(folder: Path, text: str) -> bool:
    """Keep ``text`` as what went wrong, unless another process of the same training was first."""
    try:
        with (folder / "error.txt").open("x") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def describe_job(folder: Path) -> dict[str, Any]:
    """A job in a row of a table: its folder's name, state, metric and what went wrong."""
    known = status.read(folder)
    state = known.get("state", "not begun")
    if state == status.RUNNING and status.is_gone(known):
        state, known["error"] = status.INTERRUPTED, "ended without a word"
    return {
        "job": folder.name,
        "state": state,
        "epoch": known.get("epoch", 0),
        "value": folders.value(folder),
        "error": known.get("error", ""),
    }
