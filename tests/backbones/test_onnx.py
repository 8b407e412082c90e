"""A step as ONNX gives what it gives here, on the state that it gave before."""

import numpy as np
import pytest
import torch
from torch import nn

from multiscale import detach
from tests.conftest import MODELS, backbone

pytestmark = pytest.mark.slow


class Step(nn.Module):
    """What docs/library.md exports."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, state):
        levels, state, _ = self.network.step(x, state)
        return levels, state


def leaves(values) -> list[np.ndarray]:
    if isinstance(values, torch.Tensor):
        return [values.detach().numpy()]
    return [leaf for value in values for leaf in leaves(value)]


@pytest.mark.parametrize("model", MODELS)
def test_a_step_as_onnx_goes_on_as_the_network_does(model):
    pytest.importorskip("onnxscript", reason="torch.onnx.export needs onnxscript")
    from onnx.reference import ReferenceEvaluator

    network = backbone(model).float().eval()
    inputs = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    state = detach(network.initial_state(2, torch.device("cpu"), torch.float32))
    made = torch.onnx.export(Step(network), (inputs[0], state), dynamo=True, verbose=False)
    there = ReferenceEvaluator(made.model_proto)
    carried = leaves(state)
    for x in inputs:
        levels, state = Step(network)(x, state)
        told = there.run(None, dict(zip(there.input_names, [x.numpy(), *carried], strict=True)))
        for got, wanted in zip(told, leaves((levels, state)), strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-5)
        carried = told[len(levels) :]
