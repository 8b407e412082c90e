"""What Hydra has no public name for: its own parser of a command line, and the callbacks of a single run."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig


def make_parser() -> ArgumentParser:
    """The parser of every option that Hydra takes."""
    return get_args_parser()


def run_single(config: DictConfig, conf: str, job: Callable[[DictConfig], Any]) -> None:
    """Do ``job`` as Hydra does the one job of a command line, on a config that is composed already, Hydra's part too.

    Hydra's settings hold: its callbacks, its logging, variables of the environment, the working directory.
    """
    with initialize_config_dir(conf, version_base="1.3", job_name="run"):
        loader = GlobalHydra.instance().config_loader()
        callbacks = Callbacks(config)
        callbacks.on_run_start(config=config, config_name="config")
        context = HydraContext(config_loader=loader, callbacks=callbacks)
        done = run_job(job, config, "hydra.run.dir", None, context)
        callbacks.on_run_end(config=config, config_name="config", job_return=done)
        _ = done.return_value  # raises what the job raised
