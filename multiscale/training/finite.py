"""The callback that catches a loss or a gradient that is no number before it reaches the weights."""

import logging

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from multiscale.checks import one_of, positive_int
from multiscale.training.module import SequenceModule

log = logging.getLogger(__name__)


class NotFinite(ArithmeticError):
    """A loss or gradient is NaN or infinite."""


class FiniteNumbers(pl.Callback):
    """Looks at the loss and all gradients before each step of the optimizer: one number, of all processes together.

    If any is NaN or infinite, the step is not made. ``raise`` ends the run with :class:`NotFinite`; ``skip`` goes on
    without the step, with the state that its batch began with, and raises at more than ``up_to`` of them. Either names
    the step, the batch, and what was not finite. Where gradients are scaled for half precision, the scaler skips
    by itself, and only the loss is looked at.

    Args:
        on_bad: ``raise`` or ``skip``.
        up_to: steps to skip in a run.
    """

    def __init__(self, on_bad: str = "raise", up_to: int = 10) -> None:
        self.on_bad = one_of("on_bad", on_bad, ("raise", "skip"))
        self.up_to = positive_int("up_to", up_to)
        self.skipped = 0

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.skipped = state_dict["skipped"]

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        assert isinstance(pl_module, SequenceModule)
        weights = [p for group in optimizer.param_groups for p in group["params"]]  # the module's own walk takes longer
        gradients = [p.grad for p in weights if p.grad is not None]
        scaled = trainer.scaler is not None
        norm = torch.zeros(()) if scaled else get_total_norm(gradients)
        total = pl_module.last_loss.float() + norm.to(pl_module.last_loss.device)
        if trainer.world_size > 1:
            distributed.all_reduce(total)
        if not bool(total.isfinite()):
            self._refuse(trainer, pl_module)

    def _refuse(self, trainer: pl.Trainer, module: SequenceModule) -> None:
        """Skip the step, or end the run."""
        batch = trainer.fit_loop.batch_idx
        where = f"step {trainer.global_step}, epoch {trainer.current_epoch}, batch {batch}"
        message = f"{_named(module)} at {where}; the weights are those before it."
        if self.on_bad == "raise":
            raise NotFinite(f"{message} A smaller optim.optimizer.lr or callbacks.numbers.on_bad=skip may help.")
        self.skipped += 1
        if self.skipped > self.up_to:
            raise NotFinite(f"{message} {self.up_to} steps were skipped before it, as many as may be.")
        log.warning("skipped a step (%d of at most %d): %s", self.skipped, self.up_to, message)
        for parameter in module.parameters():
            parameter.grad = None  # which no optimizer takes for a step
        module.forget_batch()


def _named(module: SequenceModule) -> str:
    """What is not finite, in words."""
    bad = [n for n, p in module.named_parameters() if p.grad is not None and not _finite(p.grad)]
    more = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
    gradient = f"the gradient of {bad[0]}{more} is not finite" if bad else ""
    loss = "" if _finite(module.last_loss) else f"the loss is {module.last_loss.item()}"
    elsewhere = "the norm of all gradients, or the loss of another process, is not finite"
    return " and ".join(part for part in (loss, gradient) if part) or elsewhere


def _finite(value: Tensor) -> bool:
    return bool(value.isfinite().all())
