"""Handwriting as a density over the pen's next step (Graves 2013, arXiv 1308.0850, section 4.1)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from multiscale.checks import positive_int
from multiscale.data.batch import Batch
from multiscale.data.facts import SequenceFacts
from multiscale.nn.dropout import Rates
from multiscale.training.measure import Measure
from multiscale.training.tasks.sequences import SequenceTask


class Handwriting(SequenceTask):
    """Where the pen goes next: a mixture of M bivariate Gaussians over (dx, dy), and a coin for lifting it.

    Of the 6 M + 1 outputs a step, M are logits of the components, 2 M means, 2 M log deviations, M artanh of the
    correlation, one the logit of lifting. ``nll`` is in nats a step, ``log_likelihood`` the mean over sequences of
    their total, both of a density over offsets in the unit of the data.

    Args:
        components: M.
        monitor, penalty_weight, dropout: as for :class:`Task`.
    """

    kind = "strokes"
    measured = ("loss", "sequence")
    reported = ("nll", "log_likelihood")
    rising = ("log_likelihood",)
    linear = False

    def __init__(
        self, components: int, monitor: str = "val/nll", penalty_weight: float = 1.0, dropout: Rates = 0.0
    ) -> None:
        super().__init__(monitor, penalty_weight, dropout)
        self.components = positive_int("components", components)

    def output_size(self, facts: SequenceFacts) -> int:
        return 6 * self.components + 1

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Measure]:
        # Padding becomes zeros before the density, whose gradient could overflow on rubbish and turn 0 * inf into NaN.
        outputs = outputs.float().masked_fill(~batch.mask[..., None], 0.0)
        nll = -log_density(outputs[..., :-1], batch.targets[..., :2], self.components)
        nll = nll + F.binary_cross_entropy_with_logits(outputs[..., -1], batch.targets[..., 2], reduction="none")
        total = nll.masked_fill(~batch.mask, 0.0).sum()
        return {"loss": Measure(total, batch.mask.sum()), "sequence": Measure(total, batch.mask.any(1).sum())}

    def metrics(self, means: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"nll": means["loss"], "log_likelihood": -means["sequence"]}


def log_density(outputs: Tensor, offsets: Tensor, components: int) -> Tensor:
    """[...]: the log density of ``offsets`` [..., 2] under the mixture of ``outputs`` [..., 6 M], Eq. 24-25."""
    weights, mean_x, mean_y, log_x, log_y, turn = outputs.split(components, -1)
    # Deviations below e^-7 of the data's unit would only learn single points by heart.
    log_x, log_y, correlation = log_x.clamp(-7, 7), log_y.clamp(-7, 7), 0.999 * torch.tanh(turn)
    x = (offsets[..., :1] - mean_x) / log_x.exp()
    y = (offsets[..., 1:] - mean_y) / log_y.exp()
    free = 1 - correlation.square()
    each = -(x.square() + y.square() - 2 * correlation * x * y) / (2 * free)
    each = each - math.log(2 * math.pi) - log_x - log_y - free.log() / 2
    return torch.logsumexp(torch.log_softmax(weights, -1) + each, -1)
