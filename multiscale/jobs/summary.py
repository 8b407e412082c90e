"""What a run tells at its end: everything a table or a report needs, and a few lines on the terminal."""

import platform
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import EarlyStopping
from rich.console import Console
from rich.table import Table
from rich.text import Text

from multiscale import __version__
from multiscale.jobs.prepare import Prepared
from multiscale.runs.machine import describe_machine
from multiscale.runs.status import Status
from multiscale.training import cost

ALWAYS = [dict.fromkeys(("active", "boundary", "flush"), 1.0)]  # a level that does all its products at every step


def summarise(job: Prepared, score: float, status: Status) -> dict[str, Any]:
    """Everything a table or a report needs of a run that is tested, as plain values."""
    config, trainer, module = job.config, job.trainer, job.module
    folder = Path(config.folder)
    measured = {name: value.item() for name, value in trainer.callback_metrics.items()}
    traces = {key.removeprefix("trace/test/"): v for key, v in measured.items() if key.startswith("trace/test/")}
    levels: list[dict[str, Any]] = [
        {"name": name, "units": units} for name, units in zip(module.level_names, module.level_sizes, strict=True)
    ]
    for key in [key for key in traces if key.rpartition("_")[2].isdigit()]:
        name, _, number = key.rpartition("_")
        levels[int(number) - 1][name] = traces.pop(key)
    stops = [callback for callback in job.callbacks if isinstance(callback, EarlyStopping)]
    return {
        "name": config.name,
        "seed": config.seed,
        "command": status.known["command"],
        "choices": OmegaConf.to_container(config.choices),
        "data": job.data.facts.report(),
        "val": {module.task.monitor: score},
        "unmeasured": [stop.monitor for stop in stops if not isfinite(stop.best_score)],
        "test": {name: value for name, value in measured.items() if name.startswith("test/")},
        "parameters": cost.parameters(module),
        "macs": cost.macs(module, levels) if traces else {**cost.macs(module, ALWAYS * len(levels)), "done": None},
        "state_size": cost.state_size(module),
        "levels": levels,
        "matrices": {name: matrix.tolist() for name, matrix in module.backbone.matrices().items()},
        "trace": traces,
        "kernel": module.backbone.kernel,
        "epochs": status.known["epoch"],
        "seconds": round(status.seconds(), 1),
        "machine": describe_machine(torch.get_num_threads()),
        "versions": {
            "multiscale": __version__,
            "torch": torch.__version__,
            "pytorch_lightning": pl.__version__,
            "python": platform.python_version(),
        },
        "folder": str(folder),
        "figures": sorted(str(path) for path in (folder / "figures").glob("*.png")),
        "profiles": [str(path) for path in sorted(folder.glob("*profile.txt"))],
        "checkpoints": [str(path) for path in sorted(folder.rglob("*.ckpt")) if path.stem in ("best", "last")],
    }


COLUMNS = {  # of the table of levels: what is measured, its title, and how it is written
    "units": ("units", "{:d}"),
    "update": ("updates per step", "{:.3f}"),
    "boundary": ("boundaries per step", "{:.3f}"),
    "explained": ("told by symbol", "{:.2f}"),
}
BASELINES = {"random": "at random", "surprisal": "by surprisal", "entropy": "by entropy", "symbol": "by symbol"}


def describe_run(summary: dict[str, Any]) -> dict[str, str]:
    """The run's results as one row."""
    row = {"run": f"{summary['name']}, seed {summary['seed']}"}
    row |= {name: "not measured: no validation ran" for name, score in summary["val"].items() if not isfinite(score)}
    if not summary["test"]:
        row |= {name.replace("/", " "): f"{score:.4f}" for name, score in summary["val"].items() if isfinite(score)}
        row["test"] = "not measured: trainer.limit_test_batches is 0"
    if summary["unmeasured"]:
        row["early stopping"] = f"{', '.join(summary['unmeasured'])} was never measured"
    row |= {name.replace("/", " "): f"{value:.4f}" for name, value in summary["test"].items()}
    row |= {name: f"{value:.4f}" for name, value in summary["data"]["references"].items()}
    row["parameters"] = f"{summary['parameters']:,}"
    if summary["test"]:
        rewritten = f"{summary['trace']['operations']:.1%} of the units"
        row["a step"] = "{done:,.0f} of {dense:,} products, to rewrite ".format(**summary["macs"]) + rewritten
    row["kernel"] = summary["kernel"]
    row["time"] = f"{summary['seconds']:.0f} s for {summary['epochs']} epoch{'s' * (summary['epochs'] != 1)}"
    return row


def describe_levels(summary: dict[str, Any]) -> dict[str, list[str]]:
    """The results of each level, by title; a dash where a level has none."""
    levels = summary["levels"]
    written = {"level": [level["name"] for level in levels]}
    kinds = {kind for level in levels for kind in level if kind.startswith("f1_")}
    several = sorted(kind for kind in kinds if not kind.endswith((*BASELINES, "always", "shifted")))
    titles = {"f1": "F1"} | {kind: kind.replace("f1_", "F1, ").replace("_", " ") for kind in several}
    best = max(several, key=lambda kind: _beats_chance(levels, kind), default="f1")
    titles |= {f"{best}_{name}": f"{titles[best]} {how}" for name, how in BASELINES.items()}
    columns = COLUMNS | {kind: (title, "{:.2f}") for kind, title in titles.items()}
    for kind, (title, form) in columns.items():
        if any(kind in level for level in levels):
            written[title] = [form.format(level[kind]) if kind in level else "-" for level in levels]
    for name, matrix in summary["matrices"].items():  # of the levels that read forwards
        rows = [" ".join(f"{100 * value:.0f}" for value in row) for row in matrix]
        written[f"{name} to level 1, 2, ... (%)"] = rows + ["-"] * (len(levels) - len(rows))
    return written


def _beats_chance(levels: Sequence[Mapping[str, Any]], kind: str) -> float:
    """By how much the F1 of the best level is above that of as many boundaries at random."""
    return max(level[kind] - level.get(f"{kind}_random", 0.0) for level in levels if kind in level)


def show(summary: dict[str, Any]) -> None:
    """Print the result, a line a level, and where the files are."""
    console = Console()
    style: Any = {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)}
    result = Table(show_header=False, **style)
    for name, value in describe_run(summary).items():
        result.add_row(Text(name, "bold"), Text(value))
    tables, columns = [result], describe_levels(summary)
    scores = [title for title in columns if title.startswith("F1")]  # in a table of their own, as both fit 80 columns
    held = [title for title in scores if title.startswith("F1, ") and title.endswith(tuple(BASELINES.values()))]
    beside = held[0].removesuffix(f" {BASELINES['random']}") if held else ""  # the reference that is found best
    for titles in (
        [title for title in columns if title not in scores],
        ["level", *(title for title in scores if title not in held)] if scores else [],
        ["level", beside, *held] if held else [],
    ):
        levels = Table(**style)
        for title in titles:
            head = title.removeprefix(f"{beside} ") if held else title
            levels.add_column(head, justify="left" if title == "level" else "right")
        for cells in zip(*(columns[title] for title in titles), strict=True):
            levels.add_row(*map(Text, cells))
        tables += [levels] if titles else []
    for table in tables:
        console.print()
        console.print(table)
    console.print()
    for kind in ("figure", "profile", "checkpoint"):
        for path in summary[f"{kind}s"]:
            console.print(f"{kind:<12}{path}", soft_wrap=True, highlight=False, markup=False)
