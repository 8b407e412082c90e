"""Stacked LSTM against torch.nn.LSTM."""

import pytest
import torch

from multiscale import StackedLSTM


@pytest.mark.parametrize("kernel", ["fused", "reference"])
def test_it_is_torchs_lstm_with_the_same_weights(kernel):
    torch.manual_seed(0)
    oracle = torch.nn.LSTM(5, 7, 3, batch_first=True).double()
    ours = StackedLSTM(5, 7, 3, kernel=kernel).double()
    for l, layer in enumerate(ours.layers):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(layer, f"{name}_l0").data.copy_(getattr(oracle, f"{name}_l{l}"))
    x = torch.randn(3, 11, 5, dtype=torch.float64)
    h0, c0 = torch.randn(2, 3, 3, 7, dtype=torch.float64)
    top, (h, c) = oracle(x, (h0, c0))
    output = ours(x, (tuple(h0), tuple(c0)))
    torch.testing.assert_close(output.levels[-1], top, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.stack(output.state[0]), h, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.stack(output.state[1]), c, rtol=0, atol=1e-12)
    for level, last in zip(output.levels, output.state[0], strict=True):
        assert torch.equal(level[:, -1], last)


def test_layers_may_differ_in_size():
    output = StackedLSTM(5, [9, 4], 2)(torch.randn(2, 3, 5))
    assert [level.shape[-1] for level in output.levels] == [9, 4]


def test_layer_norm_normalises_both_products_and_the_cell_inside_the_tanh():
    torch.manual_seed(0)
    ours = StackedLSTM(5, 7, 1, layer_norm=True).double()
    assert ours.kernel == "reference"
    weight_ih, weight_hh, bias_ih, bias_hh = ours.layers[0].parameters()
    x, h, c = torch.randn(3, 1, 5).double(), torch.randn(3, 7).double(), torch.randn(3, 7).double()

    def normal(v):
        return (v - v.mean(1, keepdim=True)) / (v.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    gates = normal(x[:, 0] @ weight_ih.T) + normal(h @ weight_hh.T) + bias_ih + bias_hh
    i, f, g, o = gates.chunk(4, 1)
    cell = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    hidden = torch.sigmoid(o) * torch.tanh(normal(cell))
    output = ours(x, ((h,), (c,)))
    torch.testing.assert_close(output.levels[0][:, 0], hidden, rtol=0, atol=1e-12)
    torch.testing.assert_close(output.state[1][0], cell, rtol=0, atol=1e-12)


def test_a_named_kernel_that_cannot_run_raises():
    with pytest.raises(ValueError, match=r"kernel .fused. of StackedLSTM cannot run here: .*no layer norm"):
        StackedLSTM(5, 7, 1, layer_norm=True, kernel="fused")


@pytest.mark.parametrize("wrong", [{"hidden_size": 0}, {"num_layers": -1}, {"input_size": 2.0}, {"kernel": "cuda"}])
def test_bad_arguments_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StackedLSTM(**{"input_size": 3, "hidden_size": 4, "num_layers": 2, **wrong})
