"""Sums over a split that are exact over chunks of any length and over ranks."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from multiscale.backbones.base import Trace


class Tally(Metric):
    """Mean loss per target, and per step how often each of L levels was rewritten, ended a segment, or began one.

    Args:
        level_sizes: H_l, units of each level.
    """

    full_state_update = False
    loss: Tensor
    targets: Tensor
    update_sum: Tensor
    boundary_sum: Tensor
    flush_sum: Tensor

    def __init__(self, level_sizes: Sequence[int]) -> None:
        super().__init__()
        self.share = torch.tensor(level_sizes) / sum(level_sizes)
        self.last: Tensor | None = None
        for name in ("loss", "targets"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")
        for name in ("update_sum", "boundary_sum", "flush_sum"):
            self.add_state(name, torch.zeros(len(level_sizes)), dist_reduce_fx="sum")

    def update(self, loss: Tensor, targets: Tensor, trace: Trace, valid: Tensor) -> None:
        """``loss`` summed over ``targets`` targets; ``trace`` of the next chunk, counted where ``valid`` [B, T]."""
        self.loss += loss.detach()
        self.targets += targets
        self._add("update_sum", trace.update, valid)
        if trace.boundary is not None:
            first = torch.zeros_like(trace.boundary[:, :1]) if self.last is None else self.last
            self._add("boundary_sum", trace.boundary, valid)
            self._add("flush_sum", torch.cat([first, trace.boundary[:, :-1]], 1), valid)
            self.last = trace.boundary[:, -1:]

    def _add(self, name: str, values: Tensor, valid: Tensor) -> None:
        setattr(self, name, getattr(self, name) + values[valid].sum(0))

    def reset(self) -> None:
        super().reset()
        self.last = None

    def compute(self) -> dict[str, Tensor]:
        """The mean loss and the rates per step, by name.

        ``loss`` []; ``update`` [L], rewritten; ``copy`` [L], kept; ``operations`` [], the share of all units rewritten,
        where a stacked LSTM has 1; with boundaries also ``boundary`` [L] and ``flush`` [L], the step after a boundary.
        """
        update = self.update_sum / self.targets
        rates = {
            "loss": self.loss / self.targets,
            "operations": (update * self.share.to(update)).sum(),
            "update": update,
            "copy": 1 - update,
        }
        if self.last is not None:
            rates["boundary"] = self.boundary_sum / self.targets
            rates["flush"] = self.flush_sum / self.targets
        return rates
