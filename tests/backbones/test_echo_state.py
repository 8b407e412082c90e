"""The echo state network: its equation, that it forgets where it began, and that nothing in it is trained."""

import pytest
import torch

from multiscale.backbones.base import fold
from multiscale.backbones.echo_state import EchoStateNetwork
from multiscale.checks import InvalidInput


def network(*sizes: int, **options) -> EchoStateNetwork:
    return EchoStateNetwork(*sizes, **options).double()


@pytest.mark.parametrize("kernel", ["hoisted", "reference"])
def test_a_leaky_reservoir_follows_the_equation_written_out(kernel):
    model = network(2, 17, leak=0.3, kernel=kernel)
    ((weight_in, weight),) = model.weights()
    x, h = torch.randn(1, 6, 2, dtype=torch.float64), torch.randn(17, dtype=torch.float64)
    levels = model(x, (h[None],)).levels[0][0]
    for x_t, found in zip(x[0], levels, strict=True):
        h = 0.7 * h + 0.3 * (weight_in @ x_t + weight @ h).tanh()
        torch.testing.assert_close(found, h, rtol=0, atol=1e-14)


def test_a_reservoir_without_leak_is_the_network_of_torch_with_its_weights():
    model, dense = network(3, 19), torch.nn.RNN(3, 19, bias=False, batch_first=True).double()
    ((dense.weight_ih_l0.data, dense.weight_hh_l0.data),) = model.weights()
    x = torch.randn(2, 11, 3, dtype=torch.float64)
    torch.testing.assert_close(model(x).levels[0], dense(x)[0], rtol=0, atol=1e-13)


def test_a_reservoir_is_one_more_that_reads_the_states_of_the_one_below():
    model = network(2, [11, 7], num_layers=2, leak=[1.0, 0.25], density=0.5)
    x = torch.randn(3, 8, 2, dtype=torch.float64)
    lower, upper = model(x).levels
    alone = network(11, 7, leak=0.25)
    alone.reservoirs[0].load_state_dict(model.reservoirs[1].state_dict())
    torch.testing.assert_close(upper, alone(lower).levels[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("radius", [0.0, 0.5, 0.9, 1.3])
@pytest.mark.parametrize(("units", "density"), [(1, 0.1), (13, 0.01), (60, 0.1), (41, 1.0)])
def test_the_recurrent_weights_have_the_radius_that_was_asked_for(units, density, radius):
    ((_, weight),) = network(2, units, density=density, spectral_radius=radius).weights()
    assert torch.linalg.eigvals(weight).abs().max() == pytest.approx(radius, rel=1e-4)  # drawn in float32


def test_every_unit_reads_the_share_of_units_that_density_says():
    ((weight_in, weight),) = network(4, 60, density=0.1, input_scale=3.0).weights()
    assert (weight.count_nonzero(1) == 6).all()
    assert 1.4 < weight_in.abs().max() <= 1.5  # 3 / sqrt(4)


@pytest.mark.parametrize(("radius", "leak", "forgets"), [(0.9, 1.0, True), (0.9, 0.3, True), (1.8, 1.0, False)])
def test_below_a_radius_of_one_two_different_states_come_to_the_same(radius, leak, forgets):
    model = network(1, 100, spectral_radius=radius, leak=leak, input_scale=0.1)
    x = 0.1 * torch.randn(1, 600, 1, dtype=torch.float64).expand(2, -1, -1)
    one, other = model(x, (torch.randn(2, 100, dtype=torch.float64),)).levels[0][:, -1]
    assert ((one - other).norm() < 1e-6) == forgets


def test_nothing_is_trained_and_all_is_saved():
    model = EchoStateNetwork(3, 9, num_layers=2)
    assert not list(model.parameters())
    assert [*model.state_dict()] == [f"reservoirs.{l}.{w}" for l in (0, 1) for w in ("input", "recurrent")]
    assert model.penalty().shape == ()
    x = torch.randn(2, 5, 3, requires_grad=True)
    model(x).levels[1].sum().backward()
    assert x.grad.any()


def test_it_tells_its_leaks_and_its_products():
    model = network(5, 30, num_layers=2, leak=[1.0, 0.2])
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    assert model(x, trace=True).trace.update[1, 3].tolist() == [1.0, 0.2]
    assert fold(model, x, model.initial_state(2, x.device, x.dtype), True)[2].update[1, 3].tolist() == [1.0, 0.2]
    assert model.level_names == ("reservoir 1, leak 1", "reservoir 2, leak 0.2")
    assert model.measures()["period"].tolist() == [1.0, 5.0]
    assert [(p.level, p.macs, p.due) for p in model.products()] == [
        (0, 30 * 5 + 30 * 3, "active"),
        (1, 30 * 30 + 30 * 3, "active"),
    ]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": [3, 4], "num_layers": 1}, "hidden_size must be one number or 1"),
        ({"num_layers": 0}, "num_layers"),
        ({"spectral_radius": -0.1}, "spectral_radius"),
        ({"leak": 0.0}, "leak must be a number above 0 and at most 1"),
        ({"leak": [0.5, 1.5], "num_layers": 2}, r"leak\[1\]"),
        ({"leak": [0.5]} | {"num_layers": 2}, "leak must be one number or 2"),
        ({"density": 0}, "density"),
        ({"density": 1.1}, "density"),
        ({"input_scale": -1}, "input_scale"),
        ({"kernel": "hoist"}, "Did you mean 'hoisted'"),
        ({"input_size": 0}, "input_size"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, named):
    with pytest.raises(InvalidInput, match=named):
        EchoStateNetwork(**({"input_size": 2, "hidden_size": 7} | arguments))
