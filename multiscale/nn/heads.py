"""Heads: the hidden sequences of all levels to outputs; each takes the levels of any backbone.

levels: L tensors [B, T, H_l], fastest first -> outputs [B, T, output_size], with no activation on them. Each raises
:class:`multiscale.checks.InvalidInput` for a size below 1.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiscale.checks import positive_int

Levels: TypeAlias = Sequence[Float[Tensor, "B T _"]]


class Gated(nn.Module):
    """The output module of the HM-LSTM (Chung et al. 2016, Eq. 11-12).

    g_l = sigmoid(w_l . [h_1; ...; h_L]), one scalar a level; e = ReLU(sum_l g_l W_l h_l); output = V e + b.
    ``embedding_size`` is the size of e.
    """

    def __init__(self, level_sizes: Sequence[int], output_size: int, embedding_size: int) -> None:
        super().__init__()
        width = sum(level_sizes)
        self.gates = nn.Linear(width, len(level_sizes), bias=False)
        self.embedding = nn.Linear(width, positive_int("embedding_size", embedding_size), bias=False)
        self.output = nn.Linear(embedding_size, positive_int("output_size", output_size))
        self.level_sizes = tuple(level_sizes)

    def forward(self, levels: Levels) -> Float[Tensor, "B T {self.output.out_features}"]:
        hidden = torch.cat(tuple(levels), -1)
        gates = torch.sigmoid(self.gates(hidden))
        # sum_l g_l W_l h_l is one product with the gated states side by side.
        gate_of_unit = torch.cat(
            [g.expand(*g.shape[:-1], n) for g, n in zip(gates.split(1, -1), self.level_sizes, strict=True)], -1
        )
        return self.output(torch.relu(self.embedding(gate_of_unit * hidden)))


class Concat(nn.Module):
    """output = V [h_1; ...; h_L] + b: all levels side by side, one linear layer."""

    def __init__(self, level_sizes: Sequence[int], output_size: int) -> None:
        super().__init__()
        self.output = nn.Linear(sum(level_sizes), positive_int("output_size", output_size))

    def forward(self, levels: Levels) -> Float[Tensor, "B T {self.output.out_features}"]:
        return self.output(torch.cat(tuple(levels), -1))


class Top(nn.Module):
    """output = V h_L + b: the slowest level alone."""

    def __init__(self, level_sizes: Sequence[int], output_size: int) -> None:
        super().__init__()
        self.output = nn.Linear(level_sizes[-1], positive_int("output_size", output_size))

    def forward(self, levels: Levels) -> Float[Tensor, "B T {self.output.out_features}"]:
        return self.output(levels[-1])
