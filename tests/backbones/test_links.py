"""Learned links between modules: what a gate does, what it costs, and that training opens and closes them."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from multiscale import ClockworkRNN, LearnedClockRNN, PulseClock
from multiscale.backbones.base import Backbone
from multiscale.checks import InvalidInput
from multiscale.nn.links import LinkGates
from multiscale.testing import laws
from tests.backbones.test_clockwork import CELLS, assert_same, outputs_and_gradients, random_state, randomized, twin
from tests.helpers.clocks import make_one_hot

test_a_clockwork_of_learned_links_keeps_every_law = laws(
    "clockwork", "model.hidden_size=13", "model.links=learned", "model.link_cost=0.3", "model.input_to=fastest"
)
test_a_learned_clock_of_learned_links_keeps_every_law = laws(
    "learned_clock", "model.hidden_size=13", "model.connectivity=learned", "model.link_cost=0.3"
)


def clockwork(links: str = "learned", **options) -> ClockworkRNN:
    torch.manual_seed(0)
    return ClockworkRNN(3, 7, [1, 2, 3], links=links, **options)


def learned_clock(connectivity: str = "learned", **options) -> LearnedClockRNN:
    torch.manual_seed(0)
    return LearnedClockRNN(3, 7, PulseClock(3, 8), connectivity, **options)


def whole(model: Backbone, x: Tensor) -> Tensor:
    return torch.cat(model(x).levels, -1)


def set_gates(model: Backbone, strengths: list[list[float]]) -> None:
    model.link_gates.scores.data = torch.logit(torch.tensor(strengths, dtype=model.bias.dtype), 1e-9)


# What a gate is.


@pytest.mark.parametrize("make", [clockwork, learned_clock, lambda links: clockwork(links, cell="gru")])
def test_a_network_starts_to_the_bit_as_if_its_links_had_no_gates(make):
    x = torch.randn(2, 9, 3)
    assert torch.equal(whole(make("learned"), x), whole(make("full"), x))
    assert make("learned").link_gates.strengths()[0].tolist() == [1, 0.5, 0.5]


@pytest.mark.parametrize("cell", CELLS)
def test_the_gate_of_a_pair_scales_the_block_with_which_the_row_reads_the_column(cell):
    model, plain = clockwork(cell=cell).double(), clockwork("full", cell=cell).double()
    strengths = [[0.9, 0.2, 0.3], [0.4, 0.9, 0.6], [0.7, 0.8, 0.9]]  # own ones are not gated, whatever their score
    set_gates(model, strengths)
    gated = model.recurrent.data.clone().unflatten(0, (-1, 7))
    units = [range(3), range(3, 5), range(5, 7)]
    for i, j in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)):
        gated[:, units[i][0] : units[i][-1] + 1, units[j][0] : units[j][-1] + 1] *= strengths[i][j]
    plain.recurrent.data = gated.flatten(0, 1)
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    torch.testing.assert_close(whole(model, x), whole(plain, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "cell"), [("skipping", "tanh"), *(("hoisted", cell) for cell in CELLS)])
def test_every_kernel_is_the_gated_loop_in_float64(kernel, cell):
    arguments = {"input_size": 3, "hidden_size": 11, "periods": [2, 3, 7], "cell": cell, "links": "learned"}
    reference = randomized(ClockworkRNN(kernel="reference", **arguments))
    fast, x = twin(reference, kernel, **arguments), torch.randn(4, 10, 3, dtype=torch.float64)
    state = random_state(reference, 4, torch.tensor([0, 3, 5, 3]))
    ours, truth = outputs_and_gradients(fast, x, state), outputs_and_gradients(reference, x, state)
    assert truth["gradient of link_gates.scores"].any()
    assert_same(ours, truth, 1e-10)


def test_gates_stay_in_their_own_precision_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert clockwork().connected().dtype == learned_clock().connected().dtype == torch.float32


def test_every_link_is_computed_and_no_score_of_a_module_with_itself_is_in_use():
    for learned, full in ((clockwork(), clockwork("full")), (learned_clock(), learned_clock("full"))):
        assert learned.products() == full.products()
        assert learned.idle_weights() == full.idle_weights() + 3


def test_scores_have_no_weight_decay_and_are_each_parameter_once():
    for model in (clockwork(), learned_clock(clock_lr=0.5)):
        groups = model.parameter_groups()
        assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
        assert groups[-1] == {"params": [model.link_gates.scores], "weight_decay": 0.0}
    assert len(clockwork("full").parameter_groups()) == 1


def test_the_network_tells_who_reads_whom():
    for model in (clockwork(), learned_clock()):
        set_gates(model, [[1.0, 0.2, 0.4], [0.0, 1.0, 0.5], [0.75, 0.25, 1.0]])
        expected = torch.tensor([[1.0, 0.2, 0.4], [0.0, 1.0, 0.5], [0.75, 0.25, 1.0]])
        torch.testing.assert_close(model.matrices()["links"], expected)
        torch.testing.assert_close(model.measures()["reads"], torch.tensor([0.3, 0.25, 0.5]))
    assert clockwork("full").matrices() == learned_clock("full").matrices() == {}


# What it costs.


def test_a_link_costs_in_proportion_to_the_products_it_takes_a_step():
    gates = LinkGates([3, 2], cost=0.7, periods=[1, 4])  # 3 * 2 / 1 and 2 * 3 / 4
    gates.scores.data = torch.logit(torch.tensor([[0.1, 0.5], [0.25, 0.1]]))
    assert gates.penalty().item() == pytest.approx(0.7 * (0.5 * 6 + 0.25 * 1.5) / 7.5)
    assert LinkGates([3, 2], cost=0.7).penalty().item() == pytest.approx(0.35)
    assert clockwork(link_cost=0.2)(torch.randn(1, 2, 3)).penalty.item() == pytest.approx(0.1)
    clock = learned_clock(link_cost=0.2)
    assert (clock.penalty() - clock.clock.penalty()).item() == pytest.approx(0.1)


# What is learned.


def test_with_the_weights_given_gates_are_found_by_gradient():
    torch.manual_seed(1)
    teacher, learner = (clockwork().double() for _ in range(2))
    true = torch.tensor([[1.0, 0.9, 0.1], [0.05, 1.0, 0.8], [0.95, 0.3, 1.0]], dtype=torch.float64)
    set_gates(teacher, true.tolist())
    optimizer = torch.optim.Adam([learner.link_gates.scores], lr=0.2)
    for _ in range(60):
        x = torch.randn(16, 12, 3, dtype=torch.float64)
        optimizer.zero_grad()
        F.mse_loss(whole(learner, x), whole(teacher, x).detach()).backward()
        optimizer.step()
    torch.testing.assert_close(learner.link_gates.strengths(), true, rtol=0, atol=0.03)


def test_under_a_cost_the_link_that_a_task_needs_stays_and_the_other_closes():
    torch.manual_seed(0)
    model = ClockworkRNN(1, [8, 8], [1, 4], links="learned", link_cost=0.05, input_to="fastest")
    head = torch.nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*model.parameter_groups(), {"params": head.parameters()}], lr=0.03)
    for _ in range(120):
        x = torch.randn(16, 16, 1)
        output = model(x)
        # The slow module, which has no input, is to tell at its ticks what the fast one read a step before.
        loss = F.mse_loss(head(output.levels[1][:, 4::4]), x[:, 3:-1:4]) + output.penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    (_, fast_of_slow), (slow_of_fast, _) = model.matrices()["links"].tolist()
    assert loss < 0.2  # of a variance of 1
    assert fast_of_slow < 0.15
    assert slow_of_fast > 2 * fast_of_slow


def test_a_hardened_clock_has_the_gates_in_its_weights():
    model = learned_clock().double()
    make_one_hot(model.clock, [1, 4, 2], [0, 0, 0])
    set_gates(model, [[1, 0.2, 0.9], [0.7, 1, 0.3], [0.1, 0.6, 1]])
    x = torch.randn(2, 15, 3, dtype=torch.float64)
    torch.testing.assert_close(whole(model.harden(), x), whole(model, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (
            lambda: clockwork("full", link_cost=0.1),
            "link_cost must be 0 unless links is learned; got 0.1 with links full",
        ),
        (lambda: learned_clock("none", link_cost=0.1), "link_cost must be 0 unless connectivity is learned; got 0.1"),
        (lambda: clockwork(link_cost=-1), "link_cost must be a number at least 0; got -1"),
        (lambda: clockwork(kernel="cascade"), "kernel 'cascade' .* with links learned no module is without others"),
        (lambda: ClockworkRNN(3, 7, [4], links="learned"), "learned links need at least 2 modules; got 1"),
        (lambda: LearnedClockRNN(3, 7, PulseClock(1, 4), "learned"), "learned links need at least 2 modules; got 1"),
        (lambda: learned_clock("lerned"), "Did you mean 'learned'"),
    ],
)
def test_bad_options_are_refused_by_name(make, named):
    with pytest.raises(InvalidInput, match=named):
        make()
