"""Symbols that matter only at the ticks of hidden clocks: only who finds the clocks' periods can do the task."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from multiscale.checks import InvalidInput, in_range, positive_int
from multiscale.data.facts import LabelFacts
from multiscale.data.module import SPLITS, Passage, Samples, SequenceDataModule, read_sizes


class ClockedSymbols(SequenceDataModule):
    """At each step a symbol is drawn uniformly; the target is what was shown at the last tick of each hidden clock.

    Clock j ticks at t mod P_j = 0, t from 0; where several tick, the slowest alone takes the symbol. The symbols in
    between are distractors from the same alphabet, and nothing in the input marks a tick. The target is the class
    sum_j r_j A^j of the registers r_j, j = 1 the fastest (0 before its first symbol), so that without the periods
    the loss stays above 0 and with them it can reach 0.

    Args:
        batch_size: B, sequences over all devices together.
        periods: P_j in steps, one or several.
        alphabet: A, number of symbols.
        steps: T, length of a sequence.
        sequences: how many there are in train, val and test.
        seed: of the symbols.

    Raises:
        InvalidInput: for sizes or periods below 1, no periods or two alike, a period of T or more, over 4096 classes,
            or a seed below 0.
    """

    kind = "labels"

    def __init__(
        self,
        batch_size: int,
        periods: Sequence[int] = (6,),
        alphabet: int = 8,
        steps: int = 96,
        sequences: Sequence[int] = (2000, 200, 200),
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size)
        if isinstance(periods, (str, int)) or not len(periods):
            raise InvalidInput(f"periods must be a list of at least one whole number of steps; got {periods!r}.")
        self.steps = positive_int("steps", steps)
        self.periods = sorted(positive_int(f"periods[{i}]", p) for i, p in enumerate(periods))
        if len(set(self.periods)) < len(self.periods) or self.periods[-1] >= steps:
            raise InvalidInput(f"periods must differ and be below steps = {steps}; got {list(periods)!r}.")
        self.alphabet = positive_int("alphabet", alphabet)
        self.classes = alphabet ** len(self.periods)
        if self.classes > 4096:
            raise InvalidInput(f"alphabet ** len(periods) must be at most 4096 classes; got {self.classes}.")
        self.sequences = read_sizes(sequences)
        self.seed = int(in_range("seed", seed, 0))

    def ticks(self) -> Bool[Tensor, "{self.steps} {len(self.periods)}"]:
        """Which clock's register, fastest first, takes the symbol of each step."""
        due = torch.arange(self.steps)[:, None] % torch.tensor(self.periods) == 0
        slower = due.flip(1).cumsum(1).flip(1) - due.long() > 0
        return due & ~slower

    def true_periods(self) -> tuple[int, ...]:
        return tuple(self.periods)

    def load(self) -> tuple[LabelFacts, dict[str, Samples]]:
        drawn = np.random.default_rng(self.seed).integers(self.alphabet, size=(sum(self.sequences), self.steps))
        symbols = torch.from_numpy(drawn)
        parts = zip(SPLITS, symbols.split(self.sequences), self.targets(symbols).split(self.sequences), strict=True)
        samples = {split: Samples(inputs, targets) for split, inputs, targets in parts}
        facts = LabelFacts(
            source=f"clocked symbols, periods {self.periods}",
            sha256=hashlib.sha256(symbols.numpy().tobytes()).hexdigest(),
            references={"cross-entropy of a guess": float(np.log(self.classes))},
            sequences=self.sequences,
            input_size=self.alphabet,
            output_size=self.classes,
            symbols=True,
            per_step=True,
        )
        return facts, samples

    def targets(self, symbols: Int[Tensor, "N {self.steps}"]) -> Int[Tensor, "N {self.steps}"]:
        """The class of each step of ``symbols``."""
        total = torch.zeros_like(symbols)
        for j, taken in enumerate(self.ticks().unbind(1)):
            # The step of the latest symbol taken; 0 before the first, whose symbol then does not count.
            latest = torch.where(taken, torch.arange(self.steps), -1).cummax(0).values
            held = symbols[:, latest.clamp(min=0)] * (latest >= 0)
            total += held * self.alphabet**j
        return total

    def passage(self, steps: int) -> Passage:
        inputs, _ = self.samples["val"][0]
        return Passage(inputs[None, :steps], tuple(str(i) for i in inputs[:steps].tolist()))
