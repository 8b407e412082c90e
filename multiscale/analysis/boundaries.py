"""Are the boundaries that a level found those of a reference? Precision, recall and F1 of the boundary class."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from multiscale.checks import InvalidInput

DRAWS = 20  # of the random baseline


@dataclass(frozen=True)
class Score:
    """Counts of a comparison; they add up over parts of a text. A ratio with nothing to divide by is 0."""

    hits: float
    found: float
    true: float

    @property
    def precision(self) -> float:
        """Share of the found boundaries that are true."""
        return self.hits / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Share of the true boundaries that were found."""
        return self.hits / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / (self.found + self.true) if self.found + self.true else 0.0

    @property
    def r_value(self) -> float:
        """1 - (|r1| + |r2|) / 2 with r1 = sqrt((1 - HR)^2 + OS^2), r2 = (HR - OS - 1) / sqrt 2, of the hit rate HR, the
        recall, and the over-segmentation OS = found / true - 1; 1 is perfect, and random boundaries do not help as they
        help F1 (Rasanen, Laine, Altosaar 2009). 0 without a true boundary."""
        if not self.true:
            return 0.0
        missed, over = 1 - self.recall, self.found / self.true - 1
        return 1 - (math.hypot(missed, over) + abs(missed + over) / math.sqrt(2)) / 2


@dataclass(frozen=True)
class Segments:
    """What a level's boundaries are like without a reference: sums, which add up over parts of a text."""

    lengths: float  # segments that begin and end within the text
    total: float  # of their lengths, in steps
    squares: float
    nested: float  # boundaries at which the level below has one too
    boundaries: float
    surprise: float  # bits of what follows a boundary, summed
    everything: float  # bits of all steps
    steps: float

    @property
    def variation(self) -> float:
        """Standard deviation of the length of a segment over its mean."""
        if not self.total:
            return 0.0
        mean = self.total / self.lengths
        return math.sqrt(max(self.squares / self.lengths - mean**2, 0.0)) / mean

    @property
    def nesting(self) -> float:
        """Share of the boundaries at which the level below ends a segment too."""
        return self.nested / self.boundaries if self.boundaries else 0.0

    @property
    def enrichment(self) -> float:
        """Mean surprisal of what follows a boundary over the mean elsewhere: the boundary enrichment of Neitemeier et
        al. 2026 (arXiv 2601.22805); 0 where it is not known."""
        elsewhere, rest = self.everything - self.surprise, self.steps - self.boundaries
        if not self.boundaries or not rest or not elsewhere:
            return 0.0
        return (self.surprise / self.boundaries) / (elsewhere / rest)


def segments(found: Tensor, below: Tensor | None = None, surprisal: Tensor | None = None) -> Segments:
    """Of boundaries ``found`` [N], those of the level ``below`` [N], and the ``surprisal`` [N], in bits, of what
    follows each step; without one of the last two what it is needed for is 0."""
    at = found.nonzero()[:, 0]
    lengths = at.diff().double()
    known = torch.zeros(len(found)) if surprisal is None else surprisal
    return Segments(
        lengths=len(lengths),
        total=float(lengths.sum()),
        squares=float(lengths.square().sum()),
        nested=0.0 if below is None else float((below[at] != 0).sum()),
        boundaries=len(at),
        surprise=float(known[at].double().sum()),
        everything=float(known.double().sum()),
        steps=len(found),
    )


def score(found: Tensor, true: Tensor, offset: int = 0, tolerance: int = 0) -> Score:
    """Compare boundaries ``found`` with those that are ``true``, both [N], nonzero at a boundary.

    A boundary found at step t counts for a true one at t - offset, give or take ``tolerance`` steps; each serves once.

    Raises:
        InvalidInput: for shapes that differ or are not [N], or a negative tolerance.
    """
    if found.dim() != 1 or found.shape != true.shape:
        raise InvalidInput(f"found and true must both be [N]; got {list(found.shape)} and {list(true.shape)}.")
    if tolerance < 0:
        raise InvalidInput(f"tolerance must be at least 0 steps; got {tolerance}.")
    at = (found.nonzero()[:, 0] - offset).tolist()
    wanted = true.nonzero()[:, 0].tolist()
    hits = next_wanted = 0
    for t in at:  # in order of time, each takes the earliest reference in reach: the largest one-to-one matching
        while next_wanted < len(wanted) and wanted[next_wanted] < t - tolerance:
            next_wanted += 1
        if next_wanted < len(wanted) and wanted[next_wanted] <= t + tolerance:
            hits += 1
            next_wanted += 1
    return Score(hits, len(at), len(wanted))


def score_baselines(
    found: Tensor,
    true: Tensor,
    offset: int = 0,
    tolerance: int = 0,
    signals: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Score]:
    """What knows nothing of boundaries scores on the same text.

    ``always``: a boundary at every step; ``random``: as many as were found, anywhere (mean counts of 20 seeded draws);
    ``shifted``: the reference itself, one step late; and by each of the ``signals`` [N], such as the surprisal of what
    follows each step, as many boundaries as were found, where it is largest. A detector that does not beat the
    surprisal has learned nothing of its own.
    """
    generator = torch.Generator().manual_seed(0)
    count = int((found != 0).sum())
    draws = []
    for _ in range(DRAWS):
        drawn = torch.zeros_like(true, dtype=torch.bool)
        drawn[torch.randperm(len(true), generator=generator)[:count]] = True
        draws.append(score(drawn, true, offset, tolerance).hits)
    late = torch.zeros_like(true)
    late[1:] = true[:-1]
    known = {name: score(largest(values, count), true, offset, tolerance) for name, values in signals.items()}
    return known | {
        "always": score(torch.ones_like(true), true, offset, tolerance),
        "random": Score(sum(draws) / DRAWS, count, int((true != 0).sum())),
        "shifted": score(late, true, offset, tolerance),
    }


def learn_rule(symbols: Shaped[Tensor, " N"], true: Shaped[Tensor, " N"], size: int) -> Bool[Tensor, " V"]:
    """The best rule from each of ``size`` symbols to a boundary or none: yes to one that is one in more than half of
    its places, of boundaries ``true`` at ``symbols`` 0 .. V - 1."""
    return 2 * symbols[true != 0].bincount(minlength=size) > symbols.bincount(minlength=size)


def count_by_symbol(symbols: Shaped[Tensor, " N"], found: Shaped[Tensor, " N"], size: int) -> Int[Tensor, "2 V"]:
    """Of each of ``size`` symbols, how often a boundary was not found at it, and how often it was. The counts add up
    over parts of a text; the larger of each two is what the best rule from the symbol to the decision gets right."""
    at = symbols[found != 0].bincount(minlength=size)
    return torch.stack([symbols.bincount(minlength=size) - at, at])


def largest(values: Tensor, count: int) -> Tensor:
    """A mask [N] of the ``count`` largest of ``values`` [N]; of equal ones the first."""
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[values.argsort(descending=True, stable=True)[:count]] = True
    return mask
