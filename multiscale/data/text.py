"""Character language modelling on one text, split into consecutive parts."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from multiscale.checks import InvalidInput, in_range, positive_int
from multiscale.data.segments import segmentations
from multiscale.data.streams import Batch, Streams

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class TextFacts:
    """What a model and a report need to know of a text; plain values, stored in every checkpoint."""

    source: str
    sha256: str  # of the whole text in UTF-8
    vocabulary: tuple[str, ...]  # symbol i is vocabulary[i]
    characters: tuple[int, int, int]  # in train, val, test

    @property
    def num_symbols(self) -> int:
        return len(self.vocabulary)


class TextDataModule(pl.LightningDataModule):
    """Streams of characters of one text, in three consecutive splits; the vocabulary is that of the whole text.

    Args:
        batch_size: B, contiguous streams over all devices together.
        steps: T, characters a chunk.
        split: fractions of the text for train, val and test, in the order of the text.

    Raises:
        InvalidInput: for bad sizes or fractions; from ``setup``, for a text that cannot be read, is empty, or is
            too short.
    """

    def __init__(self, batch_size: int, steps: int, split: Sequence[float] = (0.9, 0.05, 0.05)) -> None:
        super().__init__()
        self.batch_size = positive_int("batch_size", batch_size)
        self.steps = positive_int("steps", steps)
        if len(split) != 3 or abs(sum(split) - 1) > 1e-6:
            raise InvalidInput(f"split must be three fractions that sum to 1; got {list(split)!r}.")
        self.split = tuple(in_range(f"split[{i}]", f, 0, 1, open_low=True) for i, f in enumerate(split))
        self._symbols: Tensor | None = None

    @abstractmethod
    def read(self) -> tuple[str, str]:
        """(where the text comes from, the text)."""

    def setup(self, stage: str | None = None) -> None:
        if self._symbols is not None:
            return
        source, text = self.read()
        vocabulary = tuple(sorted(set(text)))
        first = round(len(text) * self.split[0])
        second = round(len(text) * (self.split[0] + self.split[1]))
        self.bounds = {"train": (0, first), "val": (first, second), "test": (second, len(text))}
        self._check_length(source, len(text), first, second)
        points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        codes = np.searchsorted(np.array([ord(c) for c in vocabulary]), points)
        self._symbols = torch.from_numpy(codes.astype(np.uint8 if len(vocabulary) <= 256 else np.int32))
        digest = hashlib.sha256(text.encode()).hexdigest()
        counts = (first, second - first, len(text) - second)
        self.facts = TextFacts(source, digest, vocabulary, counts)

    def _check_length(self, source: str, total: int, first: int, second: int) -> None:
        need = self.batch_size * self.steps + 1
        if first < need or second == first or total == second:
            raise InvalidInput(
                f"{source} has {total} characters, {first} of them for training; one batch needs at least {need} "
                f"(batch_size {self.batch_size} x steps {self.steps} + 1), and val and test one each. "
                "Give a longer text, or a smaller data.batch_size or data.steps."
            )

    def symbols(self, split: str) -> Tensor:
        """[N] integers, the symbols of a split."""
        start, stop = self.bounds[split]
        assert self._symbols is not None
        return self._symbols[start:stop]

    def segmentations(self, split: str) -> dict[str, Tensor]:
        """[N] bool each: reference boundaries at the N inputs of a split's streams, in order of the text."""
        start, stop = self.bounds[split]
        assert self._symbols is not None
        return segmentations(self._symbols[max(start, 1) - 1 : stop], self.facts.vocabulary)

    def _loader(self, split: str) -> DataLoader[Batch]:
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if self.batch_size % ranks:
            raise InvalidInput(
                f"data.batch_size must be a multiple of the number of devices, {ranks}; got {self.batch_size}."
            )
        assert self._symbols is not None
        streams = Streams(self._symbols, *self.bounds[split], self.batch_size, self.steps, rank, ranks)
        return DataLoader(streams, batch_size=None, shuffle=False)

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader("test")
