"""Character language modelling on one text, split into consecutive parts."""

import hashlib
import math
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor
from torch.utils.data import DataLoader

from multiscale.checks import InvalidInput, free_memory, in_range, natural, one_of, positive_int, read_file
from multiscale.data.batch import Batch
from multiscale.data.facts import TextFacts
from multiscale.data.files import DataError
from multiscale.data.module import DataModule, Passage
from multiscale.data.order import Order
from multiscale.data.streams import Streams, begins

FORMS = ("plain", "letters27")
STREAM, STREAMS = 2048, 256  # characters of a stream of validation and test, and the most streams,
STREAMS_TOGETHER = 8  # in multiples of this
MEMORY = 20  # bytes of memory that a byte of a text may take while it becomes numbers
WARM = 256  # characters before each of them, to warm the state up


class StreamDataModule(DataModule):
    """One text as contiguous streams, in three consecutive splits; it is held as one array of small integers.

    Validation and test read the same streams whatever the ``batch_size``: one for each 2,048 characters, up to 256,
    rounded up to a multiple of 8 and of the devices, each warmed up on the 256 characters before it.

    Args:
        batch_size: B, contiguous streams of the training over all devices together.
        steps: T, characters a chunk.
        form: ``plain``, as it stands; ``letters27``, lower-case letters a-z and single spaces, see :func:`letters27`.
        overlap: O, steps of the training that a chunk reads again before its T targets, see :class:`Streams`.

    Raises:
        InvalidInput: for bad sizes or an unknown form; from ``setup``, for a text that cannot be read, is empty, or is
            too short.
    """

    facts: TextFacts

    def __init__(self, batch_size: int, steps: int, form: str = "plain", overlap: int = 0) -> None:
        super().__init__(batch_size)
        self.steps = positive_int("steps", steps)
        self.form = one_of("form", form, FORMS)
        self.overlap = natural("overlap", overlap)
        self.bounds: dict[str, tuple[int, int]] = {}
        self.documents: Int[Tensor, " K"] | None = None  # where each begins, if the state is to begin anew there
        self._symbols: Tensor  # of the whole text, once it is read

    @abstractmethod
    def load(self) -> tuple[TextFacts, Shaped[Tensor, " N"]]:
        """The facts and integers, the symbols of train, val and test one after the other."""

    def setup(self) -> None:
        if self.bounds:
            return
        facts, symbols = self.load()
        train, val, test = facts.characters
        need = self.batch_size * self.steps + 1
        if train < need or not val or not test:
            raise InvalidInput(
                f"batch_size and data.steps must be smaller, or the text longer: {facts.source} has "
                f"{train + val + test} characters, {train} of them for training; one batch needs at least {need} "
                f"(batch_size {self.batch_size} x steps {self.steps} + 1), and val and test one each."
            )
        self.bounds = {"train": (0, train), "val": (train, train + val), "test": (train + val, train + val + test)}
        self.facts, self._symbols = facts, symbols

    def symbols(self, split: str) -> Shaped[Tensor, " N"]:
        """Integers, the symbols of a split."""
        start, stop = self.bounds[split]
        return self._symbols[start:stop]

    def segmentations(self, split: str) -> dict[str, Bool[Tensor, " N"]]:
        """Reference boundaries at the N inputs of a split's streams, in order of the text."""
        at = self.inputs(split)
        # In UTF-8 the letters beyond ASCII are written with bytes from 128 up: they belong to words.
        letters = ["é" if self.facts.bytewise and ord(symbol) >= 128 else symbol for symbol in self.facts.vocabulary]
        return segmentations(self._symbols[at.start : at.stop + 1], letters)

    def read_symbols(self, split: str) -> Shaped[Tensor, " N"]:
        return self._symbols[self.inputs(split)]

    def inputs(self, split: str) -> slice:
        """Where the inputs of a split's streams stand in the text: each is the symbol before its target."""
        start, stop = self.bounds[split]
        return slice(max(start, 1) - 1, stop - 1)

    def warm(self, split: str) -> int:
        return 0 if split == "train" else min(WARM, max(self.bounds[split][0] - 1, 0))

    def passage(self, steps: int) -> Passage:
        symbols = self.symbols("val")[:steps].long()
        written = tuple(self.facts.vocabulary[i] for i in symbols.tolist())
        start = self.bounds["val"][0]
        at = torch.arange(start, start + len(symbols))[None]
        reset = None if self.documents is None else begins(self.documents, at)
        return Passage(symbols[None], written, start - self.inputs("val").start, reset)

    def loader(self, split: str, rank: int = 0, ranks: int = 1) -> DataLoader[Batch]:
        self.share(ranks)
        start, stop = self.bounds[split]
        count, overlap = self.batch_size, self.overlap
        if split != "train":
            overlap = 0
            share = math.lcm(STREAMS_TOGETHER, ranks)  # the same streams on one device and on several
            count = math.ceil(min((stop - start) / STREAM, STREAMS) / share) * share
        read = (self.warm(split), overlap, self.documents)
        streams = Streams(self._symbols, start, stop, count, self.steps, rank, ranks, *read)
        return DataLoader(streams, batch_size=None, sampler=Order(len(streams), 1), generator=torch.Generator())


