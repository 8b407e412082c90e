"""The laws of a backbone, over every file in conf/model/, with its own kernel and with the reference."""

import pytest

from multiscale.testing import LAWS, check_backbone
from tests.conftest import MODELS, backbone


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kernel", ["auto", "reference"])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_keeps_every_law(model, kernel, law):
    check_backbone(lambda input_size: backbone(model, input_size, kernel=kernel), [law])
