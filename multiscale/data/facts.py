"""What a model and a report need to know of a data set: plain values, stored in every checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

from multiscale.checks import InvalidInput

Scaling: TypeAlias = Mapping[str, tuple[float, float]]
"""Of each column, its mean and its deviation over the training part, in units of its own."""

MANY = 10  # characters that are named


def name_some(characters: Sequence[str]) -> str:
    """The first ten of ``characters``, in quotes."""
    return ", ".join([*map(repr, characters[:MANY]), *(["..."] if len(characters) > MANY else [])])


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of any data set.

    ``kind`` says which tasks can be set on it; ``streams`` whether batch k + 1 goes on where batch k stopped, so that
    the state is carried from one to the next.
    """

    kind: ClassVar[str]
    streams: ClassVar[bool] = False
    source: str
    sha256: str  # of the whole data
    references: Mapping[str, float] = field(default_factory=dict)  # what is known without training, by name

    def report(self) -> dict[str, Any]:
        """The facts that a summary tells."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class TextFacts(Facts):
    """A text, character by character; or byte by byte, where symbol i is the byte of code ``ord(vocabulary[i])``."""

    kind = "text"
    streams = True
    vocabulary: tuple[str, ...]  # symbol i is vocabulary[i]
    characters: tuple[int, int, int]  # in train, val, test
    bytewise: bool = False

    @property
    def num_symbols(self) -> int:
        return len(self.vocabulary)

    def report(self) -> dict[str, Any]:
        return {**{k: v for k, v in asdict(self).items() if k != "vocabulary"}, "symbols": self.num_symbols}

    @cached_property
    def _index(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.vocabulary)}

    def encode(self, text: str, argument: str = "text") -> list[int]:
        """The symbols of ``text``; raises :class:`InvalidInput` for a character that is not in the vocabulary."""
        if unknown := self.unknown(text):
            shown = "".join(self.vocabulary)
            raise InvalidInput(
                f"{argument} must be made of the {self.num_symbols} characters of the training text, {shown!r}; "
                f"it has {name_some(unknown)}."
            )
        return [self._index[symbol] for symbol in self._cut(text)]

    def unknown(self, text: str) -> list[str]:
        """The characters of ``text`` that are not in the vocabulary, or have a byte that is not, each once."""
        return sorted(character for character in set(text) if not set(self._cut(character)) <= set(self._index))

    def _cut(self, text: str) -> str:
        return text.encode("utf-8").decode("latin-1") if self.bytewise else text

    def decode(self, symbols: Sequence[int]) -> str:
        """The text of ``symbols``; what is no UTF-8 in a byte-wise text is shown as U+FFFD."""
        text = "".join(self.vocabulary[i] for i in symbols)
        return text.encode("latin-1").decode("utf-8", errors="replace") if self.bytewise else text


@dataclass(frozen=True, kw_only=True)
class SequenceFacts(Facts):
    """Separate sequences, each of which begins with a new state."""

    sequences: tuple[int, int, int]  # in train, val, test
    input_size: int  # numbers a step, or number of symbols if the inputs are symbols
    output_size: int  # classes, or numbers to be predicted
    symbols: bool = False  # the inputs are symbols [T], not numbers [T, D]
    per_step: bool = False  # a target for every step, not one for the sequence


@dataclass(frozen=True, kw_only=True)
class LabelFacts(SequenceFacts):
    """Sequences with class labels; steps labelled ``blank``, if any, do not count in the accuracy."""

    kind = "labels"
    blank: int | None = None


@dataclass(frozen=True, kw_only=True)
class NumberFacts(SequenceFacts):
    """Sequences with numbers to be predicted."""

    kind = "numbers"


@dataclass(frozen=True, kw_only=True)
class SeriesLabels(LabelFacts):
    """Series of scaled columns, of which class i is called ``classes[i]``."""

    scaling: Scaling
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SeriesNumbers(NumberFacts):
    """Series of scaled columns, with scaled numbers to be predicted."""

    scaling: Scaling


@dataclass(frozen=True, kw_only=True)
class BinaryFacts(SequenceFacts):
    """Sequences in which each step sets some of ``output_size`` switches.

    Steps at which one of ``decisive`` is the only one on, if there are any, have an accuracy of their own.
    """

    kind = "switches"
    decisive: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WaveFacts(SequenceFacts):
    """A waveform to be generated without any input."""

    kind = "waveform"


@dataclass(frozen=True, kw_only=True)
class StrokeFacts(SequenceFacts):
    """Pen strokes: each step is (dx, dy, 1 if the pen is lifted after it), offsets in units of ``scale``."""

    kind = "strokes"
    scale: float
