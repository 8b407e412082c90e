"""The laws of a backbone, over every file in conf/model/, with its own kernel and with the reference."""

import pytest

from multiscale.backbones.hard_clock import HardClockRNN
from multiscale.testing import LAWS, check_backbone, laws
from tests.conftest import MODELS, backbone


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kernel", ["auto", "reference"])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_keeps_every_law(model, kernel, law):
    check_backbone(lambda input_size: backbone(model, input_size, kernel=kernel), [law])


# What a learned clock hardens into has no YAML.
test_a_cascading_hard_clock_keeps_every_law = laws(lambda d: HardClockRNN(d, [3, 1, 4], [5, 2, 5], [4, 0, 1], "none"))
test_a_skipping_hard_clock_keeps_every_law = laws(lambda d: HardClockRNN(d, [3, 1, 4], [5, 2, 5], [4, 0, 1], "full"))
