"""What every data set gives: facts, loaders, a passage to draw, and reference boundaries if it knows any."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset

from multiscale.checks import InvalidInput, positive_int
from multiscale.data.batch import pad
from multiscale.data.facts import Facts, SequenceFacts
from multiscale.data.order import Order

SPLITS = ("train", "val", "test")


class Passage(NamedTuple):
    """Some steps of one sequence, to look at what a network does on them."""

    inputs: Int[Tensor, "1 T"] | Float[Tensor, "1 T D"]
    symbols: tuple[str, ...]  # T, what is written under each step; empty strings if nothing is
    first: int = 0  # which input of the validation split's streams is the first of these
    reset: Bool[Tensor, "1 T"] | None = None  # where the initial state is put back


class DataModule(ABC):
    """One data set in three splits; ``facts`` are known after ``setup``. It knows nothing of how it is trained on.

    Args:
        batch_size: B, over all devices together.
    """

    kind: ClassVar[str | None] = None  # of the facts, where it is known before reading
    facts: Facts

    def __init__(self, batch_size: int) -> None:
        self.batch_size = positive_int("batch_size", batch_size)

    @abstractmethod
    def setup(self) -> None:
        """Read the data, once."""

    @abstractmethod
    def loader(self, split: str, rank: int = 0, ranks: int = 1) -> DataLoader[Any]:
        """The batches of the share of a split that the ``rank``-th of ``ranks`` processes reads."""

    @abstractmethod
    def passage(self, steps: int) -> Passage:
        """Up to ``steps`` steps of the validation split."""

    def true_periods(self) -> tuple[int, ...]:
        """Periods in steps that the data are made with; none if none are known."""
        return ()

    def segmentations(self, split: str) -> dict[str, Bool[Tensor, " N"]]:
        """Reference boundaries at the N inputs of a split's streams; none if none are known."""
        return {}

    def read_symbols(self, split: str) -> Shaped[Tensor, " N"] | None:
        """The N inputs of a split's streams, in the order of ``segmentations``; None where they are no symbols."""
        return None

    def warm(self, split: str) -> int:
        """Steps at the start of each stream of a split that are read and not counted."""
        return 0

    def share(self, ranks: int) -> int:
        """B of each of ``ranks`` processes; raises :class:`InvalidInput` if they cannot have the same."""
        if self.batch_size % ranks:
            raise InvalidInput(
                f"data.batch_size must be a multiple of the number of devices, {ranks}; got {self.batch_size}."
            )
        return self.batch_size // ranks


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """(inputs, target) pairs, made when they are read: ``convert`` turns the stored form into tensors of a step each.

    Stored pixels stay bytes this way until they are read.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor] | Tensor,
        targets: Sequence[Tensor] | Tensor,
        convert: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.inputs, self.targets, self.convert = inputs, targets, convert

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        stored = self.inputs[i]
        return (stored if self.convert is None else self.convert(stored)), self.targets[i]


def read_sizes(sequences: Sequence[int]) -> tuple[int, int, int]:
    """How many sequences train, val and test are to have; raises :class:`InvalidInput` for what is not that."""
    if len(sequences) != len(SPLITS):
        raise InvalidInput(f"sequences must be three numbers, of train, val and test; got {list(sequences)!r}.")
    train, val, test = (positive_int(f"sequences[{i}]", count) for i, count in enumerate(sequences))
    return train, val, test


def count_sequences(parts: Mapping[str, Sized]) -> tuple[int, int, int]:
    """How many sequences train, val and test have."""
    return len(parts["train"]), len(parts["val"]), len(parts["test"])


class SequenceDataModule(DataModule):
    """Separate sequences, of the same or of different lengths; the training set is shuffled with every epoch.

    Args:
        batch_size: B, sequences over all devices together.
    """

    facts: SequenceFacts

    def __init__(self, batch_size: int) -> None:
        super().__init__(batch_size)
        self.samples: dict[str, Samples] = {}

    @abstractmethod
    def load(self) -> tuple[SequenceFacts, dict[str, Samples]]:
        """The facts, and the samples of each split."""

    def setup(self) -> None:
        if not self.samples:
            self.facts, self.samples = self.load()

    def loader(self, split: str, rank: int = 0, ranks: int = 1) -> DataLoader[Any]:
        samples = self.samples[split]
        order = Order(len(samples), self.batch_size, rank, ranks, shuffle=split == "train")
        return DataLoader(
            samples,
            batch_sampler=BatchSampler(order, self.share(ranks), drop_last=False),
            collate_fn=partial(pad, per_step=self.facts.per_step),
            generator=torch.Generator(),  # an iterator draws a number, which must not be one of the network's
        )

    def passage(self, steps: int) -> Passage:
        inputs = self.samples["val"][0][0][:steps]
        return Passage(inputs[None], ("",) * len(inputs))
