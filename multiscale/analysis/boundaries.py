"""Are the boundaries that a level found those of a reference? Precision, recall and F1 of the boundary class."""

from dataclasses import dataclass

import torch
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


def score_baselines(found: Tensor, true: Tensor, offset: int = 0, tolerance: int = 0) -> dict[str, Score]:
    """What knows nothing scores on the same text.

    ``always``: a boundary at every step; ``random``: as many as were found, anywhere (mean counts of 20 seeded draws);
    ``shifted``: the reference itself, one step late.
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
    return {
        "always": score(torch.ones_like(true), true, offset, tolerance),
        "random": Score(sum(draws) / DRAWS, count, int((true != 0).sum())),
        "shifted": score(late, true, offset, tolerance),
    }
