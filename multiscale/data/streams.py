"""Contiguous streams of symbols for truncated back-propagation through time."""

import math

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils.data import Dataset

from multiscale.data.batch import IGNORE, Batch


class Streams(Dataset[Batch]):
    """The targets symbols[start:stop], cut into ``batch_size`` contiguous streams and read ``steps`` at a time.

    Item k holds steps [k T, (k + 1) T) of every stream, ``targets[b, t]`` being the symbol after ``inputs[b, t]``:
    reading the items in order and carrying the state reads each stream once, from its start to its end. Every symbol is
    a target exactly once, except the very first of the text, which nothing precedes; the last chunk is as short as the
    text makes it, and streams that end early are padded. The streams of a rank do not depend on how many
    ranks share them.

    Args:
        symbols: [N] integers, the whole text; a split's first target is predicted from the symbol before it.
        start, stop: the split, in symbols.
        batch_size: number of streams over all ranks; must be a multiple of ``ranks``.
        steps: T, the length of a chunk.
        rank, ranks: which share of the streams this process reads.
        warm: symbols before each stream that the first item begins with, without their being targets, so that the
            state at the first target does not tell where the text was cut.
        overlap: O, steps before k T, as far as the stream has them, that item k > 0 begins with, without their being
            targets again, so that the gradient of each of its targets reaches at least O steps back: BPTT(h; h') of
            Williams and Peng (1990), h' = T and h = T + O. The state to carry is the one O steps before its end.
        documents: where in ``symbols`` each of K documents begins, in order; what reads the first symbol of one is to
            begin with the initial state. None: the state is carried on through them.
    """

    def __init__(
        self,
        symbols: Tensor,
        start: int,
        stop: int,
        batch_size: int,
        steps: int,
        rank: int = 0,
        ranks: int = 1,
        warm: int = 0,
        overlap: int = 0,
        documents: Int[Tensor, " K"] | None = None,
    ) -> None:
        self.symbols = symbols
        self.warm, self.overlap, self.documents = warm, overlap, documents
        self.first = max(start, 1)
        self.stop = stop
        self.length = math.ceil((stop - self.first) / batch_size)
        self.steps = steps
        share = batch_size // ranks
        self.begins = self.first + self.length * torch.arange(rank * share, (rank + 1) * share)

    def __len__(self) -> int:
        return math.ceil(self.length / self.steps)

    def __getitem__(self, k: int) -> Batch:
        if not 0 <= k < len(self):
            raise IndexError(k)
        first = k * self.steps
        begin = max(first - self.overlap, 0) if k else -self.warm
        offsets = torch.arange(begin, min(first + self.steps, self.length))
        position = self.begins[:, None] + offsets
        real = position < self.stop
        counted = real & (offsets >= first)
        position = position.clamp(1, self.stop - 1)
        reset = None if self.documents is None else begins(self.documents, position - 1) & real
        targets = self.symbols[position].long().masked_fill(~counted, IGNORE)
        return Batch(self.symbols[position - 1].long(), targets, counted, self.overlap, reset)


def begins(documents: Int[Tensor, " K"], position: Int[Tensor, "*places"]) -> Bool[Tensor, "*places"]:
    """Which positions in a text are those at which one of the ``documents`` begins."""
    next_one = torch.searchsorted(documents, position).clamp(max=len(documents) - 1)
    return documents[next_one] == position
