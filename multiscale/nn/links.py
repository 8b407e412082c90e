"""Links between modules, fastest first: which there are, and how strong they are where that is learned.

| symbol | variable    | shape                                                       |
|--------|-------------|-------------------------------------------------------------|
| s_ij   | scores      | [L, L], those of i = j without use                          |
| S_ij   | strengths() | [L, L] in (0, 1): how far module i reads module j; S_ii = 1 |
| H_i    | level_sizes | units of module i; H of all                                 |
| T_i    | periods     | steps between two updates of module i                       |
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multiscale.checks import InvalidInput

LINKS = ("slow_to_fast", "fast_to_slow", "neighbours", "full", "learned")


def link_mask(links: str, modules: int) -> Tensor:
    """[L, L] bool: may module i, the row's, read module j? ``slow_to_fast``: j >= i; ``fast_to_slow``: j <= i;
    ``neighbours``: j = i or i - 1, and the fastest reads all; ``full`` and ``learned``: always."""
    reader, read = torch.arange(modules)[:, None], torch.arange(modules)
    everyone = torch.ones(modules, modules, dtype=torch.bool)
    return {
        "slow_to_fast": reader <= read,
        "fast_to_slow": reader >= read,
        "neighbours": (reader == 0) | (reader == read) | (reader == read + 1),
        "full": everyone,
        "learned": everyone,
    }[links]


class LinkGates(nn.Module):
    """S_ij = sigmoid(s_ij), i != j: what the block of W_h is multiplied with by which module i reads module j. A module
    reads itself in full.

    All s_ij start at 0: S = 1/2 is as near to shut as to open, and where the sigmoid is steepest. Who starts W_h
    divides it by what this returns, and so begins, to the bit, as if there were no gates.

    A gate alone does not tell what passes a link, for its weights can grow as it closes; ``cost``, and decay of the
    weights (not of the scores), are what makes gates tell. No link is ever cut: all are computed.

    Gates of blocks are those of scwrnn2.py in pranv/clockwork_rnn on GitHub (no paper), which has them within modules
    too, starts them at random, and knows no cost.

    Args:
        level_sizes: H_i.
        cost: what the loss has of all links if they are fully open, in nats.
        periods: T_i in steps, if a module is computed at its ticks alone; at every step if None.

    Raises:
        InvalidInput: for a single module.
    """

    module: Tensor
    share: Tensor

    def __init__(self, level_sizes: Sequence[int], cost: float = 0.0, periods: Sequence[int] | None = None) -> None:
        super().__init__()
        if len(level_sizes) < 2:
            raise InvalidInput("learned links need at least 2 modules; got 1.")
        units = torch.tensor(level_sizes)
        module = torch.repeat_interleave(torch.arange(len(units)), units)
        self.register_buffer("module", module, persistent=False)
        products = torch.outer(units / torch.tensor(periods or [1] * len(units)), units.float()).fill_diagonal_(0)
        self.register_buffer("share", products / products.sum(), persistent=False)
        self.cost = cost
        self.scores = nn.Parameter(torch.zeros(len(units), len(units)))

    def strengths(self) -> Tensor:
        """S [L, L], the reader's row, the column of what it reads."""
        own = torch.eye(len(self.scores), dtype=torch.bool, device=self.scores.device)
        return torch.where(own, 1.0, torch.sigmoid(self.scores))

    def forward(self) -> Tensor:
        """S repeated over the units, [H, H], in the scores' own precision, also under autocast."""
        return self.strengths().index_select(0, self.module).index_select(1, self.module)

    def penalty(self) -> Tensor:
        """``cost`` sum_ij S_ij H_i H_j / T_i over sum_ij H_i H_j / T_i, i != j: the part of the links' multiplications
        in a step that is let through."""
        return self.cost * (self.strengths() * self.share).sum()

    def reads(self) -> Tensor:
        """Mean strength [L] of each module's links to the others."""
        return (self.strengths().detach().sum(1) - 1) / (len(self.scores) - 1)
