"""The one LightningModule: encoder -> backbone -> head -> loss + weight * penalty."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from multiscale.backbones.base import Backbone, BackboneOutput, State, Trace, detach
from multiscale.data.streams import IGNORE, Batch
from multiscale.training.tally import Tally
from multiscale.training.tasks import Task


class SequenceModule(pl.LightningModule):
    """Trains any backbone with any head on any task, by truncated back-propagation through contiguous streams.

    The state goes from chunk to chunk, detached, and starts anew with every epoch of every split.

    Args:
        encoder: ``Batch.inputs`` to [B, T, D].
        backbone: [B, T, D] to L levels.
        head: L levels to [B, T, output_size].
        task: loss and metrics.
        optimizer: parameters to an optimizer.
        scheduler: optimizer to a learning-rate schedule, stepped each epoch with ``task.monitor``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        backbone: Backbone,
        head: nn.Module,
        task: Task,
        optimizer: Callable[..., Optimizer] = torch.optim.Adam,
        scheduler: Callable[[Optimizer], Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.backbone, self.head, self.task = encoder, backbone, head, task
        self.optimizer, self.scheduler = optimizer, scheduler
        self.val_tally, self.test_tally = Tally(backbone.level_sizes), Tally(backbone.level_sizes)
        self.carried: dict[str, State | None] = {}
        self.recipe: dict[str, Any] = {}  # what rebuilds this module from its checkpoint

    def forward(
        self, inputs: Tensor, state: State | None = None, *, trace: bool = False
    ) -> tuple[Tensor, BackboneOutput]:
        """Outputs [B, T, output_size] for ``inputs`` [B, T], with what the backbone returned."""
        hidden = self.backbone(self.encoder(inputs), state, trace=trace)
        return self.head(hidden.levels), hidden

    def _read(self, split: str, batch: Batch) -> tuple[Tensor, Tensor, BackboneOutput]:
        """(loss sum, number of targets, backbone's output) of the next chunk of a split; carries the state on."""
        outputs, hidden = self(batch.inputs, self.carried.get(split), trace=True)
        self.carried[split] = detach(hidden.state)
        return *self.task.loss(outputs, batch), hidden

    def on_train_epoch_start(self) -> None:
        self.carried["train"] = None

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.backbone.anneal(self.current_epoch + batch_idx / self.trainer.num_training_batches)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        total, targets, hidden = self._read("train", batch)
        loss = total / targets.clamp(min=1)
        assert hidden.trace is not None
        progress = {f"train/{name}": value for name, value in self.task.metrics(loss.detach()).items()}
        progress["train/updates"] = hidden.trace.update.mean((0, 1)).sum()
        self.log_dict(progress, prog_bar=True, batch_size=len(batch.inputs))
        self.log("train/penalty", hidden.penalty.detach(), batch_size=len(batch.inputs))
        return loss + self.task.penalty_weight * hidden.penalty

    def on_validation_epoch_start(self) -> None:
        self.carried["val"] = None

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Trace]:
        return self._evaluate("val", self.val_tally, batch)

    def on_validation_epoch_end(self) -> None:
        self._conclude("val", self.val_tally)

    def on_test_epoch_start(self) -> None:
        self.carried["test"] = None

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Trace]:
        return self._evaluate("test", self.test_tally, batch)

    def on_test_epoch_end(self) -> None:
        self._conclude("test", self.test_tally)

    def _evaluate(self, split: str, tally: Tally, batch: Batch) -> dict[str, Trace]:
        """Count a chunk; its trace is for callbacks."""
        total, targets, hidden = self._read(split, batch)
        assert hidden.trace is not None
        tally.update(total, targets, hidden.trace, batch.targets != IGNORE)
        return {"trace": hidden.trace}

    def _conclude(self, split: str, tally: Tally) -> None:
        rates = tally.compute()
        tally.reset()
        metrics = {f"{split}/{name}": value for name, value in self.task.metrics(rates.pop("loss")).items()}
        self.log_dict(metrics, prog_bar=split == "val")
        where = trace_prefix(split)
        self.log(f"{where}/operations", rates.pop("operations"))
        for name, levels in rates.items():
            # A metric of one element comes back without its axis.
            self.log_dict({f"{where}/{name}_{level}": rate for level, rate in enumerate(levels.reshape(-1), 1)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["recipe"] = self.recipe

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        schedule = {"scheduler": self.scheduler(optimizer), "monitor": self.task.monitor, "interval": "epoch"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def trace_prefix(split: str) -> str:
    """Under what name a split's traces are logged: the validation's, which make curves, go without it."""
    return "trace" if split == "val" else f"trace/{split}"
