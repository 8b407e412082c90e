"""Callbacks and helpers that break a run at a chosen place."""

import os
import signal
import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from multiscale.config.compose import jobs
from multiscale.jobs import train
from multiscale.runs import folder as run_folder
from multiscale.training.checkpoint import files

TEXT = "the quick brown fox jumps over the lazy dog, again and again. " * 40
SMALL = ["experiment=quick_look", "logger=csv", "data=text_file", "data.batch_size=4", "data.steps=16"]
SMALL += ["data.split=[0.88,0.06,0.06]"]  # two batches of validation
SMALL += ["+trainer.enable_progress_bar=false", "~callbacks.progress", "~callbacks.figures", "model.hidden_size=16"]
SMALL += ["trainer.log_every_n_steps=1", "+trainer.limit_train_batches=7", "trainer.max_epochs=3"]


class Kill(pl.Callback):
    """Sends this process a signal at a hook of an epoch and batch, the first time it comes there."""

    def __init__(self, hook: str, epoch: int, batch: int = 0, number: int = signal.SIGTERM, rank: int = 0) -> None:
        self.place, self.number, self.rank = (hook, epoch, batch), number, rank
        self.done = Path("killed")

    def _come(self, trainer: pl.Trainer, hook: str, batch: int = 0) -> None:
        here = (hook, trainer.current_epoch, batch) == self.place
        if here and trainer.global_rank == self.rank and not self.done.exists():
            self.done.touch()
            os.kill(os.getpid(), self.number)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        self._come(trainer, "train", batch_idx)

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self._come(trainer, "epoch_end")

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int, dataloader_idx=0) -> None:
        self._come(trainer, "validation", batch_idx)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int, dataloader_idx=0) -> None:
        self._come(trainer, "test", batch_idx)


class Poison(pl.Callback):
    """Makes the loss or a gradient of some batches no number."""

    def __init__(self, what: str, batches: list[int]) -> None:
        self.what, self.batches = what, list(batches)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx: int) -> None:
        self.hooks = []
        if batch_idx in self.batches and self.what == "gradient":
            weight = next(pl_module.backbone.parameters())
            self.hooks.append(weight.register_hook(lambda gradient: gradient * float("nan")))
        if batch_idx in self.batches and self.what == "loss":
            nan = lambda module, inputs, output: output * float("nan")  # noqa: E731
            self.hooks.append(pl_module.head.register_forward_hook(nan))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        for hook in self.hooks:
            hook.remove()


class Raise(pl.Callback):
    """Fails in the middle of the first epoch, in one process, unless a file is there; ``hard``, without a word."""

    def __init__(self, rank: int = 0, hard: bool = False, unless: str = "never") -> None:
        self.rank, self.hard, self.unless = rank, hard, Path(unless)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        if batch_idx == 2 and trainer.global_rank == self.rank and not self.unless.exists():
            if self.hard:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the third batch is haunted")


def run(folder: Path, *words: str) -> None:
    """Run a small job in this process, in ``folder``, from its last checkpoint if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(TEXT)
    (config,) = jobs([*SMALL, f"data.path={folder}/text.txt", *words])
    config.name, config.folder, config.choices = "small", str(folder), {}
    run_folder.save(config)
    before = Path.cwd()
    os.chdir(folder)
    try:
        train.train(folder)
    finally:
        os.chdir(before)


def result(folder: Path) -> tuple[dict, str]:
    """(every value of the training's last checkpoint but for its recipe and who broke it, what was logged)."""
    last = files.load(folder / "checkpoints/last.ckpt")
    kept = {key: value for key, value in last.items() if key != "recipe"}
    values = {key.replace(str(folder), ""): value for key, value in _leaves(kept) if "Kill" not in key}
    values = {key: v.replace(str(folder), "") if isinstance(v, str) else v for key, v in values.items()}
    return values, (folder / "metrics.csv").read_text()


def _leaves(value, where: str = ""):
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else None
    if parts is None:
        yield where, value
    else:
        for key, inner in parts:
            yield from _leaves(inner, f"{where}/{key}")


def differing(one: dict, other: dict) -> list[str]:
    """Names of what is not bit for bit the same."""
    same = {
        n: torch.equal(one[n], other[n]) if torch.is_tensor(one[n]) else one[n] == other[n] for n in one if n in other
    }
    return [name for name, equal in same.items() if not equal] + sorted(one.keys() ^ other.keys())


class Slow(pl.Callback):
    """Makes a small training last long enough to be hit."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        time.sleep(0.05)


class Cut(pl.Callback):
    """Kills its process at a write of a named file, as the variable ``MULTISCALE_CUT`` says: ``name:count:when``.

    ``when`` is half (the file beside it has half of its content), before (it is whole) or after the renaming.
    """

    def __init__(self) -> None:
        if words := os.environ.get("MULTISCALE_CUT"):
            self.name, count, self.when = words.split(":")
            self.left = int(count)
            replace = Path.replace

            def cut(source: Path, target: Path) -> Path:
                self.left -= Path(target).name == self.name
                if self.left or Path(target).name != self.name:
                    return replace(source, target)
                if self.when == "half" and source.stat().st_nlink == 1:  # a link to a file is there or not
                    os.truncate(source, source.stat().st_size // 2)
                if self.when == "after":
                    replace(source, target)
                os.kill(os.getpid(), signal.SIGKILL)
                raise AssertionError("it was killed")

            Path.replace = cut


class Stuck(pl.Callback):
    """Hangs in the twelfth step, once."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        if trainer.global_step == 12 and not Path("stuck").exists():
            time.sleep(60)
