"""Generated problems of long memory (Hochreiter and Schmidhuber 1997), with what is reached without any memory."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from multiscale.checks import InvalidInput, in_range, positive_int, real
from multiscale.data.facts import LabelFacts, NumberFacts, SequenceFacts
from multiscale.data.module import SPLITS, Samples, SequenceDataModule, read_sizes


class Generated(SequenceDataModule):
    """Sequences drawn from a seed, another one for each split.

    Args:
        batch_size: B, sequences over all devices together.
        sequences: how many in train, val and test.
        seed: of the data; not that of the run, whose data stay the same.
    """

    def __init__(self, batch_size: int, sequences: Sequence[int], seed: int = 0) -> None:
        super().__init__(batch_size)
        self.sequences = read_sizes(sequences)
        self.seed = int(in_range("seed", seed, 0))

    @abstractmethod
    def draw(self, count: int, rng: np.random.Generator) -> tuple[Sequence[np.ndarray] | np.ndarray, np.ndarray]:
        """``count`` inputs, as one array or, of different lengths, one by one, and targets."""

    @abstractmethod
    def describe(self, digest: str) -> SequenceFacts:
        """The facts of data with this checksum."""

    def load(self) -> tuple[SequenceFacts, dict[str, Samples]]:
        digest, samples = hashlib.sha256(), {}
        for number, (split, count) in enumerate(zip(SPLITS, self.sequences, strict=True)):
            inputs, targets = self.draw(count, np.random.default_rng((self.seed, number)))
            for array in (*inputs, targets):
                digest.update(array.tobytes())
            alike = isinstance(inputs, np.ndarray)
            stored = torch.from_numpy(inputs) if alike else [torch.from_numpy(one) for one in inputs]
            samples[split] = Samples(stored, torch.from_numpy(targets))
        return self.describe(digest.hexdigest()), samples


class Adding(Generated):
    """The adding problem: each step has a number and a mark; the target is the sum of the two marked ones.

    The numbers are even over ``values``. The first mark is in the first ``first_mark`` of the sequence, the other in
    its second half. Always to answer the mean has an MSE of (high - low)^2 / 6, the variance of the sum. (Campos et al.
    2018 draw from [-0.5, 0.5], with the first mark in the first tenth.)

    Args:
        batch_size, sequences, seed: as for :class:`Generated`.
        steps: T, at least 2.
        values: the lowest and the highest number.
        first_mark: a share of the sequence, of at most a half.
    """

    kind = "numbers"

    def __init__(
        self,
        batch_size: int,
        steps: int,
        sequences: Sequence[int],
        values: Sequence[float] = (0.0, 1.0),
        first_mark: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, sequences, seed)
        self.steps = int(in_range("steps", positive_int("steps", steps), 2))
        if len(values) != 2 or not values[0] < values[1]:
            raise InvalidInput(f"values must be two numbers, the lowest and the highest; got {list(values)!r}.")
        self.low, self.high = (real(f"values[{i}]", value) for i, value in enumerate(values))
        self.first_mark = in_range("first_mark", first_mark, 0, 0.5, open_low=True)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        inputs = np.zeros((count, self.steps, 2), dtype=np.float32)
        inputs[:, :, 0] = self.low + (self.high - self.low) * rng.random((count, self.steps))
        rows, half = np.arange(count), self.steps // 2
        early = max(1, int(self.first_mark * self.steps))
        for first, stop in ((0, early), (half, self.steps)):
            inputs[rows, rng.integers(first, stop, size=count), 1] = 1
        return inputs, (inputs[:, :, 0] * inputs[:, :, 1]).sum(1, keepdims=True)

    def describe(self, digest: str) -> NumberFacts:
        return NumberFacts(
            source=f"adding problem, {self.steps} steps",
            sha256=digest,
            sequences=self.sequences,
            input_size=2,
            output_size=1,
            references={f"MSE of always answering {self.low + self.high:g}": (self.high - self.low) ** 2 / 6},
        )


SYMBOLS, RECALLED = 8, 10  # to remember: how many kinds, how many
BLANK, SIGNAL = 0, SYMBOLS + 1


class CopyMemory(Generated):
    """The copy problem (Arjovsky, Shah, Bengio 2016): 10 symbols of 8 kinds, T blanks, then to be told again.

    A sequence of T + 20 steps: 10 symbols, T - 1 blanks, a signal, 10 blanks. The targets are T + 10 blanks and the 10
    symbols. Without memory the best cross-entropy is 10 ln 8 / (T + 20) nats a step. The accuracy is that of the 10
    recalled symbols.

    Args:
        batch_size, sequences, seed: as for :class:`Generated`.
        delay: T, steps.
    """

    kind = "labels"

    def __init__(self, batch_size: int, delay: int, sequences: Sequence[int], seed: int = 0) -> None:
        super().__init__(batch_size, sequences, seed)
        self.delay = positive_int("delay", delay)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        symbols = rng.integers(1, SYMBOLS + 1, size=(count, RECALLED))
        inputs = np.full((count, self.delay + 2 * RECALLED), BLANK)
        targets = inputs.copy()
        inputs[:, :RECALLED] = symbols
        inputs[:, self.delay + RECALLED - 1] = SIGNAL
        targets[:, -RECALLED:] = symbols
        return inputs, targets

    def describe(self, digest: str) -> LabelFacts:
        return LabelFacts(
            source=f"copy problem, delay of {self.delay} steps",
            sha256=digest,
            sequences=self.sequences,
            input_size=SYMBOLS + 2,
            output_size=SYMBOLS + 1,
            symbols=True,
            per_step=True,
            blank=BLANK,
            references={
                "cross-entropy without memory (nats)": RECALLED * math.log(SYMBOLS) / (self.delay + 2 * RECALLED)
            },
        )
