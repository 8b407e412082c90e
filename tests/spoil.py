"""A callback for tests: makes the network worse after its first epoch."""

import pytorch_lightning as pl
import torch


class Spoil(pl.Callback):
    """Adds noise to every weight when the second epoch begins."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            with torch.no_grad():
                for weight in pl_module.parameters():
                    weight.add_(torch.randn_like(weight))
