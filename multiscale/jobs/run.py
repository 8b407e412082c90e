"""The command line of runs: words -> config -> prepared -> run folder -> summary, once, or for each job of a sweep."""

import os
import shlex
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from multiscale.checks import InvalidInput
from multiscale.cli import fail
from multiscale.config.compose import CONF, CommandLine, NeedsPlus, add_plus, compose_jobs, read_line, spell_out
from multiscale.config.hydra_internals import run_single
from multiscale.config.identity import freeze
from multiscale.jobs.check import check_words
from multiscale.runs.signals import Interrupted, Signals, end_with_parent


def run_words(words: list[str]) -> None:
    """Run, sweep or resume as ``words`` say; what can be checked is checked before any folder is made."""
    try:
        if any(word.startswith("resume=") for word in words):
            words = _resume(words)
        line = read_line(words)
        if line.sweeps:
            sys.exit(run_sweep(line))
        if not line.left_to_hydra:
            return _run(line)
    except NeedsPlus as missing:
        return run_words(add_plus(words, missing))
    except InvalidInput as error:
        fail(error)
    except Interrupted as signal:  # the processes of the run have ended, and said how to go on
        sys.exit(signal.exit_code)
    return run()


def _resume(words: list[str]) -> list[str]:
    """Go on with the run that the words name, and exit; or give the words of what is left of a sweep."""
    from multiscale.jobs.resume import read_request, read_sweep, resume_run

    request = read_request(words)
    if (request.folder / "multirun.yaml").exists():
        return read_sweep(request)
    sys.exit(resume_run(request))


def _run(line: CommandLine) -> None:
    """A single run: composed once, prepared once."""
    (job,) = compose_jobs(line.words, line.config_dir, several=False)

    check_words([job])

    from multiscale.jobs.start import make_ready, start_job  # torch takes a second or two

    ready = make_ready(job.config)

    def start(_: DictConfig) -> float:
        try:
            return start_job(job.config, command_of(line.words), prepared=ready)
        except InvalidInput as error:
            fail(error)

    run_single(job.composed, str(CONF), start)


def run_sweep(line: CommandLine) -> int:
    """Check every job, run them, and tell in the end how each went; returns the exit code."""
    words = spell_out(line.words, line.config_dir)
    jobs = compose_jobs(words, line.config_dir, multirun=True)
    check_words(jobs)

    from multiscale.jobs.prepare import check_jobs
    from multiscale.jobs.sweep import Sweep, check_folder, conclude, name_folders
    from multiscale.runs.folder import make

    check_jobs(jobs)
    check_folder(words)
    Sweep.folder = None  # of one before it in this process
    make(Path(jobs[0].composed.hydra.sweep.dir), "hydra.sweep.dir")
    sys.argv[1:] = [*line.options, *words, *name_folders(jobs, words)]
    code = 0
    with Signals(silent=True):
        try:
            run()
        except Interrupted as signal:
            code = signal.exit_code
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return conclude(Sweep.folder, code, len(jobs), words) if Sweep.folder else code


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def run(config: DictConfig) -> float:
    """A job that Hydra composed, one of a sweep's mostly; returns the monitored metric of the best weights."""
    from multiscale.jobs.start import start_job

    known = HydraConfig.get()
    words = list(known.overrides.task)
    sweep = known.mode == RunMode.MULTIRUN
    launcher, parent = known.launcher._target_, os.getppid()
    quiet = sweep and "BasicLauncher" not in launcher
    if "JoblibLauncher" in launcher:
        end_with_parent()  # joblib's own processes would wait for ever for work of one that was killed
    try:
        return start_job(freeze(config, words, str(config.folder)), command_of(words), sweep, quiet)
    except InvalidInput as error:
        if not sweep:
            fail(error)
        raise
    except Interrupted as signal:
        if os.getppid() != parent:
            os._exit(signal.exit_code)  # nobody is left to be told
        raise


def command_of(words: list[str] | tuple[str, ...]) -> str:
    """The command line of these words, without those for Hydra itself."""
    own = [word for word in words if not word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    return shlex.join(["python", "-m", "multiscale.run", *own])
