"""Encoders: what a data set yields to the inputs [B, T, D] of a backbone, D = ``output_size``.

Each raises :class:`multiscale.checks.InvalidInput` for a size below 1.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from multiscale.checks import positive_int


class Embedding(nn.Module):
    """A learned vector for each of ``num_symbols`` symbols: indices [B, T] -> [B, T, embedding_size]."""

    def __init__(self, num_symbols: int, embedding_size: int) -> None:
        super().__init__()
        self.output_size = positive_int("embedding_size", embedding_size)
        self.table = nn.Embedding(positive_int("num_symbols", num_symbols), embedding_size)

    def forward(self, symbols: Int[Tensor, "B T"]) -> Float[Tensor, "B T {self.output_size}"]:
        return self.table(symbols)


class OneHot(nn.Module):
    """A unit vector for each of ``num_symbols`` symbols: indices [B, T] -> [B, T, num_symbols]; no parameters."""

    def __init__(self, num_symbols: int) -> None:
        super().__init__()
        self.output_size = positive_int("num_symbols", num_symbols)

    def forward(self, symbols: Int[Tensor, "B T"]) -> Float[Tensor, "B T {self.output_size}"]:
        return functional.one_hot(symbols, self.output_size).to(torch.get_default_dtype())


class Values(nn.Module):
    """Numbers as they are: [B, T, input_size] -> the same; no parameters."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.output_size = positive_int("input_size", input_size)

    def forward(self, values: Float[Tensor, "B T {self.output_size}"]) -> Float[Tensor, "B T {self.output_size}"]:
        return values
