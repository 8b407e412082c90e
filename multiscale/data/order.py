"""The order in which the samples of an epoch are read, which can be taken up again at any point."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class Order(Sampler[int]):
    """Indices of the samples that one of several processes reads in an epoch.

    Shuffled, the order is drawn from the seed of the run and the epoch alone, so that an epoch can be entered in its
    middle and is the same for any number of processes: the i-th batches of all of them together are the i-th batch of
    one that is alone. Samples of a last batch of which not every process would get one are left out where they are
    shuffled; elsewhere every sample counts once.

    Args:
        size: number of samples.
        batch_size: B, over all processes together.
        rank, ranks: which of how many processes this is.
        shuffle: in another order each epoch; else in order.
    """

    def __init__(self, size: int, batch_size: int, rank: int = 0, ranks: int = 1, *, shuffle: bool = False) -> None:
        left_over = size % batch_size
        self.size = size - (left_over if shuffle and left_over < ranks else 0)
        self.total, self.rank, self.ranks, self.shuffle = size, rank, ranks, shuffle
        self.seed = torch.initial_seed() % 2**32
        self.epoch = 0
        self.entered = (0, 0)

    def enter(self, epoch: int, skip: int) -> None:
        """Leave out the first ``skip`` samples of this one epoch."""
        self.entered = (epoch, skip)

    def set_epoch(self, epoch: int) -> None:
        """What Lightning calls before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(range(self.rank, self.size, self.ranks))

    def __iter__(self) -> Iterator[int]:
        skip = self.entered[1] if self.entered[0] == self.epoch else 0
        indices = torch.arange(self.total)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
            indices = torch.randperm(self.total, generator=generator)
        yield from indices[: self.size][self.rank :: self.ranks][skip:].tolist()
