"""What the tests of all kernels share."""

import pytest
import torch

from multiscale.kernels import product
from multiscale.kernels.hmlstm import looped, rows


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=["ordinary", "all shortcuts"])
def shortcuts(request, monkeypatch):
    """Packed products and skipped rows are for large layers; here also taken by small ones."""
    if request.param == "all shortcuts":
        monkeypatch.setattr(product, "_WORTH_PACKING", 0)
        monkeypatch.setattr(product, "_WORTH_SKIPPING", 0)
        monkeypatch.setattr(product, "_GATHERING", 0)
        monkeypatch.setattr(product, "_ROWS_AT_ONCE", 7)
        monkeypatch.setattr(rows, "_WORTH_COUNTING", 0)
        monkeypatch.setattr(looped, "_LARGE", 0)
    return request.param == "all shortcuts"
