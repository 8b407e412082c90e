"""Train one backbone, test it, and say what it learned: ``python -m multiscale.run [group=choice] [key=value]``.

compose -> check -> instantiate -> fit -> test -> summary. A sweep is ``-m`` with lists: ``-m model=hmlstm,clockwork``.
"""

import sys
from argparse import ArgumentParser

import hydra
from omegaconf import DictConfig

from multiscale.checks import InvalidInput
from multiscale.command import fail
from multiscale.configuration import CONF, composed

FLAGS = (  # of Hydra
    *("-m", "--multirun", "-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "-p", "--package", "--resolve"),
    *("-r", "--run", "-i", "--info", "-cp", "--config-path", "-cn", "--config-name", "-sc", "--shell-completion"),
    "--experimental-rerun",
)


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def run(config: DictConfig) -> float:
    """One job; returns the monitored metric of the best weights, for a sweeper to minimise."""
    from multiscale.session import train

    try:
        return train(config)
    except InvalidInput as error:
        fail(error)


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
    if not set(flags) <= {"-m", "--multirun"}:
        return 0  # --help and the like run nothing
    words = [word for word in rest if not word.startswith("-")]
    several = bool({"-m", "--multirun"} & set(rest)) or "hydra.mode=MULTIRUN" in words
    found = composed(words, known.config_dir, several)

    from multiscale.preflight import preflight  # each takes a second or two to import

    preflight(found)

    from multiscale.session import rehearse

    for job in found:
        with job.named():
            rehearse(job.config)
    return len(found)


def main() -> None:
    """The command line; what can be checked is checked before any folder is made."""
    try:
        check(sys.argv[1:])
    except InvalidInput as error:
        fail(error)
    run()


if __name__ == "__main__":
    main()
