"""Tasks on separate sequences: classes, numbers, switches, waveforms."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.checks import InvalidInput, flag
from multiscale.data.batch import IGNORE, Batch, last_step
from multiscale.data.facts import BinaryFacts, Facts, LabelFacts, SequenceFacts
from multiscale.nn.dropout import Rates
from multiscale.nn.encoders import OneHot, Values
from multiscale.training.measure import Measure
from multiscale.training.tasks.base import Task, one_hot


class SequenceTask(Task):
    """Reads numbers as they are and symbols as unit vectors; a target for the whole sequence is read off the last step.

    Args:
        monitor, penalty_weight, dropout: as for :class:`Task`.
    """

    linear = True
    per_step = True  # else the whole sequence has one target; data tell

    def check(self, facts: Facts) -> None:
        super().check(facts)
        assert isinstance(facts, SequenceFacts)
        self.per_step = facts.per_step

    def encoder(self, facts: SequenceFacts) -> nn.Module:
        return OneHot(facts.input_size) if facts.symbols else Values(facts.input_size)

    def output_size(self, facts: SequenceFacts) -> int:
        return facts.output_size

    def read(self, level: Tensor, mask: Tensor) -> Tensor:
        return level if self.per_step else last_step(level, mask)

    def weight(self, outputs: Tensor, batch: Batch) -> Tensor:
        """[B, T] or [B, 1], 1 where an output counts."""
        return batch.mask.to(outputs.dtype) if self.per_step else outputs.new_ones(outputs.shape[:2])

    def regressands(self, batch: Batch, size: int) -> tuple[Tensor, Tensor]:
        targets = batch.targets.reshape(len(batch.mask), -1, size)
        return targets, batch.mask if self.per_step else batch.mask[:, :1]


class Classification(SequenceTask):
    """A class for each sequence, or for each step of it: cross-entropy in nats, accuracy and error rate.

    Args:
        bidirectional: a second backbone reads each sequence from its end; needs one class a sequence.
        monitor, penalty_weight, dropout: as for :class:`Task`.
    """

    kind = "labels"
    measured = ("loss", "accuracy")
    reported = ("cross_entropy", "accuracy", "error")
    rising = ("accuracy",)
    blank: int | None = None  # the class that counts in no accuracy, if the data have one

    def __init__(
        self, bidirectional: bool = False, monitor: str = "val/error", penalty_weight: float = 1.0, dropout: Rates = 0.0
    ) -> None:
        super().__init__(monitor, penalty_weight, dropout)
        self.bidirectional = flag("bidirectional", bidirectional)

    def check(self, facts: Facts) -> None:
        super().check(facts)
        assert isinstance(facts, LabelFacts)
        self.blank = facts.blank
        if self.bidirectional and self.per_step:
            raise InvalidInput(
                "bidirectional must be false for data with a class for every step, which the reading from the end "
                "would tell; got True."
            )

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Measure]:
        targets = batch.targets.reshape(outputs.shape[:2])
        total = F.cross_entropy(outputs.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORE, reduction="sum")
        counted = targets != IGNORE
        scored = counted if self.blank is None else counted & (targets != self.blank)
        right = ((outputs.argmax(-1) == targets) & scored).sum()
        return {"loss": Measure(total, counted.sum()), "accuracy": Measure(right, scored.sum())}

    def regressands(self, batch: Batch, size: int) -> tuple[Tensor, Tensor]:
        return one_hot(batch.targets.reshape(len(batch.mask), -1), size)

    def metrics(self, means: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"cross_entropy": means["loss"], "accuracy": means["accuracy"], "error": 1 - means["accuracy"]}


class Regression(SequenceTask):
    """Numbers for each sequence, or for each step of it: mean squared error (MSE)."""

    kind = "numbers"
    reported = ("mse",)

    def __init__(self, monitor: str = "val/mse", penalty_weight: float = 1.0, dropout: Rates = 0.0) -> None:
        super().__init__(monitor, penalty_weight, dropout)

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Measure]:
        weight = self.weight(outputs.float(), batch)
        return {"loss": Measure(squared_error(outputs, batch, weight), weight.sum() * outputs.size(-1))}


class Multilabel(SequenceTask):
    """Which of many switches are on at each step: negative log-likelihood in nats a step (NLL), and accuracy.

    The switches are independent given the past, so that the NLL of a step is the sum of their binary cross-entropies,
    and the NLL of a split is the mean over all of its steps. The accuracy is the share of steps at which all switches
    are right, those that are on above a probability of 1/2 and the others below; of data that have decisive steps,
    ``accuracy_decisive`` is that of these alone.
    """

    kind = "switches"
    measured: tuple[str, ...] = ("loss", "accuracy")
    reported: tuple[str, ...] = ("nll", "accuracy")
    rising = ("accuracy", "accuracy_decisive")
    decisive: tuple[int, ...] = ()

    def __init__(self, monitor: str = "val/nll", penalty_weight: float = 1.0, dropout: Rates = 0.0) -> None:
        super().__init__(monitor, penalty_weight, dropout)

    def check(self, facts: Facts) -> None:
        super().check(facts)
        assert isinstance(facts, BinaryFacts)
        self.decisive = facts.decisive
        if self.decisive:
            self.measured = (*Multilabel.measured, "accuracy_decisive")
            self.reported = (*Multilabel.reported, "accuracy_decisive")

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Measure]:
        targets = batch.targets.reshape(outputs.shape).float()
        each = F.binary_cross_entropy_with_logits(outputs.float(), targets, reduction="none").sum(-1)
        weight = self.weight(each[..., None], batch)
        right = ((outputs > 0) == (targets > 0)).all(-1) * weight
        measures = {
            "loss": Measure((each * weight).sum(), weight.sum()),
            "accuracy": Measure(right.sum(), weight.sum()),
        }
        if self.decisive:
            alone = (targets.sum(-1) == 1) & targets[..., self.decisive].any(-1)
            measures["accuracy_decisive"] = Measure((right * alone).sum(), (weight * alone).sum())
        return measures

    def regressands(self, batch: Batch, size: int) -> tuple[Tensor, Tensor]:
        targets, counted = super().regressands(batch, size)
        return 2 * targets - 1, counted


class Waveform(SequenceTask):
    """A waveform made from nothing but the state: mean squared error, and that over the target's variance (NMSE)."""

    kind = "waveform"
    measured = ("loss", "nmse")
    reported = ("mse", "nmse")

    def __init__(self, monitor: str = "val/nmse", penalty_weight: float = 1.0, dropout: Rates = 0.0) -> None:
        super().__init__(monitor, penalty_weight, dropout)

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Measure]:
        weight = self.weight(outputs.float(), batch)[..., None]
        error = squared_error(outputs, batch, weight[..., 0])
        mean = (batch.targets * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
        variation = ((batch.targets - mean).square() * weight).sum()
        return {"loss": Measure(error, weight.sum() * outputs.size(-1)), "nmse": Measure(error, variation)}


def squared_error(outputs: Tensor, batch: Batch, weight: Tensor) -> Tensor:
    """The sum of the squared errors where ``weight`` [B, T] is 1; what stands in the padding is not even multiplied."""
    difference = outputs.float() - batch.targets.reshape(outputs.shape)
    return torch.where(weight[..., None] > 0, difference, 0.0).square().sum()
