"""What the command line of sweeps does, for Python: runs, side by side in a table."""

import logging
import sys
from pathlib import Path
from typing import Any, NamedTuple

from multiscale.config.compose import NeedsPlus, add_plus, read_line
from multiscale.jobs.face import INTERRUPTED_BY, check_texts


class Swept(NamedTuple):
    """A sweep: its folder, and the rows of the ``runs.csv`` and ``configurations.csv`` of ``multiscale.compare``."""

    folder: Path
    runs: list[dict[str, Any]]
    configurations: list[dict[str, Any]]


def sweep(*words: str, config_dir: str | None = None, baseline: str = "") -> Swept:
    """Run what ``python -m multiscale.run -m`` runs of the same words, each job in a process of its own.

    With ``hydra.sweep.dir=...`` the same call again skips the runs that have finished, and goes on with the others. A
    run that fails ends nothing: its row of ``runs`` has the ``reason``.

    Args:
        words: overrides, as ``model=gru,hmlstm`` or ``seed=0,1``; no options.
        config_dir: a folder with YAML of one's own, as of ``--config-dir``.
        baseline: a model or a configuration from which differences by seed are taken.

    Raises:
        InvalidInput: for whatever the command line refuses, before there is a folder; for a ``baseline`` of no run.
        KeyboardInterrupt: after Ctrl-C or an interrupted kernel, when everything is saved.
        RuntimeError: if the sweep ends without a run.
    """
    check_texts(words)
    try:
        folder = _run(words, config_dir)
    except NeedsPlus as missing:
        return sweep(*add_plus(words, missing), config_dir=config_dir, baseline=baseline)

    from multiscale.comparison.runs import read_all
    from multiscale.comparison.table import build
    from multiscale.comparison.text import describe_row, list_runs

    table = build(read_all([folder]), baseline)
    return Swept(folder, list_runs(table), [describe_row(row) for row in table.rows])


def _run(words: tuple[str, ...], config_dir: str | None) -> Path:
    """Run the sweep as Hydra does, and leave this process as it was; returns the folder."""
    from multiscale.jobs.run import run_sweep
    from multiscale.jobs.sweep import Sweep

    options = [] if config_dir is None else ["--config-dir", str(config_dir)]
    root, argv = logging.getLogger(), sys.argv[:]
    handlers, level = root.handlers[:], root.level
    try:
        code = run_sweep(read_line([*options, "-m", *words]))
    finally:
        sys.argv[:], root.handlers[:] = argv, handlers
        root.setLevel(level)
    if code in INTERRUPTED_BY:
        raise KeyboardInterrupt
    if Sweep.folder is None or not any(Sweep.folder.glob("*/status.json")):
        raise RuntimeError(f"the sweep ended with exit code {code} before its first run.")
    return Sweep.folder
