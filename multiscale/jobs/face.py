"""What the command line of runs does, for Python: words -> config -> run folder -> summary, in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from multiscale.checks import InvalidInput, read_file
from multiscale.config.compose import NeedsPlus, add_plus, compose_jobs
from multiscale.jobs.check import check_words
from multiscale.runs import files, status
from multiscale.runs.signals import CAUGHT, Interrupted

INTERRUPTED_BY = [128 + signum for signum in CAUGHT]  # exit codes


class Trained(NamedTuple):
    """A run that has ended: its folder, and the numbers of its ``summary.json``."""

    folder: Path
    summary: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """The best weights by the monitored metric; the last where no validation chose any."""
        best = self.folder / "checkpoints" / "best.ckpt"
        return best if best.exists() else best.with_name("last.ckpt")


def compose(*words: str, config_dir: str | None = None) -> DictConfig:
    """The config of one run, as ``python -m multiscale.run`` makes it of the same words.

    It cannot be written to: other words give another. ``hydra.run.dir=...`` names the run's folder, which is otherwise
    one of ``runs/`` with the time in its name, and is made by :func:`train`.

    Args:
        words: overrides, as ``model=hmlstm`` or ``trainer.max_epochs=1``; no options.
        config_dir: a folder with YAML of one's own, as of ``--config-dir``.

    Raises:
        InvalidInput: for whatever the command line refuses before it reads data.
    """
    check_texts(words)
    try:
        (job,) = compose_jobs(words, config_dir, several=False)
    except NeedsPlus as missing:
        return compose(*add_plus(words, missing), config_dir=config_dir)
    check_words([job])
    job.config.identity.words = list(words)
    OmegaConf.set_readonly(job.config, True)
    return job.config


def check_texts(words: Sequence[Any]) -> None:
    """Raise :class:`InvalidInput` for a word that is no text, or an option."""
    for word in words:
        if not isinstance(word, str) or word.startswith("-"):
            raise InvalidInput(f"words must be texts of the form key=value; got {word!r}.")


def train(config: DictConfig) -> Trained:
    """Train and test what :func:`compose` gave, in this process, or in several where the trainer has several devices.

    A run that was interrupted in the config's folder goes on where it was.

    Raises:
        InvalidInput: for whatever the command line refuses, before there is a folder; for a folder with a finished run.
        KeyboardInterrupt: after Ctrl-C or an interrupted kernel, when everything is saved.
        RuntimeError: if the run fails; names it in a line, of which ``error.txt`` in the folder has the whole.
    """
    words = OmegaConf.select(config, "identity.words") if isinstance(config, DictConfig) else None
    if words is None:
        raise InvalidInput(f"config must be what multiscale.compose gave; got {type(config).__name__}.")
    config = config.copy()
    OmegaConf.set_readonly(config, False)
    del config.identity.words  # the folder keeps the command that they make

    from multiscale.jobs.run import command_of
    from multiscale.jobs.start import make_ready, start_job  # torch takes a second or two

    folder = Path(config.folder)
    try:
        start_job(config, command_of(words), prepared=make_ready(config))
    except (SystemExit, Interrupted) as end:
        code = end.exit_code if isinstance(end, Interrupted) else end.code
        if code in INTERRUPTED_BY:
            raise KeyboardInterrupt from None
        raise RuntimeError(f"the run in {folder} failed: {status.read(folder).get('error')}") from None
    return Trained(folder, files.parse_json(read_file(folder / "summary.json")))
