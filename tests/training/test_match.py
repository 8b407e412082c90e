"""Backbones of one number of parameters: what is solved for is what is built."""

import copy
import json
import time
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from multiscale.backbones.base import Backbone, StepTrace
from multiscale.checks import InvalidInput
from multiscale.config.compose import CONF, jobs
from multiscale.data.facts import LabelFacts, TextFacts
from multiscale.training import cost, match
from multiscale.training.build import build
from multiscale.training.match import matched
from tests.conftest import MODELS

FACTS = TextFacts(source="toy", sha256="0", vocabulary=tuple(map(chr, range(40, 140))), characters=(100, 10, 10))
HEADS = sorted(path.stem for path in (CONF / "head").glob("*.yaml"))


@lru_cache
def composed(*words: str):
    return jobs(["match=parameters", *words])[0]


def job(*words: str, **match):
    config = copy.deepcopy(composed(*words))
    config.match.update(match)
    return config


def parameters(config, facts=FACTS) -> int:
    large = config.model._target_.endswith("EchoStateNetwork")  # whose reservoirs may take a minute to be drawn
    with torch.device("meta" if large else "cpu"):
        return cost.parameters(build(config, facts))


@pytest.mark.parametrize("target", [100_000, 500_000])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_with_every_head_comes_within_a_hundredth(model, head, target):
    solved = matched(job(f"model={model}", f"head={head}", target=target), FACTS)
    assert parameters(solved) == pytest.approx(target, rel=0.01)


def test_the_solver_is_quick_from_any_start():
    for size in (8, 5000):
        config = job("model=learned_clock", "head=gated")
        config.model.hidden_size = size
        start = time.monotonic()
        matched(config, FACTS)
        assert time.monotonic() - start < 2  # about 0.2 s on a quiet core


def test_what_is_solved_does_not_depend_on_the_size_that_the_config_had():
    found = set()
    for size in (8, 640, 3000):
        config = job("model=clockwork", "head=gated")
        config.model.hidden_size = size
        found.add(matched(config, FACTS).model.hidden_size)
    assert len(found) == 1


def test_a_config_that_differs_in_its_seed_alone_is_solved_once(monkeypatch):
    words = ["model=clockwork", "head=gated"]
    first = matched(job(*words, target=70_000), FACTS)
    monkeypatch.setattr(match, "build", None)
    again = job(*words, target=70_000)
    again.seed = 5
    assert matched(again, FACTS).model == first.model
    assert matched(again, FACTS).seed == 5
    for other, facts in [
        (job(*words, target=70_001), FACTS),
        (job(*words, "data=clocked_symbols", "task.embedding_size=8", target=70_000), FACTS),
        (again, replace(FACTS, vocabulary=FACTS.vocabulary[:50])),
    ]:
        with pytest.raises(TypeError, match="not callable"):
            matched(other, facts)


def test_the_nearest_size_is_taken():
    solved = matched(job("model=clockwork", "head=gated", target=300_000), FACTS)
    size = solved.model.hidden_size
    around = []
    for other in (size - 1, size, size + 1):
        solved.model.hidden_size = other
        around.append(abs(parameters(solved) - 300_000))
    assert min(around) == around[1]


def test_levels_of_unequal_size_reach_what_equal_ones_cannot():
    solved = matched(job("model=stacked_lstm", "head=concat", target=100_000, tolerance=0.001), FACTS)
    sizes = list(solved.model.hidden_size)
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) == 1
    assert parameters(solved) == pytest.approx(100_000, rel=0.001)


def test_both_directions_and_the_encoder_are_counted():
    facts = LabelFacts(source="toy", sha256="0", sequences=(2, 1, 1), input_size=5, output_size=3)
    words = ["task=sequence_classification", "task.bidirectional=true", "model=clockwork"]
    assert parameters(matched(job(*words, target=50_000), facts), facts) == pytest.approx(50_000, rel=0.01)
    small, large = (matched(job("model=clockwork", f"task.embedding_size={n}"), FACTS).model for n in (8, 512))
    assert small.hidden_size > large.hidden_size


