"""The callback that says early when a level's boundary detector has died."""

import logging
from typing import Any

import pytorch_lightning as pl

from multiscale.training.module import SequenceModule

log = logging.getLogger(__name__)

RARE = 0.001  # a level that fires less often than this, or keeps still less often, has collapsed,
BEYOND = 0.99  # and so has one of whose decisions a larger share passes no gradient

TRY = (
    "It will not come back by itself. Try model=hmlstm, whose detector is held to model.boundary.rates; there, other "
    "rates, a lower optim.optimizer.lr, or another seed."
)


class CollapseWarning(pl.Callback):
    """Warns, once in a run of each level, after the first validation that finds its boundary to fire never or always,
    or its decisions out of the gradient's reach, and says what to try."""

    def __init__(self) -> None:
        self.warned: set[str] = set()

    def state_dict(self) -> dict[str, Any]:
        return {"warned": sorted(self.warned)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.warned = set(state_dict["warned"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero or not isinstance(pl_module, SequenceModule):
            return
        first = pl_module.backbone.detecting
        backwards = pl_module.reverse.level_names[first:] if pl_module.reverse else ()
        without = {*pl_module.backbone.level_names[first:], *(f"{name}, backwards" for name in backwards)}
        told = []
        for number, name in enumerate(pl_module.level_names, 1):
            rate = trainer.callback_metrics.get(f"trace/boundary_{number}")
            beyond = trainer.callback_metrics.get(f"trace/saturation_{number}")
            if rate is None or name in without | self.warned:
                continue
            if RARE <= rate <= 1 - RARE and (beyond is None or beyond <= BEYOND):
                continue
            self.warned.add(name)
            decided = "" if beyond is None else f", {100 * beyond:.0f}% of its decisions pass no gradient"
            told.append(f"{name} (a boundary at {100 * rate:.2f}% of the steps{decided})")
        if told:
            log.warning("collapsed in epoch %d: %s. %s", trainer.current_epoch + 1, "; ".join(told), TRY)
