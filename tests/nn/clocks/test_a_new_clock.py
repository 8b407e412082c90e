"""A new clock is one file and one YAML: a toy clock in a package of its own, through the command line and the laws."""

import math
import sys

import pytest
import torch

from multiscale import LearnedClockRNN
from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.config.instantiate import make
from multiscale.training.build import build
from multiscale.training.loaders import Loaders
from tests.conftest import trainer
from tests.helpers.clocks import assert_same, everything

CODE = '''
import math
import torch
from torch import nn
from multiscale.nn.clocks.base import Clock


class MyClock(Clock):
    """a_m(t) = (1 + cos(2 pi t / P_m)) / 2, of learned logarithms of P."""

    def __init__(self, num_modules, longest):
        super().__init__(num_modules, horizon=longest)
        self.octaves = nn.Parameter(torch.linspace(1, math.log2(longest), num_modules))

    def activation(self, t):
        return (1 + torch.cos(2 * math.pi * t[..., None] / self.octaves.exp2())) / 2

    def weights_by_period(self):
        period = self.octaves.detach().exp2()[:, None]
        return period, torch.ones_like(period)
'''
YAML = """
_target_: multiscale.backbones.learned_clock.LearnedClockRNN
hidden_size: 9
connectivity: slow_to_fast
clock: {_target_: mine.MyClock, num_modules: 3, longest: 8}
"""


@pytest.fixture
def config_dir(tmp_path, monkeypatch):
    """A folder with the toy clock's two files."""
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/mine.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(tmp_path)
    yield str(tmp_path / "conf")
    sys.modules.pop("mine", None)


def test_it_runs_in_the_network_and_its_kernel_agrees_with_the_reference(config_dir):
    torch.manual_seed(0)
    config = jobs(["model=mine"], config_dir)[0]
    fast, reference = (
        make(config, "model", input_size=2, kernel=kernel).double() for kernel in ("hoisted", "reference")
    )
    reference.load_state_dict(fast.state_dict())
    assert isinstance(fast, LearnedClockRNN)
    assert fast.level_names == ("clock 1, period 2", "clock 2, period 4", "clock 3, period 8")
    x, h, t = torch.randn(2, 11, 2).double(), torch.randn(2, 9).double(), torch.tensor([3, 8])
    ours = everything(fast, x, (h, t))
    assert ours["gradient of clock.octaves"].any()
    torch.testing.assert_close(
        ours["update"][0, 0], (1 + torch.cos(2 * math.pi * 3 / torch.tensor([2.0, 4.0, 8.0]).double())) / 2
    )
    assert_same(ours, everything(reference, x, (h, t)))


def test_it_trains(config_dir, data, tmp_path):
    torch.manual_seed(0)
    module = build(jobs(["experiment=quick_look", "model=mine"], config_dir)[0], data.facts)
    before = module.backbone.clock.octaves.detach().clone()
    trainer(tmp_path, max_steps=2).fit(module, datamodule=Loaders(data))
    after = module.backbone.clock.octaves.detach()
    assert after.isfinite().all()
    assert (after != before).all()


def test_it_is_checked_like_our_own(config_dir):
    unknown = r"model\.clock\.duty is not an argument of mine\.MyClock; allowed are num_modules, longest"
    with pytest.raises(InvalidInput, match=unknown):
        make(jobs(["model=mine", "+model.clock.duty=0.5"], config_dir)[0], "model", input_size=2)
    with pytest.raises(InvalidInput, match=r"model\.clock\.num_modules must be a whole number"):
        make(jobs(["model=mine", "model.clock.num_modules=0"], config_dir)[0], "model", input_size=2)
    with pytest.raises(InvalidInput, match=r"harden\(\) needs .*; got a MyClock"):
        make(jobs(["model=mine"], config_dir)[0], "model", input_size=2).harden()
