"""One job of a run: instantiate -> fit -> test -> summary, with no branch on a model's or a task's name."""

import json
import logging
import platform
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from multiscale import __version__
from multiscale.checks import InvalidInput, positive_int
from multiscale.data.files import DataError
from multiscale.training.build import build, check_arguments, make
from multiscale.training.loaders import Loaders
from multiscale.training.loggers import closing_lines, finish, log_numbers, log_table
from multiscale.training.module import SequenceModule

QUIET = (  # true of every run here, and of no use to its user
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*LeafSpec.*",
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
        build(config, data.facts)


def train(config: DictConfig) -> float:
    """Run one job in Hydra's run folder; returns the monitored metric of the best weights."""
    with _quiet():
        started = time.monotonic()
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        pl.seed_everything(config.seed, workers=True, verbose=False)
        folder = Path(HydraConfig.get().runtime.output_dir)
        data = make(config, "data")
        data.setup()
        module = build(config, data.facts)
        loggers = make(config, "logger")
        callbacks = list(make(config, "callbacks").values())
        trainer = make(config, "trainer", logger=loggers, callbacks=callbacks, default_root_dir=str(folder))
        try:
            for logger in loggers:
                logger.log_hyperparams(OmegaConf.to_container(config, resolve=True))
            loaders = Loaders(data)
            trainer.fit(module, datamodule=loaders)
            best = _best(trainer, module)
            trainer.test(module, datamodule=loaders, ckpt_path=best, weights_only=True if best else None, verbose=False)
            if trainer.is_global_zero:
                summary = _summary(config, trainer, module, data, folder, time.monotonic() - started)
                (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
                log_table(loggers, "summary", {name: [value] for name, value in _row(summary).items()})
                log_table(loggers, "levels", _levels(summary))
                log_numbers(loggers, {f"cost/{name}": summary[name] for name in ("parameters", "seconds", "epochs")})
                _show(summary)
        except BaseException as error:
            # Lightning turns Ctrl-C and SIGTERM into an exit.
            finish(loggers, failed=True, interrupted=isinstance(error, KeyboardInterrupt | SystemExit))
            raise
        finish(loggers)
        for line in closing_lines(loggers):
            print(line)
        return float(summary["val"][module.task.monitor]) if trainer.is_global_zero else 0.0


def _best(trainer: pl.Trainer, module: SequenceModule) -> str | None:
    """The checkpoint that was best by the monitored metric; None if none is kept, for the last weights."""
    kept = [c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None) == module.task.monitor]
    return kept[0].best_model_path or None if kept else None  # type: ignore[attr-defined]


def _summary(
    config: DictConfig, trainer: pl.Trainer, module: SequenceModule, data: Any, folder: Path, seconds: float
) -> dict[str, Any]:
    """Everything a table or a report needs of a run, as plain values."""
    measured = {name: value.item() for name, value in trainer.callback_metrics.items()}
    backbone = module.backbone
    traces = {key.removeprefix("trace/test/"): v for key, v in measured.items() if key.startswith("trace/test/")}
    levels: list[dict[str, Any]] = [
        {"name": name, "units": units} for name, units in zip(module.level_names, module.level_sizes, strict=True)
    ]
    for key in [key for key in traces if key.rpartition("_")[2].isdigit()]:
        name, _, number = key.rpartition("_")
        levels[int(number) - 1][name] = traces.pop(key)
    best = [c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None) == module.task.monitor]
    score = best[0].best_model_score if best else trainer.callback_metrics[module.task.monitor]  # type: ignore[attr-defined]
    return {
        "name": config.name,
        "seed": config.seed,
        "command": " ".join([Path(sys.executable).name, "-m", "multiscale.run", *sys.argv[1:]]),
        "data": data.facts.report(),
        "val": {module.task.monitor: float(score)},
        "test": {name: value for name, value in measured.items() if name.startswith("test/")},
        "parameters": sum(p.numel() for p in module.parameters()),
        "levels": levels,
        "trace": traces,
        "kernel": backbone.kernel,
        "epochs": trainer.current_epoch,
        "seconds": round(seconds, 1),
        "versions": {
            "multiscale": __version__,
            "torch": torch.__version__,
            "pytorch_lightning": pl.__version__,
            "python": platform.python_version(),
        },
        "folder": str(folder),
        "figures": sorted(str(path) for path in (folder / "figures").glob("*.png")),
        "checkpoints": sorted(str(path) for path in folder.rglob("*.ckpt")),
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
