"""One job of a run: instantiate -> fit -> test -> summary, with no branch on a model's or a task's name."""

import json
import logging
import os
import platform
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from multiscale import __version__
from multiscale.analysis import cost
from multiscale.checks import InvalidInput, positive_int
from multiscale.data.files import DataError
from multiscale.runs import files
from multiscale.runs.folder import save
from multiscale.runs.signals import Interrupted, Signals
from multiscale.runs.status import FINISHED, Status
from multiscale.training.build import build, check_arguments, make
from multiscale.training.checkpoint import weights
from multiscale.training.checkpoint.callback import Checkpoints, WholeFiles
from multiscale.training.checkpoint.lightning_internals import end_at_epoch
from multiscale.training.checkpoint.snapshot import is_finished
from multiscale.training.data_check import check_callbacks
from multiscale.training.loaders import Loaders
from multiscale.training.logging.loggers import begin_logs, closing_lines, finish, log_numbers, log_table
from multiscale.training.match import matched
from multiscale.training.module import SequenceModule

QUIET = (  # true of every run here, and of no use to its user
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*LeafSpec.*",
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # the loaders go on where it was
    ".*Experiment logs directory .* exists and is not empty.*",
)


def rehearse(config: DictConfig) -> None:
    """Build everything of a job that can be built without a run folder; raises :class:`InvalidInput`."""
    with _quiet():
        seed = config.seed
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise InvalidInput(f"seed must be a whole number from 0 to 2^32 - 1; got {seed!r}.")
        for group in ("logger", "callbacks"):
            check_arguments(config[group], group)
        if config.threads is not None:
            positive_int("threads", config.threads)
        trainer = make(config, "trainer", logger=False)
        if trainer.max_epochs == 0:
            raise InvalidInput("trainer.max_epochs must be at least 1, or -1 for no limit; got 0.")
        data = make(config, "data")
        try:
            data.setup()
        except DataError:
            raise
        except InvalidInput as error:
            raise InvalidInput(f"data.{error}") from error
        module = build(matched(config, data.facts), data.facts)
        if config.init_from is not None:
            weights.adopt(module, config.init_from)
        check_callbacks(config, data)


def train(config: DictConfig) -> float:
    """Run the job that ``config`` describes in its folder, which is its own, from its last checkpoint if there is one.

    Returns the monitored metric of the best weights.

    Raises:
        InvalidInput: for what the user got wrong.
        Interrupted: after a signal, when everything is saved.
    """
    folder = Path(config.folder)
    with _quiet(), Signals() as signals:
        if rank() == 0:
            files.tidy(folder)
        status = Status(folder if rank() == 0 else None)
        status.begin()
        return _train(config, signals, status)


def rank() -> int:
    """Which of the processes that train together this is."""
    return int(os.environ.get("RANK", "0"))


