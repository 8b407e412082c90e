"""Prepared products, and the private operations of torch that they use."""

import pytest
import torch

from multiscale.kernels import product
from tests.conftest import ROOT

MKLDNN = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@MKLDNN
def test_torchs_private_products_by_a_packed_matrix_are_still_what_is_asked_of_them():
    torch.manual_seed(0)
    x, weight = torch.randn(6, 5), torch.randn(7, 5)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, 6)
    for rows in (6, 3):
        found = torch.ops.mkldnn._linear_pointwise(x[:rows], packed, None, "none", [], "")
        torch.testing.assert_close(found, x[:rows] @ weight.T)
    found = torch.ops.mkldnn._linear_pointwise(x.T, torch.randn(6, 4).t(), None, "none", [], "")
    assert found.shape == (5, 4)


@MKLDNN
@pytest.mark.parametrize("rows", [None, torch.tensor([0, 3, 4])])
def test_packed_and_plain_products_are_one(rows, monkeypatch):
    torch.manual_seed(0)
    x, weight = torch.randn(6, 5), torch.randn(7, 5)
    left = torch.randn(6, 7)
    if rows is not None:
        left = left * torch.zeros(6, 1).index_fill(0, rows, 1)
    found = {}
    for least in (1 << 62, 0):
        monkeypatch.setattr(product, "_WORTH_PACKING", least)
        found[least] = product.product(weight, 6, torch.float32)(x).clone(), product.outer(left, x, x.dtype, rows, rows)
    torch.testing.assert_close(*found.values())
    torch.testing.assert_close(found[0], (x @ weight.T, left.T @ x))


def test_private_operations_of_torch_are_used_in_one_file():
    users = {path.name for path in (ROOT / "multiscale").rglob("*.py") if "torch.ops." in path.read_text()}
    assert users == {"product.py"}
