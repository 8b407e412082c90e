"""Tasks: what the inputs are, what is read out and predicted, and what counts as error."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.checks import InvalidInput, in_range, one_of
from multiscale.data.batch import IGNORE, Batch
from multiscale.data.facts import Facts
from multiscale.nn.dropout import Rates, rate_pair
from multiscale.nn.schedules import Schedule
from multiscale.training.measure import Measure


class Task(ABC):
    """The ends of the network around a backbone, the loss and the metrics.

    Args:
        monitor: the validation metric that chooses the best weights; one that is to fall.
        penalty_weight: multiplies the backbone's penalty in the training loss.
        dropout: share of the units that the backbone reads, and of those of each level that the head reads, which are
            dropped in training, the same at all steps of a sequence (:class:`multiscale.nn.dropout.Locked`); one number
            for both or [backbone's, head's]. A backbone that predicts its own input, or finds the time in it, meets it
            so.

    Raises:
        InvalidInput: for a metric that is none to be lowered, a weight below 0, or rates outside [0, 1].
    """

    kind: ClassVar[str]  # of the facts of the data it can be set on
    measured: tuple[str, ...] = ("loss",)  # what ``measure`` gives; it and the next are known after ``check``
    reported: tuple[str, ...]  # what ``metrics`` gives
    rising: ClassVar[tuple[str, ...]] = ()  # of ``reported``, what is better the larger it is
    linear: ClassVar[bool] = False  # has ``regressands``
    bidirectional: bool = False
    sampling: Schedule | None = (
        None  # epoch to epsilon, for a task that can ``draw``; None: all inputs are the true ones
    )

    def __init__(self, monitor: str, penalty_weight: float = 1.0, dropout: Rates = 0.0) -> None:
        falling = [f"val/{name}" for name in self.reported if name not in self.rising]
        self.monitor = one_of("monitor", monitor, falling)
        self.penalty_weight = in_range("penalty_weight", penalty_weight, 0)
        self.dropout = rate_pair("dropout", dropout)

    def check(self, facts: Facts) -> None:
        """Raise :class:`InvalidInput` if the task cannot be set on data of these facts."""
        if facts.kind != self.kind:
            raise InvalidInput(
                f"task must be one for data of kind {facts.kind!r}, which {facts.source} is; "
                f"got {type(self).__name__}, for kind {self.kind!r}."
            )

    @abstractmethod
    def encoder(self, facts: Any) -> nn.Module:
        """From ``Batch.inputs`` to [B, T, output_size]."""

    @abstractmethod
    def output_size(self, facts: Any) -> int:
        """Units that the head must give."""

    def read(self, level: Tensor, mask: Tensor) -> Tensor:
        """The steps of a level [B, T, H] that the head is to see; all of them unless a task says otherwise."""
        return level

    @abstractmethod
    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Measure]:
        """Everything in ``measured``; first of all the loss in nats. Padding counts nowhere."""

    def surprisal(self, outputs: Tensor, batch: Batch) -> Tensor | None:
        """What each step's target cost, in bits [B, T]; None for a task whose targets are not one a step."""
        return None

    def expected_surprisal(self, outputs: Tensor) -> Tensor | None:
        """What each step's target is expected to cost, in bits [B, T], by the network's own prediction: its entropy;
        None for a task whose predictions are no distribution."""
        return None

    def regressands(self, batch: Batch, size: int) -> tuple[Tensor, Tensor]:
        """What linear regression is to make of a batch, [B, S, size], and where it counts, [B, S]; S steps are read."""
        raise NotImplementedError(f"{type(self).__name__} is no regression.")

    def draw(self, outputs: Tensor) -> Tensor:
        """A sample of each step's target by the network's own prediction, in the form of an input of the next step,
        for a task that may be set with ``sampling``."""
        raise NotImplementedError(f"{type(self).__name__} draws nothing.")

    def metrics(self, means: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Everything in ``reported``, from the means of what was measured on a split: these themselves, in their order,
        unless a task says otherwise."""
        return {name: means[key] for name, key in zip(self.reported, self.measured, strict=True)}


def one_hot(targets: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Unit vectors [B, S, size] of classes [B, S], and where there is a class."""
    counted = targets != IGNORE
    return F.one_hot(targets.where(counted, 0), size), counted
