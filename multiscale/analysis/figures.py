"""The callback that draws what the network does on a passage of validation data."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from multiscale.analysis import excerpt
from multiscale.checks import positive_int
from multiscale.training.logging.loggers import log_image
from multiscale.training.module import SequenceModule


class Figures(pl.Callback):
    """Saves the boundary figure and the clock raster as PNG, every few epochs and from the best weights at the end.

    For clocks that learn, also their periods over the epochs, beside the true ones where the data know them; and what a
    backbone tells of pairs of its levels. What the final ones show is also written as numbers.

    Args:
        folder: where to; ``<figure>.png`` is the final one, ``epochs/<figure>_<epoch>.png`` those on the way, and
            ``../excerpt.json`` the numbers.
        every_n_epochs: how often.
    """

    def __init__(self, folder: str, every_n_epochs: int) -> None:
        self.folder = Path(folder)
        self.every_n_epochs = positive_int("every_n_epochs", every_n_epochs)
        self.periods: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        return {"periods": [epoch.tolist() for epoch in self.periods]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.periods = [torch.tensor(epoch) for epoch in state_dict["periods"]]

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
        from multiscale.analysis import plots  # matplotlib, which a run needs no sooner

        shown = excerpt.read(module, data)
        figures = {"raster": plots.draw_raster(shown.update, shown.names, shown.true_periods, shown.start)}
        if shown.boundary is not None:
            seen = (shown.symbols, shown.boundary, shown.probability, shown.names, shown.truth, shown.start)
            figures["boundaries"] = plots.draw_boundaries(*seen)
        for name, matrix in shown.matrices.items():
            figures[name] = plots.draw_matrix(matrix, name, shown.names[: len(matrix)])
        if self.periods and not suffix:
            figures["periods"] = plots.draw_periods(torch.stack(self.periods), shown.true_periods)
        for name, figure in figures.items():
            log_image(trainer.loggers, f"figures/{name}", plots.save(figure, folder / f"{name}{suffix}.png"))
        if not suffix:
            excerpt.write(shown, self.periods, self.folder.parent / "excerpt.json")
