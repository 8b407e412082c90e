"""The callback that draws what the network does on a passage of validation data."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor

from multiscale.analysis import plots
from multiscale.backbones.base import BackboneOutput
from multiscale.checks import positive_int
from multiscale.data.module import DataModule
from multiscale.training.loggers import log_image
from multiscale.training.module import SequenceModule

LENGTH, WARM_UP = 270, 256  # steps drawn, and read before them so that the state is not new


class Figures(pl.Callback):
    """Saves the boundary figure and the clock raster as PNG, every few epochs and from the best weights at the end.

    For clocks that learn, also their periods over the epochs; beside the true ones where the data know them.

    Args:
        folder: where to; ``<figure>.png`` is the final one, ``epochs/<figure>_<epoch>.png`` those on the way.
        every_n_epochs: how often.
    """

    def __init__(self, folder: str, every_n_epochs: int) -> None:
        self.folder = Path(folder)
        self.every_n_epochs = positive_int("every_n_epochs", every_n_epochs)
        self.periods: list[Tensor] = []

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if trainer.state.fn == "fit" and isinstance(pl_module, SequenceModule):
            told = pl_module.backbone.measures()
            self.periods += [told["period"].cpu()] if "period" in told else []
        if trainer.state.fn == "fit" and epoch % self.every_n_epochs == 0:
            self._draw(trainer, pl_module, self.folder / "epochs", f"_{epoch:03d}")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._draw(trainer, pl_module, self.folder, "")

    def _draw(self, trainer: pl.Trainer, module: pl.LightningModule, folder: Path, suffix: str) -> None:
        data = trainer.datamodule.data  # type: ignore[attr-defined]
        if not trainer.is_global_zero or not isinstance(module, SequenceModule):
            return
        text, hidden = excerpt(module, data)
        assert hidden.trace is not None
        shown = slice(-len(text), None)
        update, names = hidden.trace.update[0, shown].cpu(), hidden.trace.names
        start = hidden.trace.update.size(1) - len(text)
        figures = {"raster": plots.raster_figure(update, names, data.true_periods(), start)}
        if hidden.trace.boundary is not None:
            norms = torch.stack([level[0, shown].float().norm(dim=-1) for level in hidden.levels], -1)
            boundary = hidden.trace.boundary[0, shown].cpu()
            figures["boundaries"] = plots.boundary_figure(text, boundary, norms.cpu(), names)
        if self.periods and not suffix:
            figures["periods"] = plots.period_figure(torch.stack(self.periods), data.true_periods())
        for name, figure in figures.items():
            log_image(trainer.loggers, f"figures/{name}", plots.save(figure, folder / f"{name}{suffix}.png"))


@torch.no_grad()
def excerpt(module: SequenceModule, data: DataModule) -> tuple[tuple[str, ...], BackboneOutput]:
    """What is written under a validation passage, and what the backbone did on it and on the steps before it."""
    passage = data.passage(WARM_UP + LENGTH)
    hidden = module(passage.inputs.to(module.device), trace=True)[1]
    return passage.symbols[-LENGTH:], hidden
