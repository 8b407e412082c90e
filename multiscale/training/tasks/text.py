"""The language model: the next character of a text."""

import math
from collections.abc import Mapping

from torch import Tensor
from torch.distributions import Categorical
from torch.nn import functional as F

from multiscale.checks import positive_int
from multiscale.data.batch import IGNORE, Batch
from multiscale.data.facts import TextFacts
from multiscale.nn.dropout import Rates
from multiscale.nn.encoders import Embedding
from multiscale.nn.schedules import Schedule
from multiscale.training.measure import Measure
from multiscale.training.sampling import check_epsilon, draw_symbols
from multiscale.training.tasks.base import Task, one_hot


class LanguageModel(Task):
    """Predict the next character; bits per character (bpc) is the mean cross-entropy in bits.

    Args:
        embedding_size: units of the character embedding.
        monitor, penalty_weight, dropout: as for :class:`Task`.
        sampling: epoch to epsilon, the probability that a character is read in training as the text has it; else one
            is read that was drawn from the network's own prediction, see :mod:`multiscale.training.sampling`. The first
            of a chunk is always the text's: what predicts it belongs to the chunk before. None: no character is drawn.

    Raises:
        InvalidInput: for numbers out of range, or a ``sampling`` that is no probability.
    """

    kind = "text"
    reported = ("bpc",)
    linear = True

    def __init__(
        self,
        embedding_size: int,
        monitor: str = "val/bpc",
        penalty_weight: float = 1.0,
        sampling: Schedule | None = None,
        dropout: Rates = 0.0,
    ) -> None:
        super().__init__(monitor, penalty_weight, dropout)
        self.embedding_size = positive_int("embedding_size", embedding_size)
        self.sampling = None if sampling is None else check_epsilon(sampling)

    def encoder(self, facts: TextFacts) -> Embedding:
        return Embedding(facts.num_symbols, self.embedding_size)

    def output_size(self, facts: TextFacts) -> int:
        return facts.num_symbols

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Measure]:
        logits = outputs.flatten(0, 1).float()
        total = F.cross_entropy(logits, batch.targets.flatten(), ignore_index=IGNORE, reduction="sum")
        return {"loss": Measure(total, batch.mask.sum())}

    def surprisal(self, outputs: Tensor, batch: Batch) -> Tensor:
        logits = outputs.detach().flatten(0, 1).float()
        nats = F.cross_entropy(logits, batch.targets.flatten(), ignore_index=IGNORE, reduction="none")
        return nats.view_as(batch.targets) / math.log(2)

    def expected_surprisal(self, outputs: Tensor) -> Tensor:
        logits = outputs.detach().float()
        return Categorical(logits=logits, validate_args=False).entropy() / math.log(2)  # NaN is told by the loss

    def draw(self, outputs: Tensor) -> Tensor:
        return draw_symbols(outputs)

    def regressands(self, batch: Batch, size: int) -> tuple[Tensor, Tensor]:
        return one_hot(batch.targets, size)

    def metrics(self, means: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"bpc": means["loss"] / math.log(2)}
