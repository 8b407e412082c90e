"""The HM-LSTM against the paper's equations, torch's LSTM, and the faults that others have made."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multiscale import HMLSTM
from multiscale.nn.encoders import Embedding
from multiscale.nn.heads import Gated
from multiscale.nn.schedules import Constant, Linear

KERNELS = ["reference", "auto"]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def network(*sizes: int, **options) -> HMLSTM:
    """Float64, and no parameter at a special value such as a bias of zero."""
    made = HMLSTM(5, list(sizes), len(sizes), **options).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return made


def state_of(net: HMLSTM, batch: int, z: float | list[float]):
    """A state with random h and c and the given boundaries, one for each layer below the top."""
    h, c, zs = net.initial_state(batch, torch.device("cpu"), torch.float64)
    z = [z] * len(zs) if isinstance(z, float) else z
    return (
        tuple(torch.randn_like(p).tanh() for p in h),
        tuple(torch.randn_like(p) for p in c),
        tuple(torch.full_like(p, value) for p, value in zip(zs, z, strict=True)),
    )


def force(net: HMLSTM, layer: int, fire: bool) -> None:
    """Make a layer's boundary always, or never, fire."""
    row = net.layers[layer]
    with torch.no_grad():
        for weight in (row.recurrent, row.bottom_up, row.top_down):
            if weight is not None:
                weight[-1] = 0
        row.bias[-1] = 5.0 if fire else -5.0


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


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_slope_changes_the_gradient_and_never_the_forward_pass(kernel):
    x = torch.randn(3, 12, 5, dtype=torch.float64)
    results = []
    for epoch in (0.0, 50.0):
        torch.manual_seed(0)
        net = network(4, 6, 3, kernel=kernel)
        net.anneal(epoch)
        levels = net(x).levels
        sum((level**2).sum() for level in levels).backward()
        results.append((levels, net.layers[0].recurrent.grad))
    assert all(map(torch.equal, results[0][0], results[1][0]))
    assert not torch.allclose(results[0][1], results[1][1])


def test_the_slope_is_annealed_in_place_and_travels_with_the_state_dict():
    net = network(4, 6)
    buffer = net.slope
    for epoch, slope in ((0, 1.0), (10, 1.4), (100, 5.0), (1000, 5.0)):
        net.anneal(epoch)
        assert net.slope is buffer
        assert buffer.item() == pytest.approx(slope)
    assert "slope" in net.state_dict()
    off = network(4, 6, slope=Constant(2.0))
    off.anneal(30)
    assert off.slope.item() == 2.0
    own = network(4, 6, slope=lambda epoch: 1 + epoch**2)
    own.anneal(3)
    assert own.slope.item() == 10.0


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_finite_difference_of_soft_boundaries_is_the_gradient(kernel):
    net = network(3, 2, 2, boundary="soft", kernel=kernel)
    x = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: net(x).levels, (x,))
    names = [name for name, _ in net.named_parameters()]
    values = tuple(p.detach().clone().requires_grad_() for p in net.parameters())

    def run(*parameters):
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (x.detach(),)).levels

    assert torch.autograd.gradcheck(run, values)


@pytest.mark.parametrize("kernel", KERNELS)
def test_boundaries_get_gradient_through_the_choice_only_when_mixed(kernel):
    gradients = {}
    for choice in ("mix", "select"):
        torch.manual_seed(1)
        net = network(4, 6, choice=choice, kernel=kernel)
        with torch.no_grad():
            net.layers[1].bottom_up.zero_()  # so that nothing is left for z to gate
            net.layers[0].top_down.zero_()
        levels = net(torch.randn(3, 10, 5, dtype=torch.float64)).levels
        levels[1].sum().backward()
        gradients[choice] = net.layers[0].bias.grad[-1].item()
    assert gradients["mix"] != 0
    assert gradients["select"] == 0


def test_sampled_boundaries_are_bernoulli_in_training_and_steps_in_evaluation():
    net = HMLSTM(5, 4, 2, boundary="sample").double()
    with torch.no_grad():
        for weight in (net.layers[0].recurrent, net.layers[0].bottom_up, net.layers[0].top_down):
            weight[-1] = 0
        net.layers[0].bias[-1] = 0.4  # probability 0.7 at slope 1
    x = torch.randn(50, 100, 5, dtype=torch.float64)
    rate = net.train()(x, trace=True).trace.boundary[..., 0].mean().item()
    assert rate == pytest.approx(0.7, abs=4 * (0.7 * 0.3 / 5000) ** 0.5)
    assert net.eval()(x, trace=True).trace.boundary[..., 0].all()


