"""A new clock is one file and one YAML: the toy clock of docs/clocks.md works, and so does all else that it says."""

import math
import re
import sys

import pytest
import torch

import multiscale
from multiscale import LearnedClockRNN
from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.config.instantiate import make
from multiscale.training.build import build
from multiscale.training.loaders import Loaders
from tests.conftest import ROOT, trainer
from tests.helpers.clocks import assert_same, everything

PAGE = (ROOT / "docs/clocks.md").read_text()
CODE, YAML = (re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)[-1] for language in ("python", "yaml"))


@pytest.fixture
def config_dir(tmp_path, monkeypatch):
    """A folder with the toy clock's YAML, its file on the path, and nothing else."""
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/mine.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(tmp_path)
    yield str(tmp_path / "conf")
    sys.modules.pop("mine", None)


def model(*words: str, config_dir: str | None = None, **given) -> LearnedClockRNN:
    return make(jobs(words, config_dir)[0], "model", input_size=2, **given)


def test_it_runs_in_the_network_and_its_kernel_agrees_with_the_reference(config_dir):
    torch.manual_seed(0)
    fast = model("model=mine", config_dir=config_dir, kernel="hoisted").double()
    reference = model("model=mine", config_dir=config_dir, kernel="reference").double()
    reference.load_state_dict(fast.state_dict())
    assert isinstance(fast, LearnedClockRNN)
    assert fast.level_names == ("clock 1, period 2", "clock 2, period 4", "clock 3, period 8")
    x, h, t = torch.randn(2, 11, 2).double(), torch.randn(2, 9).double(), torch.tensor([3, 8])
    ours = everything(fast, x, (h, t))
    phase = 2 * math.pi * 3 / torch.tensor([2.0, 4.0, 8.0]).double()
    torch.testing.assert_close(ours["update"][0, 0], (1 + torch.cos(phase)) / 2)
    assert ours["gradient of clock.octaves"].any()
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
        model("model=mine", "+model.clock.duty=0.5", config_dir=config_dir)
    with pytest.raises(InvalidInput, match=r"model\.clock\.num_modules must be a whole number"):
        model("model=mine", "model.clock.num_modules=0", config_dir=config_dir)
    with pytest.raises(InvalidInput, match=r"harden\(\) needs .*; got a MyClock"):
        model("model=mine", config_dir=config_dir).harden()


@pytest.mark.parametrize(("kind", "words"), re.findall(r"^\| `(\w+)` \|.*\| `(model=.*)` \|$", PAGE, re.M))
def test_the_words_for_each_clock_make_it(kind, words):
    clock = model(*words.split()).clock
    assert type(clock) is getattr(multiscale, kind)
    assert ("duty" in words) == (not getattr(clock, "binary", True))


def test_every_clock_of_the_library_has_its_words():
    names = {name for name in multiscale.__all__ if name.endswith("Clock")}
    assert names == set(re.findall(r"^\| `(\w+)` \|", PAGE, re.M))


def test_the_library_example_runs():
    names: dict = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.S)[0], names)
    assert names["output"].trace.update.shape == (8, 100, 4)