class TextDataModule(StreamDataModule):
    """Streams of characters of one text; the vocabulary is that of the whole text.

    Args:
        batch_size, steps: as for :class:`StreamDataModule`.
        split: fractions of the text for train, val and test, in the order of the text.
        form, overlap: as for :class:`StreamDataModule`.

    Raises:
        InvalidInput: for bad sizes or fractions; from ``setup``, for a text that cannot be read, is empty, or is
            too short.
    """

    def __init__(
        self,
        batch_size: int,
        steps: int,
        split: Sequence[float] = (0.9, 0.05, 0.05),
        form: str = "plain",
        overlap: int = 0,
    ) -> None:
        super().__init__(batch_size, steps, form, overlap)
        self.split = read_split(split)

    @abstractmethod
    def read(self) -> tuple[str, str]:
        """(where the text comes from, the text)."""

    def load(self) -> tuple[TextFacts, Tensor]:
        source, text = self.read()
        if self.form == "letters27":
            text = letters27(text)
        return encode(source, text, split_sizes(len(text), self.split))


def read_split(split: Sequence[float]) -> tuple[float, ...]:
    """The fractions of train, val and test; raises :class:`InvalidInput` for what is not that."""
    fractions = tuple(in_range(f"split[{i}]", f, 0, 1, open_low=True) for i, f in enumerate(split))
    if len(split) != 3 or abs(sum(split) - 1) > 1e-6:
        raise InvalidInput(f"split must be three fractions that sum to 1; got {list(split)!r}.")
    return fractions


def letters27(text: str) -> str:
    """Lower-case letters a-z, and one space for every run of other characters, as in text8 (Mahoney 2006), which
    however spells digits out."""
    return re.sub("[^a-z]+", " ", text.lower())


def read_text(path: Path, argument: str) -> str:
    """The text of a UTF-8 file of the user's; raises :class:`InvalidInput`, naming ``argument``, if it has none."""
    try:
        content = read_file(path, free_memory() // MEMORY)
    except OSError as error:
        raise InvalidInput(f"{argument} must be a readable text file; {str(path)!r}: {error.strerror}.") from error
    return utf8(content, f"{argument} {str(path)!r}")


def utf8(content: bytes, where: str, hint: str = "") -> str:
    """The text of a file's content; raises :class:`DataError` if it is not UTF-8, with a ``hint``, or empty."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} must be a text in UTF-8; it is not, at byte {error.start}.{hint}") from error
    if not text:
        raise DataError(f"{where} must be a text with characters in it; it is empty.")
    return text


def split_sizes(length: int, split: Sequence[float]) -> tuple[int, int, int]:
    """Symbols of train, val and test, one after the other, of a text of ``length`` that is split by fractions."""
    first, second = round(length * split[0]), round(length * (split[0] + split[1]))
    return first, second - first, length - second


def encode(
    source: str, text: str, characters: tuple[int, int, int], bytewise: bool = False
) -> tuple[TextFacts, Shaped[Tensor, " N"]]:
    """The facts of a text, and its characters as integers that count up the sorted vocabulary; ``bytewise``, each of
    them is the byte of its code."""
    vocabulary = tuple(sorted(set(text)))
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    codes = np.searchsorted(np.array([ord(c) for c in vocabulary], dtype=np.uint32), points)
    symbols = torch.from_numpy(codes.astype(np.uint8 if len(vocabulary) <= 256 else np.int32))
    facts = TextFacts(
        source=source,
        sha256=hashlib.sha256(text.encode("latin-1" if bytewise else "utf-8")).hexdigest(),
        vocabulary=vocabulary,
        characters=characters,
        bytewise=bytewise,
    )
    return facts, symbols


def segmentations(symbols: Shaped[Tensor, " N"], vocabulary: Sequence[str]) -> dict[str, Bool[Tensor, " N-1"]]:
    """A mask for each way of cutting a text of N symbols, the last of which is only looked ahead at.

    ``spaces``: white space. ``word_ends``: the last letter or digit of a run of them. ``sentence_ends``: one of . ! ?
    before white space.
    """

    def are(kind: Callable[[str], bool]) -> np.ndarray:
        return np.array([kind(symbol) for symbol in vocabulary])[symbols.numpy()]

    space, letter, stop = are(str.isspace), are(str.isalnum), are(lambda symbol: symbol in ".!?")
    cuts = {"spaces": space[:-1], "word_ends": letter[:-1] & ~letter[1:], "sentence_ends": stop[:-1] & space[1:]}
    return {name: torch.from_numpy(cut) for name, cut in cuts.items()}
