"""In a loop of one's own: what torch does with a module besides training it works, or is refused in a line."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

from multiscale import HMLSTM, EchoStateNetwork, GatedLinearRNN, HistoryCompressor, SkipRNN, StackedRNN
from multiscale.backbones.base import Backbone, State
from multiscale.checks import InvalidInput
from multiscale.testing import _leaves as leaves
from tests import conftest
from tests.conftest import MODELS

B, T, D = 2, 4, 5


def backbone(model: str) -> Backbone:
    return conftest.backbone(model, D).float()


class Step(nn.Module):
    """What a graph can be made of: tensors in, tensors out."""

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_t: torch.Tensor, state: State):
        return self.network.step(x_t, state)[:2]


class Levels(nn.Module):
    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor):
        return self.network(x).levels


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(B, T, D)


@pytest.mark.parametrize("model", MODELS)
def test_a_network_that_has_run_is_copied_pickled_widened_run_in_half_and_on_several_devices(model, x):
    network = backbone(model).eval()
    whole = network(x)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), nn.DataParallel(network)):
        again = copied(x, whole.state)
        assert [level.shape for level in again.levels] == [level.shape for level in whole.levels]
        assert torch.equal(copied(x).levels[0], whole.levels[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for kind in (torch.float32, torch.bfloat16):
            assert network(x.to(kind)).levels[0].isfinite().all()
    wide = network.to(torch.float64)(x.double()).levels
    torch.testing.assert_close(wide[0], whole.levels[0].double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.int64])
def test_an_input_of_another_type_than_the_weights_is_refused(model, kind, x):
    with pytest.raises(InvalidInput, match=f"weights' type, torch.float32; got {kind}"):
        backbone(model)(x.to(kind))


@pytest.mark.parametrize("model", MODELS)
def test_an_empty_batch_and_one_without_values_are_refused(model, x):
    network = backbone(model)
    with pytest.raises(InvalidInput, match=r"B >= 1.*got \[0, 4, 5\]"):
        network(x[:0])
    with pytest.raises(InvalidInput, match="meta"):
        network.to("meta")(x.to("meta"))


@pytest.mark.parametrize("model", MODELS)
def test_a_state_of_another_batch_or_network_is_refused(model, x):
    network = backbone(model)
    state = network(x).state
    parts = state if isinstance(state, tuple) else (state,)
    for wrong in (network(x[:1]).state, (*parts, parts[0]), parts[:-1], list(parts), leaves(state)[0]):
        with pytest.raises(InvalidInput, match="state must be"):
            network(x, wrong)
    assert network(x, state).levels[0].shape[0] == B


@pytest.mark.parametrize("model", MODELS)
def test_a_step_can_be_exported(model, x):
    network = backbone(model).eval()
    state = network.initial_state(B, x.device, x.dtype)
    graph = torch.export.export(Step(network), (x[:, 0], state)).module()
    torch.testing.assert_close(graph(x[:, 0], state), Step(network)(x[:, 0], state))


def test_what_torch_records_runs_by_the_reference(x):
    network, x = HMLSTM(D, 6), x[:, :2]
    levels = network(x).levels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says, of sizes, that they are now fixed
        traced = torch.jit.trace(Levels(network), x, check_trace=False)
    exported = torch.export.export(Levels(network), (x,)).module()
    for graph in (traced, exported):
        torch.testing.assert_close(graph(x), levels)
        assert network.kernel == "reference"
    with pytest.raises(InvalidInput, match="reset must be None here, for what is traced or exported"):
        torch.jit.trace(lambda x: network(x, reset=x[..., 0] > 0).levels, x, check_trace=False)
    network.use("fused")
    with pytest.raises(InvalidInput, match="traced or exported"):
        torch.jit.trace(Levels(network), x, check_trace=False)


def test_functional_gradients_are_those_of_the_backward_pass(x):
    network = HMLSTM(D, 6)
    weights = dict(network.named_parameters())

    def loss(weights):
        return torch.func.functional_call(network, weights, (x,)).levels[-1].square().sum()

    found = torch.func.grad(loss)(weights)
    loss(weights).backward()
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight.grad)


@pytest.mark.parametrize("kernel", ["auto", pytest.param("reference", marks=pytest.mark.slow)])
def test_a_compiled_network_gives_the_same_numbers(kernel, x):
    network = HMLSTM(D, 6, kernel=kernel)
    compiled = torch.compile(network, backend="aot_eager")
    gradients = []
    for run in (network, compiled):
        first = run(x)
        second = run(x, first.state)
        network.zero_grad()
        (second.levels[-1].sum() + first.levels[0].sum()).backward()
        gradients.append([p.grad.clone() for p in network.parameters()] + [*second.levels])
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("kind", [HMLSTM, StackedRNN, GatedLinearRNN, EchoStateNetwork, SkipRNN, HistoryCompressor])
def test_a_list_of_sizes_says_how_many_layers_there_are(kind):
    count = "num_levels" if kind is HistoryCompressor else "num_layers"
    assert kind(D, [3, 4]).level_sizes == kind(D, [3, 4], **{count: 2}).level_sizes
    assert kind(D, 3).level_sizes == kind(D, [3] * len(kind(D, 3).level_sizes)).level_sizes
    for wrong, message in (([3, 4], "hidden_size must be one number or 5 of them"), ([], "hidden_size")):
        with pytest.raises(InvalidInput, match=message):
            kind(D, wrong, **({count: 5} if wrong else {}))


def test_printing_a_network_tells_its_sizes_and_what_is_not_default():
    text = repr(HMLSTM(D, [6, 7], copy_boundary="hold", layer_norm=True))
    assert "input_size=5, level_sizes=(6, 7), kernel=" in text
    assert "copy_boundary='hold', layer_norm=True" in text
    assert "(0): HMLSTMLayer(\n" in text
    assert "below=5, size=6, above=7" in text
    assert "boundary=" not in repr(HMLSTM(D, 6))


@pytest.mark.parametrize("kernel", ["fused", "reference"])
def test_a_second_derivative_is_the_references_alone(kernel):
    network, x = HMLSTM(D, 6, kernel=kernel), torch.randn(B, 2, D, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).levels[-1].square().sum(), x, create_graph=True)
    if kernel == "fused":
        with pytest.raises(RuntimeError, match="once_differentiable"):
            gradient.square().sum().backward()
    else:
        gradient.square().sum().backward()
        assert x.grad.any()
