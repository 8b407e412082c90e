"""What a network computes and carries: by hand, by torch's own counter, and by what the trace tells."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from multiscale.backbones.base import Backbone, StepTrace
from multiscale.backbones.clockwork import ClockworkRNN
from multiscale.backbones.hard_clock import HardClockRNN
from multiscale.backbones.hmlstm import HMLSTM
from multiscale.backbones.learned_clock import LearnedClockRNN
from multiscale.backbones.stacked import StackedRNN
from multiscale.config.compose import jobs
from multiscale.data.facts import LabelFacts
from multiscale.nn.clocks.pulse import PulseClock
from multiscale.nn.schedules import Constant
from multiscale.training.build import build
from multiscale.training.cost import backbone_macs, backbone_state_size, macs, state_size
from multiscale.training.measure import Measure
from multiscale.training.tally import Tally
from tests.conftest import MODELS, backbone, network

D = 5


def at(rate: float, levels: int, *more: str) -> list[dict[str, float]]:
    return [dict.fromkeys(("active", "boundary", "flush", *more), rate) for _ in range(levels)]


def measured(model: Backbone, x: torch.Tensor) -> list[dict[str, float]]:
    """The rates of every level, counted as a run counts them."""
    tally = Tally(model.level_sizes)
    with torch.no_grad():
        trace = model(x, trace=True).trace
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    tally.update({"loss": Measure(torch.zeros(()), mask.sum())}, trace, mask)
    rates = tally.compute()[1]
    rates.pop("operations")
    return [{name: rate.reshape(-1)[l].item() for name, rate in rates.items()} for l in range(len(model.level_sizes))]


def flops_of_a_step(model: Backbone) -> int:
    x = torch.zeros(1, D, dtype=torch.float64)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.step(x, model.initial_state(1, x.device, x.dtype))
    return counter.get_total_flops()


@pytest.mark.parametrize("name", MODELS)
def test_dense_is_half_the_flops_of_the_reference_less_what_its_mask_makes_zero(name):
    model = backbone(name)
    zeros = model.idle_weights()  # with which the reference multiplies
    if name == "echo_state":  # whose zeros are in no parameter
        zeros = sum(int((weight == 0).sum()) for _, weight in model.weights())
    dense = backbone_macs(model, at(0.0, len(model.level_sizes)))["dense"]
    assert dense == flops_of_a_step(model) / 2 - zeros
    assert dense > 0


@pytest.mark.parametrize("name", MODELS)
def test_what_is_done_at_full_rates_is_dense(name):
    model = backbone(name)
    found = backbone_macs(model, at(1.0, len(model.level_sizes)))
    assert found["done"] == found["dense"]


def test_a_stacked_lstm_is_that_of_torch():
    model = StackedRNN(D, [7, 3], num_layers=2)
    assert backbone_macs(model, at(1.0, 2))["dense"] == 4 * 7 * (5 + 7) + 4 * 3 * (7 + 3)
    matrices = [p for layer in model.layers for p in layer.parameters() if p.dim() == 2]
    assert backbone_macs(model, measured(model, torch.randn(2, 4, D)))["done"] == sum(p.numel() for p in matrices)
    assert backbone_state_size(model) == 2 * (7 + 3)


@pytest.mark.parametrize(("cell", "gates", "parts"), [("tanh", 1, 1), ("lstm", 4, 2), ("gru", 3, 1)])
def test_a_clockwork_module_computes_its_rows_at_its_ticks_on_itself_and_slower_ones(cell, gates, parts):
    model = ClockworkRNN(D, [3, 2, 4], periods=[1, 2, 8], cell=cell)
    rows = [3 * (5 + 9), 2 * (5 + 6), 4 * (5 + 4)]
    found = backbone_macs(model, measured(model, torch.randn(2, 16, D)))
    assert found["dense"] == gates * sum(rows)
    assert found["done"] == gates * (rows[0] + rows[1] / 2 + rows[2] / 8)
    assert backbone_state_size(model) == parts * 9  # and not the step counter


def test_an_hmlstm_computes_each_product_where_a_boundary_lets_it_through():
    model = HMLSTM(D, [3, 2, 4])
    recurrent, boundary_rows = [12 * 3, 8 * 2, 16 * 4], [3, 2]
    bottom_up, top_down = [13 * 5, 9 * 3, 16 * 2], [13 * 2, 9 * 4]
    rates = [
        {"active": 1.0, "boundary": 0.5, "flush": 0.25},
        {"active": 0.625, "boundary": 0.125, "flush": 0.375},
        {"active": 0.125, "boundary": 0.0, "flush": 0.0},
    ]
    found = backbone_macs(model, rates)
    assert found["dense"] == sum(sum(part) for part in (recurrent, boundary_rows, bottom_up, top_down))
    assert found["done"] == (
        recurrent[0] + 0.625 * recurrent[1] + 0.125 * recurrent[2]
        + sum(boundary_rows)
        + bottom_up[0] + 0.5 * bottom_up[1] + 0.125 * bottom_up[2]
        + 0.25 * top_down[0] + 0.375 * top_down[1]
    )  # fmt: skip
    assert backbone_state_size(model) == 2 * 9 + 2


def test_an_hmlstm_that_never_fires_computes_its_first_layer_and_the_boundaries_alone():
    model = HMLSTM(D, 3)
    for layer in model.layers[:-1]:
        layer.bias.data[-1] = -100.0
    done = backbone_macs(model, measured(model, torch.randn(2, 9, D)))["done"]
    assert done == 12 * 3 + 13 * 5 + 3 + 3
    held = HMLSTM(D, 3, copy_boundary="hold")
    held.load_state_dict(model.state_dict())
    assert backbone_macs(held, measured(held, torch.randn(2, 9, D)))["done"] == 12 * 3 + 13 * 5 + 3


@pytest.mark.parametrize("changes", [{"boundary": "soft"}, {"copy": False}])
def test_layers_that_never_copy_save_no_recurrent_product(changes):
    model = HMLSTM(D, 3, **changes)
    found = backbone_macs(model, measured(model, torch.randn(2, 9, D)))
    gated = sum(p.macs for p in model.products() if p.due in ("boundary", "flush"))
    assert found["dense"] - gated <= found["done"] <= found["dense"]
    assert (gated == 0) == (changes == {"boundary": "soft"})


def test_an_hmlstm_without_top_down_has_no_top_down_product():
    assert backbone_macs(HMLSTM(D, 3, top_down=False), at(1.0, 3))["dense"] == sum(
        [12 * 3, 3, 13 * 5, 12 * 3, 3, 13 * 3, 12 * 3, 12 * 3]
    )


def test_a_soft_clock_saves_nothing_and_a_hard_one_what_its_period_tells():
    model = LearnedClockRNN(D, 6, PulseClock(3, 8, temperature=Constant(1.0), hard_from=1.0))
    x = torch.randn(2, 16, D)
    rows, sums = 2 * (5 + 6), 3 * 8
    found = backbone_macs(model, measured(model, x))
    assert found == {"dense": 3 * rows + sums, "done": 3 * rows + sums}
    model.anneal(1.0)  # periods 1, 2, 4
    assert backbone_macs(model, measured(model, x))["done"] == rows * (1 + 1 / 2 + 1 / 4) + sums
    hardened = model.harden()
    assert isinstance(hardened, HardClockRNN)
    assert backbone_macs(hardened, measured(hardened, x))["done"] == rows * (1 + 1 / 2 + 1 / 4)
    assert backbone_state_size(model) == backbone_state_size(hardened) == 6


class Leaky(Backbone):
    """A backbone that says nothing of its products."""

    def __init__(self, levels: int) -> None:
        super().__init__(D, (4,) * levels)
        self.mix = nn.Linear(D + 4, 4)

    def initial_state(self, batch_size, device, dtype):
        return torch.zeros(batch_size, 4, device=device, dtype=dtype)

    def step(self, x_t, state):
        h = 0.5 * state + 0.5 * torch.tanh(self.mix(torch.cat([x_t, state], 1)))
        levels = len(self.level_sizes)
        return (h,) * levels, h, StepTrace(torch.full((len(x_t), levels), 0.5))


@pytest.mark.parametrize("levels", [1, 2])
def test_a_backbone_that_says_nothing_is_counted_by_what_its_step_does(levels):
    model = Leaky(levels)
    # Half an update is computed like a whole one.
    assert backbone_macs(model, measured(model, torch.randn(2, 4, D))) == {"dense": 4 * 9, "done": 4 * 9}
    assert backbone_macs(model, at(0.25, levels))["done"] == (9 if levels == 1 else 36)


@pytest.mark.parametrize("head", ["concat", "top", "gated"])
def test_the_head_is_counted_apart_and_at_every_step(data, head):
    words = ["model=stacked_lstm", f"head={head}", "model.hidden_size=9", "task.embedding_size=5"]
    module = network(data, *words, *(["head.embedding_size=8"] if head == "gated" else []))
    symbols = data.facts.num_symbols
    outputs = {"concat": symbols * 27, "top": symbols * 9, "gated": 3 * 27 + 8 * 27 + symbols * 8}
    found = macs(module, at(1.0, 3), steps=10)
    assert found["head"] == 10 * outputs[head]
    assert found["dense"] == found["done"] == 10 * (4 * 9 * (5 + 9) + 2 * 4 * 9 * 18)
    assert state_size(module) == 2 * 27


def test_a_sequence_read_once_and_in_both_directions_has_two_backbones_and_one_head():
    facts = LabelFacts(source="toy", sha256="0", sequences=(2, 1, 1), input_size=5, output_size=3)
    words = ["task=sequence_classification", "head=concat", "model=stacked_lstm", "model.hidden_size=4"]
    module = build(jobs([*words, "model.num_layers=1", "task.bidirectional=true"])[0], facts)
    found = macs(module, at(1.0, 2), steps=7)
    assert found == {"dense": 7 * 2 * 4 * 4 * 9, "done": 7 * 2 * 4 * 4 * 9, "head": 3 * 8}
    assert state_size(module) == 2 * 2 * 4


def test_rates_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="rates must be of 3 levels; got 2"):
        backbone_macs(HMLSTM(D, 3), at(1.0, 2))
    with pytest.raises(ValueError, match=r"rates\[0\] must have 'boundary'"):
        backbone_macs(HMLSTM(D, 3), [{"active": 1.0, "flush": 0.0}] * 3)
