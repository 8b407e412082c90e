"""Let a trained language model write: ``python -m multiscale.generate checkpoint=... prompt="..."``.

checkpoint=PATH      a checkpoint of a run on text
prompt=TEXT          what the model reads first
length=500           characters to write (bytes, for a model of bytes)
temperature=1.0      below 1 bolder in what is likely, above 1 more even; 0 always takes the likeliest
seed=0               of the draws
boundaries=false     mark with | where level 1 ended a segment, with || where level 2 did, and so on
threads=1            of PyTorch; more of them rather wait for each other over one character
trust=[]             packages of yours whose classes the checkpoint may name, as [mine.]
"""

import codecs
import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch

from multiscale.checks import InvalidInput, in_range, positive_int
from multiscale.cli import arguments, command
from multiscale.training.language_model import Reader, check_boundaries, load_language_model
from multiscale.training.module import SequenceModule


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


def main(words: list[str]) -> None:
    """Print what the model writes, symbol by symbol."""
    known = {"checkpoint": str, "prompt": str, "length": 500, "temperature": 1.0, "seed": 0}
    given = arguments(words, {**known, "boundaries": False, "threads": 1, "trust": ()})
    positive_int("length", given["length"])
    in_range("temperature", given["temperature"], 0)
    in_range("seed", given["seed"], 0, 2**63 - 1)
    if not given["prompt"]:
        raise InvalidInput("prompt must be at least one character; got ''.")
    torch.set_num_threads(positive_int("threads", given["threads"]))
    module, facts = load_language_model(given["checkpoint"], given["trust"])
    prompt = facts.encode(given["prompt"], "prompt")
    if given["boundaries"]:
        check_boundaries(module, "boundaries must be false for a model without boundaries; got True.")
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    written = write(module, prompt, given["length"], given["temperature"], given["seed"], given["boundaries"])
    for symbol, level in written:
        shown = facts.vocabulary[symbol]
        shown = decode(shown.encode("latin-1")) if facts.bytewise else shown
        sys.stdout.write(shown + "|" * level)
        sys.stdout.flush()
    sys.stdout.write("\n")


if __name__ == "__main__":
    command(main, __doc__)