def test_the_solved_config_builds_the_same_weights_without_the_solver():
    torch.manual_seed(3)
    solved = matched(job("model=learned_clock", "head=gated", target=60_000), FACTS)
    ours = build(solved, FACTS).state_dict()
    assert solved.match is None
    assert matched(solved, FACTS) is solved
    torch.manual_seed(3)
    theirs = build(jobs(["model=learned_clock", f"model.hidden_size={solved.model.hidden_size}"])[0], FACTS)
    assert all(map(torch.equal, ours.values(), theirs.state_dict().values()))


def test_the_config_that_was_given_stays_as_it_was():
    config = job("model=clockwork", "head=gated")
    before = OmegaConf.to_container(config, resolve=False)
    matched(config, FACTS)
    assert OmegaConf.to_container(config, resolve=False) == before


class Picky(Backbone):
    """Takes multiples of 7 alone, or powers of two, and reads values of its weights when built."""

    def __init__(self, input_size: int, hidden_size: int, powers: bool = False, limit: int = 10**6) -> None:
        if (hidden_size & (hidden_size - 1) if powers else hidden_size % 7) or not 1 <= hidden_size <= limit:
            raise InvalidInput(f"hidden_size must be another; got {hidden_size}.")
        super().__init__(input_size, (hidden_size,))
        self.mix = nn.Linear(input_size + hidden_size, hidden_size)
        self.mix.bias.data.fill_(self.mix.weight.sum().item())

    def initial_state(self, batch_size, device, dtype):
        return torch.zeros(batch_size, *self.level_sizes, device=device, dtype=dtype)

    def step(self, x_t, state):
        h = torch.tanh(self.mix(torch.cat([x_t, state], 1)))
        return (h,), h, StepTrace(torch.ones_like(h[:, :1]))


def picky(start: int, target: int, **options):
    config = job("head=concat", target=target)
    config.model = {"_target_": "tests.training.test_match.Picky", "hidden_size": start, **options}
    return config


@pytest.mark.parametrize("start", [7, 14, 70, 700])
def test_only_sizes_that_the_model_takes_are_tried(start):
    size = 140
    target = (64 + size + 1) * size + 6400 + (size + 1) * 100
    assert matched(picky(start, target), FACTS).model.hidden_size == size
    assert matched(picky(start, target + 300), FACTS).model.hidden_size == size


def test_the_random_state_stays_as_it_was_even_where_weights_are_drawn():
    before = torch.get_rng_state()
    matched(picky(70, 30_000, limit=200), FACTS)
    assert torch.equal(torch.get_rng_state(), before)


def test_sizes_may_lie_far_apart():
    target = (64 + 128 + 1) * 128 + 6400 + 129 * 100
    assert matched(picky(2, target, powers=True), FACTS).model.hidden_size == 128
    with pytest.raises(InvalidInput, match=r"nearest are 44,004 \(\S+=128\) and 114,276 \(\S+=256\); got 80,000"):
        matched(picky(2, 80_000, powers=True), FACTS)


def test_the_largest_size_that_a_model_takes_is_the_end():
    with pytest.raises(InvalidInput, match=r"nearest is .*model.hidden_size=70\); got 500,000"):
        matched(picky(7, 500_000, limit=70), FACTS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["match.target=0"], "match.target must be a whole number of at least 1; got 0"),
        (["match.target=many"], "match.target must be a whole number; got 'many'"),
        (["match.tolerance=2"], "match.tolerance must be a number at least 0 and at most 1; got 2"),
        (["+match.goal=3"], "match.goal is not an argument .*allowed are target, tolerance"),
        (["model.hidden_size=[8,8,8]"], r"model.hidden_size must be one number, .*; got \[8, 8, 8\]"),
        (["model.hidden_size=0"], "model.hidden_size must be a whole number of at least 1; got 0"),
        (["model=clockwork", "model.hidden_size=3"], "model.hidden_size must be at least the number of modules, 8"),
        (["head.embedding_size=0"], "head.embedding_size must be"),
        (["match.target=10"], r"match.target must be within 1% .*nearest is 19,\d+ \(model.hidden_size=1\); got 10\."),
        (["match.tolerance=1e-6"], r"nearest are 49\d,\d+ \(model.hidden_size=\S+\) and 50.*; got 500,000\."),
    ],
)
def test_a_target_that_cannot_be_met_is_an_error(words, message):
    with pytest.raises(InvalidInput, match=message) as error:
        matched(job(*words), FACTS)
    assert "\n" not in str(error.value)


