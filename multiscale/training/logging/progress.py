"""The progress bar of a run."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme


class Progress(RichProgressBar):
    """Lightning's rich bar with one line an epoch: bits per character, updates per step, and nothing of the logger."""

    def __init__(self) -> None:
        super().__init__(leave=True, theme=RichProgressBarTheme(metrics_text_delimiter="  "))

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, int | str | float | dict]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
