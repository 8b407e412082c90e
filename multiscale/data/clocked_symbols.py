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
        jitter: the probability that a tick after the first comes a step early or, as often, a step late, in each
            sequence and of each clock by itself: what no clock can know.
        seed: of the symbols and of the jitter.

    Raises:
        InvalidInput: for sizes or periods below 1, no periods or two alike, a period of T or more, over 4096 classes,
            a jitter outside [0, 1], or a seed below 0.
    """

    kind = "labels"

    def __init__(
        self,
        batch_size: int,
        periods: Sequence[int] = (6,),
        alphabet: int = 8,
        steps: int = 96,
        sequences: Sequence[int] = (2000, 200, 200),
        jitter: float = 0.0,
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
        self.jitter = in_range("jitter", jitter, 0, 1)
        self.seed = int(in_range("seed", seed, 0))

    def ticks(self) -> Bool[Tensor, "{self.steps} {len(self.periods)}"]:
        """Which clock's register, fastest first, takes the symbol of each step, without jitter."""
        return _slowest(self._due())

    def _due(self) -> Bool[Tensor, "{self.steps} {len(self.periods)}"]:
        """Which clocks tick at each step, without jitter."""
        return torch.arange(self.steps)[:, None] % torch.tensor(self.periods) == 0

    def _jittered(self, sequences: int) -> Bool[Tensor, "{sequences} {self.steps} {len(self.periods)}"]:
        """As :meth:`ticks` of each sequence, with jitter."""
        due = self._due()
        drawn = torch.from_numpy(np.random.default_rng([self.seed, 1]).random((sequences, *due.shape)))
        drawn[:, 0] = 1.0  # the first is where the sequence begins
        early, late = due & (drawn < self.jitter / 2), due & (drawn >= self.jitter / 2) & (drawn < self.jitter)
        moved = due & ~early & ~late
        moved[:, :-1] |= early[:, 1:]
        moved[:, 1:] |= late[:, :-1]
        return _slowest(moved)

    def true_periods(self) -> tuple[int, ...]:
        return tuple(self.periods)

    def load(self) -> tuple[LabelFacts, dict[str, Samples]]:
        drawn = np.random.default_rng(self.seed).integers(self.alphabet, size=(sum(self.sequences), self.steps))
        symbols = torch.from_numpy(drawn)
        ticks = self._jittered(len(symbols)) if self.jitter else self.ticks()
        targets = self.targets(symbols, ticks)
        shown = symbols.numpy().tobytes() + (targets.numpy().tobytes() if self.jitter else b"")
        parts = zip(SPLITS, symbols.split(self.sequences), targets.split(self.sequences), strict=True)
        samples = {split: Samples(inputs, targets) for split, inputs, targets in parts}
        facts = LabelFacts(
            source=f"clocked symbols, periods {self.periods}",
            sha256=hashlib.sha256(shown).hexdigest(),
            references={"cross-entropy of a guess": float(np.log(self.classes))},
            sequences=self.sequences,
            input_size=self.alphabet,
            output_size=self.classes,
            symbols=True,
            per_step=True,
        )
        return facts, samples

    def targets(
        self, symbols: Int[Tensor, "N {self.steps}"], ticks: Bool[Tensor, "*N {self.steps} J"]
    ) -> Int[Tensor, "N {self.steps}"]:
        """The class of each step of ``symbols``, of which the registers take those of ``ticks``."""
        total = torch.zeros_like(symbols)
        for j, taken in enumerate(ticks.unbind(-1)):
            # The step of the latest symbol taken; 0 before the first, whose symbol then does not count.
            latest = torch.where(taken, torch.arange(self.steps), -1).cummax(-1).values.expand_as(symbols)
            total += symbols.gather(1, latest.clamp(min=0)) * (latest >= 0) * self.alphabet**j
        return total

    def passage(self, steps: int) -> Passage:
        inputs, _ = self.samples["val"][0]
        return Passage(inputs[None, :steps], tuple(str(i) for i in inputs[:steps].tolist()))


def _slowest(due: Bool[Tensor, "*N T J"]) -> Bool[Tensor, "*N T J"]:
    """Of those that are due at a step, the slowest, which comes last."""
    slower = due.flip(-1).cumsum(-1).flip(-1) - due.long() > 0
    return due & ~slower
