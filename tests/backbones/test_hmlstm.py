"""The HM-LSTM against the paper's equations, torch's LSTM, and the faults that others have made."""

import pytest
import torch
from torch import nn

from multiscale import HMLSTM
from multiscale.nn.encoders import Embedding
from multiscale.nn.heads import Gated
from tests.helpers.hmlstm import KERNELS, force, network, state_of


def by_hand(net: HMLSTM, x_t, state):
    """Eq. 1-7 of the paper, one sample and one layer at a time, with Python branches."""
    h_prev, c_prev, z_prev = state
    out_h, out_c, out_z = [], [], []
    for b in range(len(x_t)):
        below, z_below, hs, cs, zs = x_t[b], 1.0, [], [], []
        for l, layer in enumerate(net.layers):
            top = l == len(net.layers) - 1
            z_last = 0.0 if top else z_prev[l][b].item()
            n = net.level_sizes[l]
            s = layer.recurrent @ h_prev[l][b] + layer.bias
            s = s + z_below * (layer.bottom_up @ below)
            if not top:
                s = s + z_last * (layer.top_down @ h_prev[l + 1][b])
            f, i, o, g = *s[: 3 * n].sigmoid().split(n), s[3 * n : 4 * n].tanh()
            if z_last == 1:
                c = i * g
            elif z_below == 1:
                c = f * c_prev[l][b] + i * g
            else:
                c = c_prev[l][b]
            copied = z_last == 0 and z_below == 0
            h = h_prev[l][b] if copied else o * c.tanh()
            z = 0.0 if top else float(max(0.0, min(1.0, (net.slope.item() * s[-1].item() + 1) / 2)) > 0.5)
            below, z_below = h, z
            hs.append(h)
            cs.append(c)
            zs.append(z)
        out_h.append(hs)
        out_c.append(cs)
        out_z.append(zs)
    return [torch.stack(r) for r in zip(*out_h, strict=True)], [torch.stack(r) for r in zip(*out_c, strict=True)], out_z


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_is_the_papers_equations_step_by_step(kernel):
    net = network(4, 7, 3, kernel=kernel)
    x = 2 * torch.randn(6, 9, 5, dtype=torch.float64)
    state = state_of(net, 6, [1.0, 0.0])
    output = net(x, state, trace=True)
    seen = set()
    for t in range(9):
        h, c, z = by_hand(net, x[:, t], state)
        for l in range(3):
            torch.testing.assert_close(output.levels[l][:, t], h[l], rtol=0, atol=1e-12)
        assert output.trace.boundary[:, t].tolist() == z
        seen |= {(int(state[2][0][b]), int(z[b][0])) for b in range(6)}
        state = (tuple(h), tuple(c), tuple(torch.tensor([[row[l]] for row in z]).double() for l in range(2)))
    for mine, theirs in zip([*output.state[0], *output.state[1]], [*h, *c], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    assert len(seen) == 4  # every combination of boundaries came up


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_level_is_torchs_lstm(kernel):
    net, oracle = network(6, kernel=kernel), nn.LSTM(5, 6, batch_first=True).double()
    f, i, o, g = (slice(k * 6, (k + 1) * 6) for k in range(4))
    for theirs, ours in (
        (oracle.weight_ih_l0, "bottom_up"),
        (oracle.weight_hh_l0, "recurrent"),
        (oracle.bias_ih_l0, "bias"),
    ):
        mine = getattr(net.layers[0], ours)
        theirs.data.copy_(torch.cat([mine[i], mine[f], mine[g], mine[o]]))
    oracle.bias_hh_l0.data.zero_()
    x = torch.randn(3, 8, 5, dtype=torch.float64)
    torch.testing.assert_close(net(x).levels[0], oracle(x)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_with_boundaries_below_and_none_before_a_layer_is_an_lstm_cell(kernel):
    net = network(4, 6, kernel=kernel)
    force(net, 0, True)
    x, state = torch.randn(3, 1, 5, dtype=torch.float64), state_of(net, 3, 0.0)
    output = net(x, state)
    layer = net.layers[1]
    s = output.levels[0][:, 0] @ layer.bottom_up.T + state[0][1] @ layer.recurrent.T + layer.bias
    f, i, o = s[:, :18].sigmoid().chunk(3, 1)
    c = f * state[1][1] + i * s[:, 18:].tanh()
    torch.testing.assert_close(output.state[1][1], c, rtol=0, atol=1e-12)
    torch.testing.assert_close(output.levels[1][:, 0], o * c.tanh(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_copy_leaves_h_and_c_as_they_were_bit_for_bit(kernel, layer_norm):
    net = network(4, 6, kernel=kernel, layer_norm=layer_norm).float()
    force(net, 0, False)
    h, c, z = state_of(net.double(), 3, 0.0)
    net = net.float()
    state = (tuple(p.float() for p in h), tuple(p.float() for p in c), tuple(p.float() for p in z))
    output = net(torch.randn(3, 5, 5), state, trace=True)
    assert all(torch.equal(output.levels[1][:, t], state[0][1]) for t in range(5))
    assert torch.equal(output.state[1][1], state[1][1])
    assert not output.trace.update[:, :, 1].any()


@pytest.mark.parametrize("kernel", KERNELS)
def test_after_a_flush_nothing_is_left_of_the_old_cell(kernel):
    net = network(4, 6, 3, kernel=kernel)
    h, c, z = state_of(net, 3, 1.0)
    x = torch.randn(3, 1, 5, dtype=torch.float64)
    c = tuple(p.requires_grad_() for p in c)
    output = net(x, (h, c, z), trace=True)
    for l in (0, 1):
        gradient = torch.autograd.grad(output.state[1][l].sum(), c, retain_graph=True, allow_unused=True)
        assert all(g is None or not g.any() for g in gradient)
        assert output.trace.update[:, 0, l].all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_bottom_up_product_is_gated_by_the_boundary_below_and_the_recurrent_one_by_nothing(kernel):
    net = network(4, 6, 3, kernel=kernel, copy_boundary="recompute")
    force(net, 0, False)
    x, state = torch.randn(3, 1, 5, dtype=torch.float64), state_of(net, 3, [0.0, 1.0])
    before = net(x, state).levels[1]  # layer 2 must flush, with nothing from below
    with torch.no_grad():
        net.layers[1].bottom_up.add_(1.0)
    assert torch.equal(net(x, state).levels[1], before)
    with torch.no_grad():
        net.layers[1].recurrent.add_(1.0)
    assert not torch.equal(net(x, state).levels[1], before)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_top_layer_never_flushes_itself(kernel):
    net = network(4, 6, kernel=kernel)
    assert net.layers[1].recurrent.shape[0] == 4 * 6
    assert net.layers[1].top_down is None
    output = net(torch.randn(3, 20, 5, dtype=torch.float64), trace=True)
    assert not output.trace.boundary[:, :, 1].any()
    assert len(output.state[2]) == 1


@pytest.mark.parametrize(
    ("hidden", "embedding", "output", "symbols", "millions"),
    [(512, 128, 512, 50, 8.43), (1024, 128, 2048, 27, 36.3)],
)
def test_the_papers_networks_have_their_number_of_parameters(hidden, embedding, output, symbols, millions):
    with torch.device("meta"):
        parts = [
            Embedding(symbols, embedding),
            HMLSTM(embedding, hidden, 3),
            Gated([hidden] * 3, symbols, output),
        ]
    total = sum(p.numel() for part in parts for p in part.parameters())
    assert total / 1e6 == pytest.approx(millions, rel=0.005)


def test_the_gated_head_is_eq_11_and_12_without_an_activation_on_the_logits():
    head = Gated([4, 6], output_size=9, embedding_size=7).double()
    h1, h2 = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 6, dtype=torch.float64)
    both = torch.cat([h1, h2], -1)
    g = torch.sigmoid(both @ head.gates.weight.T)
    w1, w2 = head.embedding.weight.split([4, 6], 1)
    e = torch.relu(g[..., :1] * (h1 @ w1.T) + g[..., 1:] * (h2 @ w2.T))
    logits = e @ head.output.weight.T + head.output.bias
    torch.testing.assert_close(head((h1, h2)), logits, rtol=0, atol=1e-12)
    assert (logits < 0).any()
