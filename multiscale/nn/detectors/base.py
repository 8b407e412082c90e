"""Boundary detectors: the contract, and what all have in common.

A level that detects has one number s a step, its score: in an HM-LSTM (Chung, Ahn, Bengio 2016, arXiv 1609.01704) the
last row of the products in Eq. 4, without the bias. A detector says what the hard sigmoid reads, s' = scale s + offset,
and how it becomes a boundary. N levels detect, fastest first.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiscale.checks import InvalidInput, in_range, one_of

DECISIONS = ("step", "sample", "soft")


class Seen(NamedTuple):
    """What a training sequence showed of the levels that detect."""

    score: Float[Tensor, "B T N"]  # s
    line: Float[Tensor, "B T N"]  # s'
    boundary: Float[Tensor, "B T N"]  # z, without gradient
    open: Float[Tensor, "B T N"]  # in {0, 1}: where a boundary was allowed; all 1 unless boundaries are nested
    slope: Float[Tensor, ""]  # a
    operands: Sequence[Tensor]  # N of [K_l], the mean of what each row of weights read where boundaries were decided


class Detector(nn.Module, ABC):
    """What a new detector must define, and what it then has.

    A new detector is one class with arguments of its own, which calls this constructor and defines

    - ``affine``: scale and offset of the scores;

    and, where they apply,

    - ``start``: buffers and parameters, for as many levels as detect;
    - ``observe``, with ``observes`` true: what a training sequence showed; here running figures are updated, and what
      the boundaries add to the loss is returned;
    - ``anneal``: what follows the training.

    Args:
        surprisal_weight: of the loss that draws boundaries to where the future is hard to predict, see ``align``.
        surprisal_reach: the share of its gradient, and of any other of the scores that a trace tells, that is passed on
            to the states that they are made of; the weights get all of it. At 1 a text is predicted worse, as the
            states then are there to be scored; at 0 they may hold nothing from which the score could be made.
        row_gain: how much larger than other weights the rows that make the scores start.
        decision: how z comes from its hard sigmoid p: ``step``, 1 where p > 1/2; ``sample``, a Bernoulli draw of
            probability p in training and the step in evaluation; ``soft``, p itself. The first two pass the gradient
            of p straight through.

    Raises:
        InvalidInput: for an unknown word, or a number out of range.
    """

    observes: bool = False
    plain: bool = False  # scale is 1 and offset the bias, so that nothing need be done

    def __init__(
        self,
        decision: str = "step",
        surprisal_weight: float = 0.0,
        row_gain: float = 1.0,
        surprisal_reach: float = 0.0,
    ) -> None:
        super().__init__()
        self.surprisal_reach = in_range("surprisal_reach", surprisal_reach, 0, 1)
        self.surprisal_weight = in_range("surprisal_weight", surprisal_weight, 0)
        self.row_gain = in_range("row_gain", row_gain, 0, open_low=True)
        self.decision = one_of("boundary", decision, DECISIONS)

    def start(self, widths: Sequence[int]) -> None:
        """Create what depends on how many levels detect, and on how many numbers K_l the row of weights of each reads;
        called once, by the backbone's constructor."""

    @abstractmethod
    def affine(self, rows: Sequence[Tensor], bias: Float[Tensor, "N"]) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
        """scale [N] and offset [N] of the scores, for the levels' own ``rows`` of weights, N of [K_l], and learned
        ``bias`` [N]."""

    def observe(self, seen: Seen) -> Tensor | None:
        """What a training sequence adds to the loss, a scalar >= 0; None for nothing."""
        return None

    def align(
        self, score: Float[Tensor, "B T N"], expected: Float[Tensor, "B T"], counted: Float[Tensor, "B T N"]
    ) -> Tensor:
        """``surprisal_weight`` times the sum over levels of 1 - r, with the correlation r, over the steps that are
        ``counted`` in {0, 1}, of the score with the surprisal that the network itself expects of what follows, the
        entropy of its prediction: a score that knows how hard the next step is to predict. What is ``expected``
        passes no gradient. (The surprisal that then comes is the same on average, and teaches more slowly.)"""
        bits = expected.detach()[..., None]
        n = counted.sum((0, 1)).clamp(min=1)
        s, v = ((x - (counted * x).sum((0, 1)) / n) * counted for x in (score, bits))
        spread = (s.square().sum((0, 1)) * v.square().sum((0, 1))).clamp(min=1e-12).sqrt()
        return self.surprisal_weight * (1 - (s * v).sum((0, 1)) / spread).sum()

    def anneal(self, epoch: float) -> None:
        """Set what follows the training, for this (fractional) epoch."""


class Plain(Detector):
    """The paper's: the score and its bias as they are."""

    plain = True

    def affine(self, rows: Sequence[Tensor], bias: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(bias), bias


def check_detector(value: str | Detector) -> Detector:
    """The detector itself; the paper's for a word that says how it decides; else raises :class:`InvalidInput`."""
    if isinstance(value, Detector):
        return value
    if isinstance(value, str):
        return Plain(value)
    raise InvalidInput(f"boundary must be one of {', '.join(DECISIONS)}, or a Detector; got {value!r}.")
