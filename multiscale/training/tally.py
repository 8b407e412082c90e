"""Sums over a split that are exact over chunks of any length and over ranks."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from multiscale.backbones.base import Trace
from multiscale.training.measure import Measure

COUNTED = ("update", "active", "boundary", "flush", "open", "saturated")


class Tally(Metric):
    """Means of what a task measures; per step how often each of L levels was rewritten, ended a segment, or began one.

    Args:
        level_sizes: H_l, units of each level.
        measured: names of what the task measures.
    """

    full_state_update = False
    sums: Tensor
    weights: Tensor
    steps: Tensor
    counts: Tensor  # [6, L], the rows those of COUNTED

    def __init__(self, level_sizes: Sequence[int], measured: Sequence[str] = ("loss",)) -> None:
        super().__init__()
        self.share = torch.tensor(level_sizes) / sum(level_sizes)
        self.measured = tuple(measured)
        self.last: Tensor | None = None
        for name in ("sums", "weights"):
            self.add_state(name, torch.zeros(len(self.measured)), dist_reduce_fx="sum")
        self.add_state("steps", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(len(COUNTED), len(level_sizes)), dist_reduce_fx="sum")

    def update(self, sums: Mapping[str, Measure], trace: Trace, mask: Tensor, fresh: bool = False) -> None:
        """``sums`` of the next batch, and its ``trace``, counted at ``mask`` [B, T]; a ``fresh`` batch begins anew."""
        self.sums += torch.stack([sums[name].total.detach().float() for name in self.measured])
        self.weights += torch.stack([sums[name].weight.detach().float() for name in self.measured])
        self.steps += mask.sum()
        counted = [trace.update, (trace.update > 0).float()]
        if trace.boundary is not None:
            fresh = fresh or self.last is None
            first = torch.zeros_like(trace.boundary[:, :1]) if fresh else self.last
            assert first is not None
            counted += [trace.boundary, torch.cat([first, trace.boundary[:, :-1]], 1)]
            self.last = trace.boundary[:, -1:]
        if trace.open is not None and trace.probability is not None:
            beyond = (trace.probability <= 0) | (trace.probability >= 1)
            counted += [trace.open, trace.open * beyond]
        self.counts[: len(counted)] += torch.stack([values[mask].sum(0) for values in counted])

    def reset(self) -> None:
        super().reset()
        self.last = None

    def compute(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The mean of each thing measured, and the rates per step, by name.

        The rates are ``update`` [L], rewritten; ``copy`` [L], kept; ``active`` [L], rewritten at all, however little;
        ``operations`` [], the share of all units rewritten, where a stacked LSTM has 1; with boundaries also
        ``boundary`` [L] and ``flush`` [L], the step after a boundary; with detectors ``saturation`` [L], the share of
        the steps at which a boundary is decided where no gradient passes, as its hard sigmoid is 0 or 1.
        """
        means = dict(zip(self.measured, (self.sums / self.weights).unbind(), strict=True))
        update, active, boundary, flush, opened, saturated = self.counts / self.steps
        rates = {"operations": (update * self.share.to(update)).sum(), "update": update, "copy": 1 - update}
        rates |= {"active": active}
        if self.last is not None:
            rates |= {"boundary": boundary, "flush": flush}
        if opened.any():
            rates |= {"saturation": saturated / opened.clamp(min=1e-9)}
        return means, rates
