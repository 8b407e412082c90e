"""Sums over a split that are exact over chunks of any length and over ranks."""

import torch
from torch import Tensor
from torchmetrics import Metric

from multiscale.backbones.base import Trace


class Tally(Metric):
    """Mean loss per target, and mean update and boundary of each of L levels per step, over all that was added."""

    full_state_update = False
    loss: Tensor
    targets: Tensor
    update_sum: Tensor
    boundary_sum: Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.bounded = False
        for name, shape in (("loss", ()), ("targets", ()), ("update_sum", (levels,)), ("boundary_sum", (levels,))):
            self.add_state(name, torch.zeros(shape), dist_reduce_fx="sum")

    def update(self, loss: Tensor, targets: Tensor, trace: Trace, valid: Tensor) -> None:
        """``loss`` summed over ``targets`` targets; ``trace`` of the steps where ``valid`` [B, T] is true."""
        self.loss += loss.detach()
        self.targets += targets
        self.update_sum += trace.update[valid].sum(0)
        self.bounded = trace.boundary is not None
        if trace.boundary is not None:
            self.boundary_sum += trace.boundary[valid].sum(0)

    def compute(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss [], and mean [L] of ``update`` and, where the backbone has them, of ``boundary``."""
        rates = {"update": self.update_sum / self.targets}
        if self.bounded:
            rates["boundary"] = self.boundary_sum / self.targets
        return self.loss / self.targets, rates
