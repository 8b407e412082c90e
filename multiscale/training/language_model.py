"""A trained language model of a checkpoint: what it writes, and how it cuts what it reads."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from multiscale.checks import InvalidInput
from multiscale.data.facts import TextFacts
from multiscale.training.build import load
from multiscale.training.module import SequenceModule

CHUNK = 4096  # symbols read at a time; the state is carried on


def load_language_model(path: str, trust: Sequence[str] = ()) -> tuple[SequenceModule, TextFacts]:
    """The model of a checkpoint and what it knows of text, its classes from our packages and those of ``trust`` alone;
    raises :class:`InvalidInput` if it is of another kind."""
    module = load(path, trust)
    if not isinstance(module.facts, TextFacts):
        source = "unknown data" if module.facts is None else module.facts.source
        raise InvalidInput(f"checkpoint must be that of a language model; {path!r} is one for {source}.")
    return module, module.facts


class Reader:
    """A language model that reads one symbol at a time, from the beginning of a text.

    ``stream`` is its backbone's, whose trace tells what the last symbol did.
    """

    def __init__(self, module: SequenceModule) -> None:
        self.encoder, self.head, self.stream = module.encoder, module.head, module.backbone.stream()

    @torch.no_grad()
    def __call__(self, symbol: int) -> Float[Tensor, " _"]:
        """The logits of what follows ``symbol``."""
        levels = self.stream(self.encoder(torch.tensor([[symbol]]))[:, 0])
        return self.head([level[:, None] for level in levels])[0, 0]


@torch.no_grad()
def check_boundaries(module: SequenceModule, message: str) -> None:
    """Raise :class:`InvalidInput` with ``message`` unless the model's backbone finds boundaries."""
    trace = module(torch.zeros(1, 1, dtype=torch.long), trace=True)[1].trace
    if trace is None or trace.boundary is None or len(trace.names) < 2:
        raise InvalidInput(message)


class Written(NamedTuple):
    """One symbol that the model has read, and the highest level that ended a segment at it; 0 if none did."""

    symbol: int
    level: int


def write(
    module: SequenceModule, prompt: list[int], length: int, temperature: float, seed: int, boundaries: bool = False
) -> Iterator[Written]:
    """The symbols of ``prompt`` and then ``length`` more drawn ones (:func:`draw`), each as soon as it is read."""
    generator = torch.Generator().manual_seed(seed)
    read = Reader(module)
    logits = torch.empty(0)
    for count in range(len(prompt) + length):
        symbol = prompt[count] if count < len(prompt) else draw(logits, temperature, generator)
        logits = read(symbol)
        trace = read.stream.trace
        fired = trace.boundary if boundaries and trace else None
        levels = [] if fired is None else fired[0].nonzero()[:, 0].tolist()
        yield Written(symbol, max(levels, default=-1) + 1)


def draw(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    """One symbol from softmax(logits / temperature); at 0 the likeliest."""
    if temperature == 0:
        return int(logits.argmax())
    shares = torch.softmax((logits.double() - logits.max()) / temperature, -1)
    return int(torch.multinomial(shares, 1, generator=generator))


class Level(NamedTuple):
    """How one level cuts a text: ``ends`` are the last symbols of its segments, which together are the text."""

    name: str
    ends: list[int]
    segments: list[str]


@torch.no_grad()
def segment(module: SequenceModule, facts: TextFacts, text: str) -> list[Level]:
    """How each level that detects boundaries, fastest first, cuts ``text``; a last segment may be unfinished.

    Raises:
        InvalidInput: for a character that the model does not know.
    """
    symbols = facts.encode(text)
    state, fired = None, []
    names: tuple[str, ...] = ()
    for start in range(0, len(symbols), CHUNK):
        hidden = module(torch.tensor([symbols[start : start + CHUNK]]), state, trace=True)[1]
        assert hidden.trace is not None
        assert hidden.trace.boundary is not None
        state, names = hidden.state, hidden.trace.names
        fired.append(hidden.trace.boundary[0])
    marks = torch.cat(fired)
    levels = []
    for number, name in enumerate(names[: module.backbone.detecting]):
        ends = marks[:, number].nonzero()[:, 0].tolist()
        cuts = [0, *(end + 1 for end in ends)]
        cuts += [len(symbols)] if cuts[-1] < len(symbols) else []
        parts = [facts.decode(symbols[a:b]) for a, b in pairwise(cuts)]
        levels.append(Level(name, ends, parts))
    return levels
