"""Callbacks for tests that make something go wrong."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytorch_lightning as pl
import torch


class Spoil(pl.Callback):
    """Adds noise to every weight when the second epoch begins."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            with torch.no_grad():
                for weight in pl_module.parameters():
                    weight.add_(torch.randn_like(weight))


class KillWandb(pl.Callback):
    """Kills the W&B service after the first batch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        if batch_idx == 0:
            for folder in Path("/proc").glob("[0-9]*"):
                with suppress(FileNotFoundError):  # another process, which has ended
                    if f"port-{os.getpid()}.txt".encode() in (folder / "cmdline").read_bytes():
                        os.kill(int(folder.name), signal.SIGKILL)
                        Path("killed").touch()
