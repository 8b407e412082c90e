"""Train one backbone, test it, and say what it learned: ``python -m multiscale.run [group=choice] [key=value]``.

compose -> check -> instantiate -> fit -> test -> summary. A sweep is ``-m`` with lists: ``-m model=hmlstm,clockwork``;
what was stopped goes on with ``resume=<folder of the run or sweep>``.
"""

import shlex
import sys
from argparse import ArgumentParser
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from multiscale.checks import InvalidInput
from multiscale.cli import fail
from multiscale.config.compose import CONF, composed

FLAGS = (  # of Hydra
    *("-m", "--multirun", "-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "-p", "--package", "--resolve"),
    *("-r", "--run", "-i", "--info", "-cp", "--config-path", "-cn", "--config-name", "-sc", "--shell-completion"),
    "--experimental-rerun",
)

SWEEP = ("-m", "--multirun")


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def run(config: DictConfig) -> float:
    """One job; returns the monitored metric of the best weights, for a sweeper to minimise."""
    from multiscale.jobs import start
    from multiscale.runs import folder

    hydra_config = HydraConfig.get()
    command = shlex.join(["python", "-m", "multiscale.run", *hydra_config.overrides.task])
    sweep = hydra_config.mode == RunMode.MULTIRUN
    quiet = sweep and "BasicLauncher" not in hydra_config.launcher._target_
    try:
        return start.start(folder.frozen(config), command, sweep, quiet)
    except InvalidInput as error:
        if not sweep:
            fail(error)
        raise


def check(arguments: list[str]) -> int:
    """Compose and build every job of a command line without running it; returns how many there are.

    Raises:
        InvalidInput: for whatever is wrong with any of them.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd")
    known, rest = parser.parse_known_args(arguments)
    flags = [word for word in rest if word.startswith("-")]
    if unknown := [flag for flag in flags if flag.partition("=")[0] not in FLAGS]:
        raise InvalidInput(
            f"{unknown[0]} is not an option; values have no dashes, as model=hmlstm, and --help names all."
        )
    if not set(flags) <= set(SWEEP):
        return 0  # --help and the like run nothing
    words = [word for word in rest if not word.startswith("-")]
    several = bool(set(SWEEP) & set(rest)) or "hydra.mode=MULTIRUN" in words
    found = composed(words, known.config_dir, several, multirun=several)

    from multiscale.jobs.preflight import preflight  # each takes a second or two to import

    preflight(found)

    from multiscale.jobs import sweep

    for word in words:
        if word.startswith("hydra.sweep.dir="):
            sweep.check_folder(Path(word.partition("=")[2]), words)

    from multiscale.jobs.train import rehearse

    for job in found:
        with job.named():
            rehearse(job.config)
    return len(found)


def main() -> None:
    """The command line; what can be checked is checked before any folder is made."""
    words = sys.argv[1:]
    try:
        if any(word.startswith("resume=") for word in words):
            from multiscale.jobs.resume import resume

            words = sys.argv[1:] = resume(words)
        count = check(words)
    except InvalidInput as error:
        fail(error)
    if count and set(SWEEP) & set(words):
        sys.exit(_sweep(count))
    run()


def _sweep(count: int) -> int:
    """Run the jobs, and tell in the end how each went; returns the exit code."""
    from multiscale.jobs.sweep import Sweep, conclude
    from multiscale.runs.signals import Interrupted, Signals

    code = 0
    with Signals(silent=True):
        try:
            run()
        except Interrupted as signal:
            code = signal.exit_code
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return conclude(Sweep.folder, code, count) if Sweep.folder else code


if __name__ == "__main__":
    main()
