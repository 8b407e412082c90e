"""The progress bar of a run."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme
from rich import get_console

BAR, BESIDE, GAP = 6, 47, 2  # characters: of the bar, of all but the metrics, between two metrics


class Progress(RichProgressBar):
    """Lightning's rich bar with one line an epoch, which fits the terminal: the metrics of the validation, those of the
    training, and updates per step, as far as there is room, which on 80 columns is for two."""

    def __init__(self) -> None:
        super().__init__(leave=True, theme=RichProgressBarTheme(metrics_text_delimiter=GAP * " "))

    def configure_columns(self, trainer: pl.Trainer) -> list[Any]:
        described, bar, batches, time, _ = super().configure_columns(trainer)
        bar.bar_width = BAR
        return [described, bar, batches, time]

    def _get_train_description(self, current_epoch: int) -> str:
        """Epochs count from 1, as in the summary and the page; how many is not known where steps or time end a run."""
        last = self.trainer.max_epochs
        counted = f"Epoch {current_epoch + 1}" + (f"/{last}" if last is not None and last > 0 else "")
        return f"{counted:{len(self.validation_description)}}"

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, int | str | float | dict]:
        known = super().get_metrics(trainer, pl_module)
        known.pop("v_num", None)  # of the logger
        left, shown = get_console().width - BESIDE, {}
        for name in sorted(known, key=lambda name: (name == "train/updates", not name.startswith("val/"))):
            left -= len(f"{name}: {known[name]:{self.theme.metrics_format}}") + GAP
            if left + GAP < 0:
                break
            shown[name] = known[name]
        return shown