@pytest.mark.parametrize(("option", "after"), [("recompute", 1.0), ("hold", 0.0), ("zero", 0.0)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_boundary_of_a_copied_layer_is_recomputed_held_or_zero(kernel, option, after):
    net = network(4, 6, 3, copy_boundary=option, kernel=kernel)
    force(net, 0, False)
    force(net, 1, True)
    output = net(torch.randn(3, 1, 5, dtype=torch.float64), state_of(net, 3, [0.0, 0.0]), trace=True)
    assert (output.state[2][1] == after).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_without_flush_a_flush_is_an_update_and_without_copy_a_copy_is(kernel):
    x = torch.randn(3, 1, 5, dtype=torch.float64)
    net = network(4, 6, flush=False, kernel=kernel)
    state = state_of(net, 3, 1.0)
    layer = net.layers[0]
    s = state[0][0] @ layer.recurrent.T + x[:, 0] @ layer.bottom_up.T + state[0][1] @ layer.top_down.T + layer.bias
    f, i, _ = s[:, :12].sigmoid().chunk(3, 1)
    c = f * state[1][0] + i * s[:, 12:16].tanh()
    torch.testing.assert_close(net(x, state).state[1][0], c, rtol=0, atol=1e-12)
    busy = network(4, 6, copy=False, kernel=kernel)
    force(busy, 0, False)
    assert busy(x, trace=True).trace.update.all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_without_top_down_no_layer_hears_the_one_above_and_without_bias_no_boundary_has_one(kernel):
    net = network(4, 6, top_down=False, kernel=kernel)
    h, c, z = state_of(net, 3, 1.0)
    x = torch.randn(3, 1, 5, dtype=torch.float64)
    other = (h[0], torch.randn_like(h[1]))
    assert torch.equal(net(x, (h, c, z)).levels[0], net(x, (other, c, z)).levels[0])
    assert network(4, 6, boundary_bias=False).layers[0].bias.shape == (16,)


def test_layer_norm_normalises_each_product_before_its_gate_and_leaves_the_boundary_raw():
    net = HMLSTM(5, [4, 6], 2, layer_norm=True, kernel="reference").double()
    x, state = torch.randn(3, 1, 5, dtype=torch.float64), state_of(net, 3, 1.0)
    output = net(x, state, trace=True)
    layer, (h, _, z) = net.layers[0], state
    products = [h[0] @ layer.recurrent.T, x[:, 0] @ layer.bottom_up.T, z[0] * (h[1] @ layer.top_down.T)]
    gates = sum(F.layer_norm(p[:, :16], (16,)) for p in products) + layer.bias[:16]
    i, o = gates[:, 4:8].sigmoid(), gates[:, 8:12].sigmoid()
    new = i * gates[:, 12:].tanh()
    torch.testing.assert_close(output.state[1][0], new, rtol=0, atol=1e-12)
    torch.testing.assert_close(output.levels[0][:, 0], o * F.layer_norm(new, (4,)).tanh(), rtol=0, atol=1e-12)
    fired = (sum(p[:, 16] for p in products) + layer.bias[16]) > 0
    assert torch.equal(output.trace.boundary[:, 0, 0].bool(), fired)


def test_layer_norm_starts_as_the_identity_and_the_forget_gate_open():
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = HMLSTM(5, 4, 3, layer_norm=True)
        for name, p in net.named_parameters():
            if "norm" in name:
                assert (p == (1 if name.endswith("weight") else 0)).all(), name
        for layer in net.layers:
            assert (layer.bias[:4] == 1).all()
            assert not layer.bias[4:].any()
            gate = layer.recurrent[:4]
            torch.testing.assert_close(gate @ gate.T, torch.eye(4), rtol=0, atol=1e-5)
    assert (HMLSTM(5, 4, 2, forget_bias=0.5).layers[0].bias[:4] == 0.5).all()


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


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"boundary": "stochastic"}, "boundary must be one of step, sample, soft; got 'stochastic'"),
        ({"choice": "where"}, "choice must be one of mix, select"),
        ({"copy_boundary": "keep"}, "copy_boundary must be one of recompute, hold, zero"),
        ({"slope": 0}, "slope must be a number above 0; got 0"),
        ({"layer_norm": "yes"}, "layer_norm must be"),
        ({"forget_bias": "one"}, "forget_bias must be"),
        ({"init": "xavier"}, "init must be one of orthogonal, uniform"),
        ({"hidden_size": [4, 5, 6]}, r"hidden_size must be one number or 2 of them; got \[4, 5, 6\]"),
        ({"kernel": "cuda"}, "kernel must be one of auto"),
    ],
)
def test_bad_options_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        HMLSTM(**{"input_size": 5, "hidden_size": 4, "num_layers": 2, **wrong})


def test_a_slope_that_a_schedule_drives_to_zero_is_refused():
    with pytest.raises(ValueError, match="start must be a number above 0"):
        Linear(start=0.0)
