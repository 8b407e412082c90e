"""The callback that says early when a level's boundary detector has died."""

import logging

import pytorch_lightning as pl

from multiscale.training.module import SequenceModule

log = logging.getLogger(__name__)

RARE = 0.001  # a level that fires less often than this, or keeps still less often, has collapsed,
BEYOND = 0.99  # and so has one of whose decisions a larger share passes no gradient


class CollapseWarning(pl.Callback):
    """Warns, once a level, after the first validation that finds its boundary to fire never or always, or its decisions
    out of the gradient's reach: it will not come back by itself."""

    def __init__(self) -> None:
        self.warned: set[str] = set()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero or not isinstance(pl_module, SequenceModule):
            return
        first = pl_module.backbone.detecting
        backwards = pl_module.reverse.level_names[first:] if pl_module.reverse else ()
        without = {*pl_module.backbone.level_names[first:], *(f"{name}, backwards" for name in backwards)}
        for number, name in enumerate(pl_module.level_names, 1):
            rate = trainer.callback_metrics.get(f"trace/boundary_{number}")
            beyond = trainer.callback_metrics.get(f"trace/saturation_{number}")
            if rate is None or name in without | self.warned:
                continue
            if RARE <= rate <= 1 - RARE and (beyond is None or beyond <= BEYOND):
                continue
            self.warned.add(name)
            decided = "" if beyond is None else f", and {100 * beyond:.0f}% of its decisions pass no gradient"
            log.warning(
                "%s has collapsed: its boundary fired at %.2f%% of the steps of epoch %d%s; standardised boundaries "
                "(model.boundary, as of model=hmlstm) keep the levels of an HM-LSTM alive",
                name,
                100 * rate,
                trainer.current_epoch + 1,
                decided,
            )
