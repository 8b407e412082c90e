"""What may vary in an HM-LSTM: slope, kind of boundary, choice of operation, ablations, layer norm, start."""

import pytest
import torch
from torch.nn import functional as F

from multiscale import HMLSTM
from multiscale.nn.schedules import Constant, Linear
from tests.helpers.hmlstm import KERNELS, force, network, state_of


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


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_boundary_from_the_hidden_state_reads_the_new_one_alone(kernel):
    net = network(4, 6, boundary_source="hidden", kernel=kernel)
    assert [w.shape[0] for w in (net.layers[0].recurrent, net.layers[0].bottom_up, net.layers[0].top_down)] == [
        17,
        16,
        16,
    ]
    output = net(torch.randn(3, 20, 5, dtype=torch.float64), trace=True)
    score = output.levels[0] @ net.layers[0].recurrent[-1] + net.layers[0].bias[-1]
    assert torch.equal(output.trace.boundary[..., 0], (score > 0).double())
    torch.testing.assert_close(output.trace.probability[..., 0], ((score + 1) / 2).clamp(0, 1))


def test_a_boundary_from_the_change_of_state_starts_as_the_router_of_h_net():
    net = HMLSTM(5, [4, 6], 2, boundary="soft", boundary_source="change").double()
    output = net(torch.randn(3, 20, 5, dtype=torch.float64), trace=True)
    h = output.levels[0]
    router = (1 - F.cosine_similarity(h[:, :-1], h[:, 1:], dim=2)) / 2
    torch.testing.assert_close(output.trace.probability[:, 1:, 0], router)


def test_a_state_that_stands_still_never_ends_a_segment():
    net = network(4, 6, 3, boundary_source="change")
    with torch.no_grad():
        net.layers[1].query.copy_(net.layers[1].key)
        net.layers[0].bias[-1] = -5.0  # so that layer 2 copies
        net.layers[1].bias[-1] = 0.0
    output = net(torch.randn(3, 9, 5, dtype=torch.float64), state_of(net, 3, 0.0), trace=True)
    assert not output.trace.update[..., 1].any()
    assert not output.trace.boundary[..., 1].any()


def test_a_finite_difference_of_a_soft_change_is_the_gradient():
    net = network(3, 2, boundary="soft", boundary_source="change")
    x = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: net(x, state_of_ones(net)).levels, (x,))
    net(x).levels[1].sum().backward()
    assert net.layers[0].query.grad.any()
    assert net.layers[0].key.grad.any()


def state_of_ones(net):
    return tuple(
        tuple(torch.ones_like(p) for p in part) for part in net.initial_state(2, torch.device("cpu"), torch.float64)
    )


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
        ({"boundary_source": "input"}, "boundary_source must be one of preact, hidden, change; got 'input'"),
        ({"boundary_source": "change", "kernel": "native"}, "in the reference alone"),
    ],
)
def test_bad_options_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        HMLSTM(**{"input_size": 5, "hidden_size": 4, "num_layers": 2, **wrong})


def test_a_slope_that_a_schedule_drives_to_zero_is_refused():
    with pytest.raises(ValueError, match="start must be a number above 0"):
        Linear(start=0.0)
