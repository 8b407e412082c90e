"""Which symbol began the block? The task of the neural sequence chunker (Schmidhuber 1991, TUM FKI-148-91; 1992, Neural
Computation 4(2), 234-242)."""

from collections.abc import Sequence

import numpy as np

from multiscale.checks import positive_int
from multiscale.data.facts import LabelFacts
from multiscale.data.memory import Generated
from multiscale.data.module import Passage

STARTS = 2  # a and x, symbols 0 and 1


class FirstSymbol(Generated):
    """Blocks that begin with a or x, each as likely, and go on b_1, b_2, ...; the class tells which began the last.

    Nothing but the first symbol of a block is unpredictable. After ``fillers`` kinds of b they begin anew. With a delay
    of 20 and 20 fillers these are the papers' two strings over 22 symbols, a b_1 ... b_20 and x b_1 ... b_20, fed one
    after the other without telling where one stops; here so many blocks make a sequence of one target. The first block
    begins with the sequence, which a network is told: with a single one it need not find out.

    Args:
        batch_size, sequences, seed: as for :class:`Generated`.
        delay: steps from the first symbol of a block to its last.
        fillers: how many kinds of b there are.
        blocks: how many make a sequence.
    """

    kind = "labels"

    def __init__(
        self,
        batch_size: int,
        sequences: Sequence[int],
        delay: int = 20,
        fillers: int = 20,
        blocks: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, sequences, seed)
        self.delay, self.fillers = positive_int("delay", delay), positive_int("fillers", fillers)
        self.blocks = positive_int("blocks", blocks)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        first = rng.integers(STARTS, size=(count, self.blocks))
        block = np.concatenate([[0], STARTS + np.arange(self.delay) % self.fillers])
        inputs = np.tile(block, (count, self.blocks, 1))
        inputs[:, :, 0] = first
        return inputs.reshape(count, -1), first[:, -1]

    def describe(self, digest: str) -> LabelFacts:
        return LabelFacts(
            source=f"first symbol of {self.blocks} blocks, delay of {self.delay} steps",
            sha256=digest,
            sequences=self.sequences,
            input_size=STARTS + self.fillers,
            output_size=STARTS,
            symbols=True,
            references={"accuracy by chance": 1 / STARTS},
        )

    def passage(self, steps: int) -> Passage:
        inputs, _ = self.samples["val"][0]
        names = ("a", "x", *(f"b{k + 1}" for k in range(self.fillers)))
        return Passage(inputs[None, :steps], tuple(names[i] for i in inputs[:steps].tolist()))