def test_a_model_without_a_hidden_size_cannot_be_matched():
    config = job()
    config.model = {"_target_": "tests.training.test_match.Picky"}
    with pytest.raises(InvalidInput, match=r"match needs a model with a hidden_size; .*test_match\.Picky has none"):
        matched(config, FACTS)


@pytest.mark.parametrize("words", ["clockwork", "clockwork model.cell=gru", "learned_clock", "learned_clock_dct"])
@pytest.mark.parametrize("connectivity", ["full", "slow_to_fast", "none"])
def test_weights_that_a_mask_holds_at_zero_are_not_counted(words, connectivity):
    model, *words = words.split()
    if model != "clockwork":
        words = [*words, f"model.connectivity={connectivity}"]
    module = build(jobs([f"model={model}", "model.hidden_size=40", *words])[0], FACTS)
    backbone = module.backbone
    before = backbone.recurrent.detach().clone()
    x = torch.randn(2, 5, backbone.input_size)
    used = torch.zeros_like(before)
    for _ in range(3):
        nn.init.normal_(backbone.recurrent)
        (gradient,) = torch.autograd.grad(sum(l.sum() for l in backbone(x.repeat(1, 40, 1)).levels), backbone.recurrent)
        used += gradient.abs()
    assert backbone.idle_weights() == (used == 0).sum()
    assert cost.parameters(module) == sum(p.numel() for p in module.parameters()) - backbone.idle_weights()


def products(config, rates, facts=FACTS) -> float:
    found = cost.macs(build(config, facts), rates)
    return found["done"] + found["head"]


@pytest.mark.parametrize("model", MODELS)
def test_models_of_one_number_of_products_do_as_many_at_their_rates(model):
    config = jobs(["match=products", f"model={model}", "match.target=150000", "match.tolerance=0.02"])[0]
    levels = len(build(jobs([f"model={model}"])[0], FACTS).level_sizes)
    for share in (1.0, 0.3):
        rates = [{"active": share, "boundary": share, "flush": share}] * levels
        config.match.rates = rates
        assert products(matched(config, FACTS), rates) == pytest.approx(150_000, rel=0.02)


def test_a_model_that_skips_may_be_larger():
    found = []
    for rates in (None, [{"active": 0.2, "boundary": 0.2, "flush": 0.2}] * 3):
        config = jobs(["match=products", "model=hmlstm", "match.target=150000"])[0]
        config.match.rates = rates
        found.append(matched(config, FACTS).model.hidden_size)
    assert min(np.atleast_1d(found[1])) > 1.2 * max(np.atleast_1d(found[0]))


def test_the_rates_of_a_run_are_read_from_its_summary(tmp_path):
    path = tmp_path / "summary.json"
    levels = [{"name": f"layer {i}", "units": 9, "active": 0.5, "boundary": 0.1, "flush": 0.1} for i in range(3)]
    path.write_text(json.dumps({"levels": levels}))
    sizes = []
    for rates in (str(path), [{"active": 0.5, "boundary": 0.1, "flush": 0.1}] * 3):
        config = jobs(["match=products", "model=hmlstm"])[0]
        config.match.rates = rates
        sizes.append(matched(config, FACTS).model.hidden_size)
    assert sizes[0] == sizes[1]
    for content, message in (("[]", "must be the summary.json of a run"), ("no json", "must be the summary.json")):
        path.write_text(content)
        config.match.rates = str(path)
        with pytest.raises(InvalidInput, match=message):
            matched(config, FACTS)
    config.match.rates = [{"active": 0.5}]
    with pytest.raises(
        InvalidInput, match=r"match.rates must fit the 3 levels of the model: rates must be of 3 levels"
    ):
        matched(config, FACTS)
