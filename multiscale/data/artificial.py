"""An artificial language of letters, words, phrases and sentences, of which everything is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from multiscale.checks import InvalidInput, in_range, positive_int
from multiscale.data.facts import TextFacts
from multiscale.data.text import TextDataModule

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
TRIES = 1000  # draws in a row that do not fit, before giving up
LEVELS = ("word_ends", "phrase_ends", "sentence_ends")


@dataclass(frozen=True)
class Kind:
    """The ways to make one kind of unit from kinds of the level below, fastest drawn first, and their probabilities."""

    ways: tuple[tuple[int, ...], ...]
    probabilities: np.ndarray

    def mean(self, below: Sequence[float]) -> float:
        """The expected sum of ``below`` over the parts of one unit."""
        return float(np.dot(self.probabilities, [sum(below[part] for part in way) for way in self.ways]))

    @property
    def entropy(self) -> float:
        """Bits of the choice among the ways."""
        return float(-(self.probabilities * np.log2(self.probabilities)).sum())


@dataclass(frozen=True)
class Grammar:
    """Levels of kinds: words, phrases, and the one kind of sentence; the parts of a word are letters.

    Each choice is independent of all others. On each level no way is the beginning of another, of whatever kind, so
    that a stream is read in one way only, from left to right, and tells every choice that made it. Hence, by the chain
    rule, its entropy per letter is exactly the bits of the choices of a sentence over the letters of a sentence, both
    in expectation.
    """

    levels: tuple[tuple[Kind, ...], ...]

    @property
    def entropy(self) -> float:
        """Bits per letter."""
        letters: list[float] = [1.0] * len(ALPHABET)
        bits: list[float] = [0.0] * len(ALPHABET)
        for kinds in self.levels:
            bits = [kind.entropy + kind.mean(bits) for kind in kinds]
            letters = [kind.mean(letters) for kind in kinds]
        return bits[0] / letters[0]

    def write(self, length: int, rng: np.random.Generator) -> "Writing":
        """``length`` letters of sentences, one after the other; the last may be cut."""
        writing = Writing([], [], [[] for _ in self.levels])
        surprise = [[-np.log2(kind.probabilities) for kind in kinds] for kinds in self.levels]
        sums = [[np.cumsum(kind.probabilities) for kind in kinds] for kinds in self.levels]

        def expand(level: int, kind: int) -> None:
            found = self.levels[level][kind]
            way = min(int(np.searchsorted(sums[level][kind], rng.random(), side="right")), len(found.ways) - 1)
            at = len(writing.letters)
            if level == 0:
                writing.letters.extend(found.ways[way])
                writing.bits.extend([0.0] * len(found.ways[way]))
            else:
                for part in found.ways[way]:
                    expand(level - 1, part)
            writing.bits[at] += surprise[level][kind][way]
            writing.ends[level].append(len(writing.letters) - 1)

        while len(writing.letters) < length:
            expand(len(self.levels) - 1, 0)
        return writing


@dataclass(frozen=True)
class Writing:
    """A stream: its letters, at the first letter of each unit the bits of the choice of it, and where units end."""

    letters: list[int]
    bits: list[float]
    ends: list[list[int]]  # of each level, the last letter of each unit


def draw_kinds(
    name: str, kinds: int, ways: int, parts: int, length: Sequence[int], zipf: float, rng: np.random.Generator
) -> tuple[Kind, ...]:
    """``kinds`` kinds of a level with ``ways`` ways each, of ``length`` parts, none the beginning of another.

    The i-th way of a kind has a probability in proportion to i^-zipf.

    Raises:
        InvalidInput: if so many do not fit.
    """
    drawn: list[tuple[int, ...]] = []
    while len(drawn) < kinds * ways:
        for _ in range(TRIES):
            way = tuple(rng.integers(parts, size=rng.integers(length[0], length[1] + 1)).tolist())
            if not any(way[: len(other)] == other[: len(way)] for other in drawn):
                drawn.append(way)
                break
        else:
            raise InvalidInput(
                f"{name} must be few enough that none begins another; {kinds * ways} of {length[0]} to {length[1]} "
                f"parts out of {parts} do not fit. Give fewer, longer ones, or more parts."
            )
    weights = np.arange(1.0, ways + 1) ** -zipf
    shares = weights / weights.sum()
    return tuple(Kind(tuple(drawn[k * ways : (k + 1) * ways]), shares) for k in range(kinds))


class ArtificialLanguage(TextDataModule):
    """A generated stream without spaces: words from a lexicon, phrases from a grammar, sentences of phrases.

    The true boundaries of every level are known as ``word_ends``, ``phrase_ends`` and ``sentence_ends``; the true
    entropy per letter is exact (:class:`Grammar`). ``references`` tell it, and the bits per letter of the choices that
    were in fact made in the test split: what the generator itself would score there.

    Args:
        batch_size, steps, split, overlap: as for :class:`TextDataModule`.
        length: letters.
        seed: of the grammar and of the stream; not that of the run, whose language stays the same.
        letters: of the alphabet, up to 26.
        word_classes, phrase_classes: kinds of words and of phrases.
        words, phrases, sentences: ways to make each kind.
        word_length, phrase_length, sentence_length: fewest and most letters, words and phrases.
        zipf: exponent of the probabilities of the ways; 0 makes them equal.
    """

    facts: TextFacts

    def __init__(
        self,
        batch_size: int,
        steps: int,
        length: int,
        letters: int,
        word_classes: int,
        words: int,
        word_length: Sequence[int],
        phrase_classes: int,
        phrases: int,
        phrase_length: Sequence[int],
        sentences: int,
        sentence_length: Sequence[int],
        zipf: float,
        seed: int = 0,
        split: Sequence[float] = (0.9, 0.05, 0.05),
        overlap: int = 0,
    ) -> None:
        super().__init__(batch_size, steps, split, overlap=overlap)
        self.length, self.seed = positive_int("length", length), int(in_range("seed", seed, 0))
        if positive_int("letters", letters) > len(ALPHABET):
            raise InvalidInput(f"letters must be at most {len(ALPHABET)}; got {letters}.")
        in_range("zipf", zipf, 0)
        rng = np.random.default_rng(self.seed)
        levels = (
            ("words", word_classes, words, letters, word_length),
            ("phrases", phrase_classes, phrases, word_classes, phrase_length),
            ("sentences", 1, sentences, phrase_classes, sentence_length),
        )
        for name, kinds, ways, _, span in levels:
            positive_int(name, ways)
            positive_int(f"{name[:-1]}_classes", kinds)
            if len(span) != 2 or not 1 <= positive_int(f"{name[:-1]}_length", span[0]) <= span[1]:
                raise InvalidInput(f"{name[:-1]}_length must be [fewest, most]; got {list(span)!r}.")
        self.grammar = Grammar(tuple(draw_kinds(n, k, w, p, span, zipf, rng) for n, k, w, p, span in levels))
        self.ends: dict[str, Tensor] = {}
        self.bits: list[float] = []

    def read(self) -> tuple[str, str]:
        writing = self.grammar.write(self.length, np.random.default_rng((self.seed, 1)))
        for name, ends in zip(LEVELS, writing.ends, strict=True):
            marks = torch.zeros(len(writing.letters), dtype=torch.bool)
            marks[ends] = True
            self.ends[name] = marks[: self.length]
        text = "".join(ALPHABET[letter] for letter in writing.letters[: self.length])
        self.bits = writing.bits[: self.length]
        return f"artificial language of seed {self.seed}", text

    def load(self) -> tuple[TextFacts, Tensor]:
        facts, symbols = super().load()
        known = {
            "true entropy (bits per character)": self.grammar.entropy,
            "true information of the test split (bits per character)": float(
                np.mean(self.bits[-facts.characters[2] :])
            ),
        }
        return replace(facts, references=known), symbols

    def segmentations(self, split: str) -> dict[str, Tensor]:
        return {name: marks[self.inputs(split)] for name, marks in self.ends.items()}
