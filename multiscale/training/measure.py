"""What a task measures on a batch; apart from the tally, whose metrics take a second to import."""

from typing import NamedTuple

from torch import Tensor


class Measure(NamedTuple):
    """One thing measured on a batch: its mean over batches is the sum of the totals over the sum of the weights."""

    total: Tensor  # []
    weight: Tensor  # []

    @property
    def mean(self) -> Tensor:
        """total / weight; 0 for a batch in which nothing was measured."""
        return self.total / self.weight.clamp(min=1e-12)