def _train(config: DictConfig, signals: Signals, status: Status) -> float:
    folder = Path(config.folder)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data = make(config, "data")
    data.setup()
    config, asked = matched(config, data.facts), config
    if config is not asked and rank() == 0:
        save(config)
    module = build(config, data.facts)
    loggers = make(config, "logger")
    callbacks = list(make(config, "callbacks").values())
    keeper = next((callback for callback in callbacks if isinstance(callback, Checkpoints)), None)
    last = keeper.last if keeper is not None and keeper.last.exists() else None
    together = int(os.environ.get("WORLD_SIZE", "1"))
    checkpoint = weights.load_training(module, last, together) if last else None
    resumed = checkpoint["resume"] if checkpoint else None
    if last is None and config.init_from is not None:
        weights.adopt(module, config.init_from)
    begin_logs(loggers, resumed["rows"] if resumed else 0)
    if keeper is not None:
        keeper.attach(signals, status, resumed)
    plugins = [WholeFiles(), TorchElasticEnvironment() if "LOCAL_RANK" in os.environ else LightningEnvironment()]
    places = {"logger": loggers, "callbacks": callbacks, "default_root_dir": str(folder), "plugins": plugins}
    trainer = make(config, "trainer", **places)
    loaders = Loaders(data, *(resumed["at"] if resumed else ()))
    try:
        for logger in loggers:
            logger.log_hyperparams(OmegaConf.to_container(config, resolve=True))
        if checkpoint and is_finished(checkpoint["resume"], trainer):  # perhaps early; nothing is left to fit
            end_at_epoch(trainer, checkpoint["epoch"])
        trainer.fit(module, loaders, ckpt_path=last, weights_only=True if last else None)
        best = keeper.best if keeper is not None and keeper.best.exists() else None
        trainer.test(module, loaders, ckpt_path=best, weights_only=True if best else None, verbose=False)
        signals.deferred = True
        score = keeper.best_score if best and keeper else float(trainer.callback_metrics[module.task.monitor])
        if trainer.is_global_zero:
            summary = _summary(config, trainer, module, data, score, status)
            files.write(folder / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
            log_table(loggers, "summary", {name: [value] for name, value in _row(summary).items()})
            log_table(loggers, "levels", _levels(summary))
            log_numbers(loggers, {f"cost/{name}": summary[name] for name in ("parameters", "seconds", "epochs")})
            _show(summary)
    except BaseException as error:
        signals.deferred = True
        finish(loggers, failed=True, interrupted=isinstance(error, Interrupted | KeyboardInterrupt))
        raise
    finish(loggers)
    for line in closing_lines(loggers):
        print(line)
    status.update(FINISHED, epoch=trainer.current_epoch, step=trainer.global_step)
    return score


def _summary(
    config: DictConfig, trainer: pl.Trainer, module: SequenceModule, data: Any, score: float, status: Status
) -> dict[str, Any]:
    """Everything a table or a report needs of a run, as plain values."""
    folder = Path(config.folder)
    measured = {name: value.item() for name, value in trainer.callback_metrics.items()}
    backbone = module.backbone
    traces = {key.removeprefix("trace/test/"): v for key, v in measured.items() if key.startswith("trace/test/")}
    levels: list[dict[str, Any]] = [
        {"name": name, "units": units} for name, units in zip(module.level_names, module.level_sizes, strict=True)
    ]
    for key in [key for key in traces if key.rpartition("_")[2].isdigit()]:
        name, _, number = key.rpartition("_")
        levels[int(number) - 1][name] = traces.pop(key)
    return {
        "name": config.name,
        "seed": config.seed,
        "command": status.known["command"],
        "choices": OmegaConf.to_container(config.choices),
        "data": data.facts.report(),
        "val": {module.task.monitor: score},
        "test": {name: value for name, value in measured.items() if name.startswith("test/")},
        "parameters": sum(p.numel() for p in module.parameters()),
        "macs": cost.macs(module, levels),
        "state_size": cost.state_size(module),
        "levels": levels,
        "trace": traces,
        "kernel": backbone.kernel,
        "epochs": status.known["epoch"],
        "seconds": round(status.seconds(), 1),
        "versions": {
            "multiscale": __version__,
            "torch": torch.__version__,
            "pytorch_lightning": pl.__version__,
            "python": platform.python_version(),
        },
        "folder": str(folder),
        "figures": sorted(str(path) for path in (folder / "figures").glob("*.png")),
        "checkpoints": [str(path) for path in sorted(folder.rglob("*.ckpt")) if path.stem in ("best", "last")],
    }


COLUMNS = {  # of the table of levels: what is measured, its title, and how it is written
    "units": ("units", "{:d}"),
    "update": ("updates per step", "{:.3f}"),
    "boundary": ("boundaries per step", "{:.3f}"),
    "f1": ("F1", "{:.2f}"),
    "f1_random": ("F1 at random", "{:.2f}"),
}


def _row(summary: dict[str, Any]) -> dict[str, str]:
    """The run's results as one row."""
    row = {"run": f"{summary['name']}, seed {summary['seed']}"}
    row |= {name.replace("/", " "): f"{value:.4f}" for name, value in summary["test"].items()}
    row |= {name: f"{value:.4f}" for name, value in summary["data"]["references"].items()}
    row["parameters"] = f"{summary['parameters']:,}"
    row["operations"] = f"{summary['trace']['operations']:.3f} of a stacked LSTM's updates"
    row["products"] = "{done:,.0f} of {dense:,} multiply-accumulates a step".format(**summary["macs"])
    row["kernel"] = summary["kernel"]
    row["time"] = f"{summary['seconds']:.0f} s for {summary['epochs']} epochs"
    return row


def _levels(summary: dict[str, Any]) -> dict[str, list[str]]:
    """The results of each level, by title; a dash where a level has none."""
    levels = summary["levels"]
    written = {"level": [level["name"] for level in levels]}
    several = sorted({kind for level in levels for kind in level if kind.startswith("f1_") and "random" not in kind})
    columns = COLUMNS | {kind: (kind.replace("f1_", "F1, ").replace("_", " "), "{:.2f}") for kind in several}
    for kind, (title, form) in columns.items():
        if any(kind in level for level in levels):
            written[title] = [form.format(level[kind]) if kind in level else "-" for level in levels]
    return written


def _show(summary: dict[str, Any]) -> None:
    """Print the result, a line a level, and where the files are."""
    console = Console()
    style: Any = {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)}
    result = Table(show_header=False, **style)
    for name, value in _row(summary).items():
        result.add_row(f"[bold]{name}[/bold]", value)
    levels, columns = Table(**style), _levels(summary)
    for title in columns:
        levels.add_column(title, justify="left" if title == "level" else "right")
    for cells in zip(*columns.values(), strict=True):
        levels.add_row(*cells)
    for table in (result, levels):
        console.print()
        console.print(table)
    console.print()
    for kind in ("figure", "checkpoint"):
        for path in summary[f"{kind}s"]:
            console.print(f"{kind:<12}{path}", soft_wrap=True, highlight=False)


class _quiet(warnings.catch_warnings):
    """Without the notices that say nothing to the user of a run."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        for message in QUIET:
            warnings.filterwarnings("ignore", message=message)
        for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
            logging.getLogger(name).setLevel(logging.WARNING)
        return entered
