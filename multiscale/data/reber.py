"""What may come next in embedded Reber strings that follow each other without a mark? (Hochreiter, Schmidhuber 1997,
Neural Computation 9(8), Experiment 1; continual: Gers, Schmidhuber, Cummins 2000, Neural Computation 12(10))."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch

from multiscale.checks import in_range, sizes
from multiscale.data.facts import BinaryFacts
from multiscale.data.module import SPLITS, Passage, Samples, SequenceDataModule, read_sizes

SYMBOLS = "BTPSXVE"
GRAMMAR = (  # of a Reber string: what may come in each state, and the state after it
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 7},
)
OUTER = ("T", "P")  # one of which stands before and behind the Reber string


class EmbeddedReber(SequenceDataModule):
    """Strings B o R o E, with o either T or P and R a Reber string, one after the other; the targets are all symbols
    that may come next.

    Each choice of the grammar is as likely as the other. What may come is told by the last few symbols, but where R has
    ended: only o may come, which was read 5 steps ago or more. These steps are decisive. A network starts anew with
    each sequence, and is not told where a string ends; after the last of a sequence another may begin. (The sources
    train on the one symbol that comes, and in one stream without an end.)

    Args:
        batch_size: B, sequences over all devices together.
        sequences: how many in train, val and test.
        strings: that make a sequence, one number or three, of train, val and test.
        seed: of the data; not that of the run, whose data stay the same.
    """

    kind = "switches"

    def __init__(
        self, batch_size: int, sequences: Sequence[int], strings: int | Sequence[int] = 6, seed: int = 0
    ) -> None:
        super().__init__(batch_size)
        self.sequences, self.strings = read_sizes(sequences), sizes("strings", strings, len(SPLITS))
        self.seed = int(in_range("seed", seed, 0))

    def load(self) -> tuple[BinaryFacts, dict[str, Samples]]:
        digest, samples = hashlib.sha256(), {}
        for number, (split, count, strings) in enumerate(zip(SPLITS, self.sequences, self.strings, strict=True)):
            rng = np.random.default_rng((self.seed, number))
            drawn = [[pair for _ in range(strings) for pair in embedded_string(rng)] for _ in range(count)]
            texts = ["".join(symbol for symbol, _ in pairs) for pairs in drawn]
            digest.update("\n".join(texts).encode())
            inputs = [torch.tensor([SYMBOLS.index(symbol) for symbol in text]) for text in texts]
            samples[split] = Samples(inputs, [switches([following for _, following in pairs]) for pairs in drawn])
        steps = sum(len(one) for one in samples["test"].inputs) / (self.sequences[2] * self.strings[2])
        facts = BinaryFacts(
            source=f"embedded Reber strings, {self.strings[0]} a sequence",
            sha256=digest.hexdigest(),
            sequences=self.sequences,
            input_size=len(SYMBOLS),
            output_size=len(SYMBOLS),
            symbols=True,
            per_step=True,
            decisive=tuple(map(SYMBOLS.index, OUTER)),
            references={"NLL without the long memory (nats)": 2 * math.log(2) / steps},
        )
        return facts, samples

    def passage(self, steps: int) -> Passage:
        inputs = torch.as_tensor(self.samples["val"].inputs[0])[:steps]
        return Passage(inputs[None], tuple(SYMBOLS[i] for i in inputs.tolist()))


def embedded_string(rng: np.random.Generator) -> list[tuple[str, str]]:
    """The symbols of a string, each with all that may follow it."""
    outer = OUTER[rng.integers(2)]
    pairs, state = [("B", "".join(OUTER)), (outer, "B")], 0
    while state < len(GRAMMAR):
        choices = list(GRAMMAR[state].items())
        symbol, state = choices[rng.integers(len(choices))]
        pairs.append((symbol, "".join(GRAMMAR[state]) if state < len(GRAMMAR) else outer))
    return [*pairs, (outer, "E"), ("E", "B")]


def switches(following: Sequence[str]) -> torch.Tensor:
    """[T, 7], 1 where a symbol is one of those that may follow."""
    return torch.tensor([[float(symbol in allowed) for symbol in SYMBOLS] for allowed in following])
