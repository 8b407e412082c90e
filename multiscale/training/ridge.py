"""The callback that solves for the readout by ridge regression, in one reading of the training data."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn

from multiscale.checks import InvalidInput, in_range
from multiscale.data.batch import Batch
from multiscale.training.checkpoint.lightning_internals import end_at_epoch
from multiscale.training.data_check import FitCheck
from multiscale.training.finite import NotFinite
from multiscale.training.module import SequenceModule

KEPT = "ridge"  # under what name a checkpoint holds the sums


class RidgeReadout(FitCheck, pl.Callback):
    """Nothing is trained by gradient: one epoch sums X^T X and X^T Y, which give the head its weights W and b.

    (X^T X + alpha I) [W; b] = X^T Y, in float64, with a row of X for each step that counts: what the head's linear
    layer reads, and a 1 for b, which is not penalised. Y are numbers, or unit vectors of classes, or switches as -1 and
    1, so that the largest output is the class and one above 0 is on, as elsewhere. MSE and accuracy are then what they
    say; but such outputs are no logits: cross-entropy, NLL and bpc are those of a softmax or sigmoid that was fitted to
    nothing. What ``train/`` tells is from before the solution. (Jaeger 2001, GMD report 148, without alpha;
    Lukosevicius 2012, A practical guide to applying echo state networks, section 4, where b is penalised too.)

    All but the head stays as it was drawn, an embedding too, and is read in evaluation mode. The epoch is the only one,
    whatever ``trainer.max_epochs``; the steps of the optimizer change nothing; a validation within the epoch has the
    solution of what was read until then.

    Args:
        alpha: above 0; to be compared with the sum of the squares of a unit over all counted steps.
        washout: steps at the start of each stream, or of each sequence with a target at every step, that do not count.
    """

    def __init__(self, alpha: float = 1.0e-6, washout: int = 0) -> None:
        self.alpha = in_range("alpha", alpha, 0, open_low=True)
        self.washout = int(in_range("washout", washout, 0))
        self.sums: Tensor | None = None  # [F + 1, F + 1 + K], of this process: [X 1]^T [X 1 Y]
        self.seen = 0  # steps of the streams so far
        self.read: list[Tensor] = []  # what the linear layer read of the present batch
        self.hook: Any = None

    def check(self, trainer: pl.Trainer, module: SequenceModule) -> None:
        if _linear(module) is None:
            raise InvalidInput(
                "needs a head of one linear layer with a bias, head=concat or head=top; "
                f"got {type(module.head).__name__}."
            )
        if not module.task.linear:
            raise InvalidInput(
                f"needs a task of classes, numbers, switches or symbols; got {type(module.task).__name__}."
            )
        if trainer.scaler is not None:
            raise InvalidInput("needs a trainer.precision that scales no gradient, for there is none; got 16-mixed.")
        if any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            raise InvalidInput("is not to be had with averaged weights: there is nothing to average.")

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        end_at_epoch(trainer, 1)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.eval().requires_grad_(False)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.hook = _layer(pl_module).register_forward_pre_hook(lambda _, inputs: self.read.append(inputs[0]))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, SequenceModule)
        self.hook.remove()
        x = self.read.pop()
        y, counted = pl_module.task.regressands(batch, _layer(pl_module).out_features)
        if x.size(1) == batch.mask.size(1):
            steps = torch.arange(self.seen, self.seen + x.size(1), device=x.device)
            counted = counted & (steps >= self.washout)
        self.seen += x.size(1) if pl_module.streams else 0
        ones = torch.ones_like(x[..., :1])
        row = torch.cat([x, ones, y], -1)[counted].double()
        more = row[:, : x.size(-1) + 1].T @ row
        self.sums = more if self.sums is None else self.sums.to(more.device) + more

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._solve(trainer, _layer(pl_module))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._solve(trainer, _layer(pl_module))  # unless a validation of the whole has

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.train().requires_grad_(True)

    def _solve(self, trainer: pl.Trainer, layer: nn.Linear) -> None:
        """Give the head the solution of all that was read."""
        if self.sums is None:
            return
        sums = trainer.strategy.reduce(self.sums.clone(), reduce_op="sum")
        assert isinstance(sums, Tensor)
        if not bool(sums[-1, len(sums) - 1]):
            raise InvalidInput(f"washout must leave a step to count; got {self.washout}.")
        solution = solve(sums, self.alpha)
        if not bool(solution.isfinite().all()):
            raise NotFinite("the readout is not finite; what it reads may not be, or alpha may be too small for it.")
        layer.weight.data.copy_(solution[:-1].T)
        layer.bias.data.copy_(solution[-1])
        if trainer.is_last_batch:
            self.sums = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.sums is not None:
            everyones = trainer.strategy.all_gather(self.sums).reshape(trainer.world_size, *self.sums.shape)
            checkpoint[KEPT] = {"sums": everyones.cpu(), "seen": self.seen}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if KEPT in checkpoint:
            self.sums, self.seen = checkpoint[KEPT]["sums"][trainer.global_rank], checkpoint[KEPT]["seen"]


def solve(sums: Tensor, alpha: float) -> Tensor:
    """[W; b] [F + 1, K] of the sums [X 1]^T [X 1 Y]."""
    count = len(sums)
    penalty = torch.full((count,), alpha, dtype=sums.dtype, device=sums.device)
    penalty[-1] = 0
    return torch.linalg.solve(sums[:, :count] + penalty.diag(), sums[:, count:])


def _linear(module: SequenceModule) -> nn.Linear | None:
    """The head's linear layer, if that and its bias are all that the head has."""
    weighted = [part for part in module.head.modules() if next(part.parameters(recurse=False), None) is not None]
    only = weighted[0] if len(weighted) == 1 else None
    return only if isinstance(only, nn.Linear) and only.bias is not None else None


def _layer(module: pl.LightningModule) -> nn.Linear:
    assert isinstance(module, SequenceModule)
    layer = _linear(module)
    assert layer is not None
    return layer
