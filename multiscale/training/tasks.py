"""Tasks: what the inputs are, what is predicted, and what counts as error."""

import math
from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.checks import in_range, positive_int
from multiscale.data.streams import IGNORE, Batch
from multiscale.data.text import TextFacts
from multiscale.nn.encoders import Embedding


class Task(ABC):
    """The ends of the network around a backbone, and the loss.

    ``monitor`` names the validation metric that is to fall; ``penalty_weight`` multiplies the backbone's penalty.
    """

    monitor: str
    penalty_weight: float

    @abstractmethod
    def encoder(self, facts: TextFacts) -> nn.Module:
        """From ``Batch.inputs`` to [B, T, output_size]."""

    @abstractmethod
    def output_size(self, facts: TextFacts) -> int:
        """Units that the head must give."""

    @abstractmethod
    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(sum of the losses in nats, number of targets), both scalars; ignored targets count nowhere."""

    @abstractmethod
    def metrics(self, loss: Tensor) -> dict[str, Tensor]:
        """Named metrics from the mean loss of a split."""


class LanguageModel(Task):
    """Predict the next character; bits per character (bpc) is the mean cross-entropy in bits.

    Args:
        embedding_size: units of the character embedding.
        penalty_weight: multiplies the backbone's penalty in the training loss.
    """

    monitor = "val/bpc"

    def __init__(self, embedding_size: int, penalty_weight: float = 1.0) -> None:
        self.embedding_size = positive_int("embedding_size", embedding_size)
        self.penalty_weight = in_range("penalty_weight", penalty_weight, 0)

    def encoder(self, facts: TextFacts) -> Embedding:
        return Embedding(facts.num_symbols, self.embedding_size)

    def output_size(self, facts: TextFacts) -> int:
        return facts.num_symbols

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = outputs.flatten(0, 1).float()
        total = F.cross_entropy(logits, batch.targets.flatten(), ignore_index=IGNORE, reduction="sum")
        return total, (batch.targets != IGNORE).sum()

    def metrics(self, loss: Tensor) -> dict[str, Tensor]:
        return {"bpc": loss / math.log(2)}
