"""An HM-LSTM in a LightningModule of one's own: it tells at which step of a sequence a mark stood."""

import sys

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from multiscale import HMLSTM, Top

STEPS, SIZE = 12, 4


class Finder(pl.LightningModule):
    """Reads x [B, T, D], and says after the last step which step had the mark."""

    def __init__(self) -> None:
        super().__init__()
        self.network = HMLSTM(SIZE, [16, 16])
        self.head = Top(self.network.level_sizes, STEPS)

    def on_train_epoch_start(self) -> None:
        self.network.anneal(self.current_epoch)  # else the slope stays where it began

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, place = batch
        output = self.network(x)
        loss = F.cross_entropy(self.head(output.levels)[:, -1], place)
        self.log("train/loss", loss, on_epoch=True)
        return loss + output.penalty

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([*self.network.parameter_groups(), {"params": self.head.parameters()}], lr=0.01)


def marked(count: int) -> TensorDataset:
    """Noise in which the first channel of one step is 3 higher, and which step that is."""
    x, place = torch.randn(count, STEPS, SIZE), torch.randint(STEPS, (count,))
    x[torch.arange(count), place, 0] += 3
    return TensorDataset(x, place)


def main(epochs: int = 3, count: int = 512) -> float:
    """The loss at the end, in nats."""
    pl.seed_everything(0)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(Finder(), DataLoader(marked(count), batch_size=32, shuffle=True))
    return float(trainer.callback_metrics["train/loss"])


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
