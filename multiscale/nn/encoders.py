"""Encoders: what a data set yields to the inputs [B, T, D] of a backbone."""

from torch import Tensor, nn

from multiscale.checks import positive_int


class Embedding(nn.Module):
    """A learned vector for each of ``num_symbols`` symbols: indices [B, T] -> [B, T, embedding_size]."""

    def __init__(self, num_symbols: int, embedding_size: int) -> None:
        super().__init__()
        self.output_size = positive_int("embedding_size", embedding_size)
        self.table = nn.Embedding(positive_int("num_symbols", num_symbols), embedding_size)

    def forward(self, symbols: Tensor) -> Tensor:
        return self.table(symbols)
