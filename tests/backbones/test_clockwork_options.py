"""Options of the Clockwork RNN: who reads whom, who reads the input, and clocks that tick at random."""

import pytest
import torch
from torch import Tensor

from multiscale import ClockworkRNN
from multiscale.backbones.base import fold
from multiscale.checks import InvalidInput
from multiscale.kernels import recurrence
from multiscale.nn.links import LINKS, link_mask
from multiscale.testing import laws
from tests.backbones.test_clockwork import (
    CELLS,
    NESTED,
    NOT_NESTED,
    TORCH,
    assert_same,
    outputs_and_gradients,
    random_state,
    randomized,
    twin,
)

test_with_every_link_it_keeps_every_law = laws("clockwork", "model.hidden_size=13", "model.links=full")
test_with_the_input_in_one_module_it_keeps_every_law = laws(
    "clockwork", "model.hidden_size=13", "model.links=fast_to_slow", "model.input_to=fastest", "model.cell=lstm"
)
test_with_random_clocks_it_keeps_every_law = laws(
    "clockwork", "model.hidden_size=13", "model.links=neighbours", "model.clock=random", "model.cell=gru"
)
NATIVE = () if recurrence.unavailable() else ("native",)
KERNELS = {
    "slow_to_fast": (*NATIVE, "cascade", "skipping", "hoisted", "reference"),
    "fast_to_slow": (*NATIVE, "cascade", "skipping", "hoisted", "reference"),
    "neighbours": ("skipping", "hoisted", "reference"),
    "full": ("skipping", "hoisted", "reference"),
}
CASES = [(links, kernel) for links, kernels in KERNELS.items() for kernel in kernels if kernel != "reference"]
CELLS_OF = {"skipping": ("tanh",), "native": ("tanh",)}  # of the others: all
INPUTS = [(links, input_to) for links in LINKS[:-1] for input_to in ("all", "fastest")]
INPUTS.remove(("slow_to_fast", "fastest"))  # refused
assert LINKS[-1] == "learned", "which has a file of its own"


# Who reads whom.


@pytest.mark.parametrize(
    ("links", "rows"),
    [
        ("slow_to_fast", ["1111", "0111", "0011", "0001"]),
        ("fast_to_slow", ["1000", "1100", "1110", "1111"]),
        ("neighbours", ["1111", "1100", "0110", "0011"]),
        ("full", ["1111", "1111", "1111", "1111"]),
    ],
)
def test_the_links_of_four_modules_are_these(links, rows):
    assert ["".join(str(int(may)) for may in row) for row in link_mask(links, 4)] == rows


@pytest.mark.parametrize(
    ("links", "input_to", "kernel", "cell"),
    [(*pair, kernel, cell) for pair in INPUTS for kernel in KERNELS[pair[0]] for cell in CELLS_OF.get(kernel, CELLS)],
)
def test_with_all_periods_one_it_is_the_torch_network_with_these_blocks(links, input_to, kernel, cell):
    model = randomized(ClockworkRNN(3, 7, [1, 1, 1], cell=cell, links=links, input_to=input_to, kernel=kernel))
    dense = TORCH[cell](3, 7, batch_first=True).double()
    sizes = torch.tensor([3, 2, 2])
    blocks = link_mask(links, 3).repeat_interleave(sizes, 0).repeat_interleave(sizes, 1)
    with torch.no_grad():
        dense.weight_ih_l0.copy_(model.input)
        dense.weight_hh_l0.copy_(model.recurrent * blocks.repeat(len(model.input) // 7, 1))
        for rows in dense.weight_ih_l0.split(7):
            rows[3:] *= input_to == "all"
        dense.bias_ih_l0.copy_(model.bias)
        dense.bias_hh_l0.zero_()
        if model.reset_bias is not None:
            dense.bias_hh_l0[14:] = model.reset_bias
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    *carried, counters = random_state(model, 2, torch.zeros(2, dtype=torch.int64))
    first = tuple(part[None] for part in carried)
    expected, _ = dense(x, first if cell == "lstm" else first[0])
    torch.testing.assert_close(torch.cat(model(x, (*carried, counters)).levels, -1), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("links", "input_to"), INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_weights_that_are_idle_change_nothing_and_are_counted(cell, links, input_to):
    model = ClockworkRNN(5, 11, [1, 2, 4], cell=cell, links=links, input_to=input_to)
    x = torch.randn(2, 9, 5)
    before = torch.cat(model(x).levels, -1)
    assert not model.recurrent[model.mask == 0].any(), "starts at zero where it is idle"
    idle = (model.mask == 0).sum()
    with torch.no_grad():
        model.recurrent[model.mask == 0] = 1e3
        if input_to == "fastest":
            rest = torch.arange(11).repeat(len(model.input) // 11) >= 4  # modules of 4, 4, 3 units
            assert not model.input[rest].any()
            model.input[rest] = 1e3
            idle = idle + 5 * rest.sum()
    torch.testing.assert_close(torch.cat(model(x).levels, -1), before, rtol=1e-5, atol=1e-6)
    assert model.idle_weights() == idle
    assert sum(p.macs for p in model.products()) == model.input.numel() + model.recurrent.numel() - idle


def test_a_slow_module_reads_at_its_ticks_what_the_faster_one_was_a_step_before():
    model = ClockworkRNN(1, 2, [1, 3], origin=2, links="fast_to_slow", input_to="fastest", kernel="cascade").double()
    (a, _), (b, c) = model.recurrent.tolist()
    w, x = model.input[0].item(), torch.randn(5, dtype=torch.float64)
    fast, slow = [torch.zeros(())], [torch.zeros(())]
    for t in range(5):  # at the counter 2 + t
        slow.append(torch.tanh(b * fast[-1] + c * slow[-1]) if (2 + t) % 3 == 0 else slow[-1])
        fast.append(torch.tanh(w * x[t] + a * fast[-1]))
    found = torch.cat(model(x.view(1, 5, 1)).levels, -1)[0]
    expected = torch.stack([torch.stack(fast[1:]), torch.stack(slow[1:])], -1)
    torch.testing.assert_close(found, expected.double(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("links", "slow_ones_read"), [("fast_to_slow", 9), ("neighbours", 6), ("full", 9)])
def test_the_start_scales_with_the_units_that_are_read(links, slow_ones_read):
    model = ClockworkRNN(4, 3 * 300, [1, 2, 4], links=links)
    assert model.recurrent[600:].detach().square().sum(1).mean() == pytest.approx(1, rel=0.05)
    assert (model.recurrent[600:] != 0).sum(1).float().mean() == 100 * slow_ones_read


# Every kernel is the same function.


@pytest.mark.parametrize(
    ("links", "kernel", "cell", "layer_norm"),
    [
        (*case, cell, norm)
        for case in CASES
        for cell in CELLS_OF.get(case[1], CELLS)
        for norm in (False, True)
        if not (norm and case[1] in CELLS_OF)
    ],
)
@pytest.mark.parametrize("periods", [NESTED, NOT_NESTED, [3, 3, 4], [40, 50]])
def test_every_kernel_is_the_masked_loop_in_float64_at_every_phase(links, kernel, cell, layer_norm, periods):
    arguments = {"input_size": 3, "hidden_size": 11, "periods": periods, "cell": cell, "layer_norm": layer_norm}
    arguments |= {"links": links, "input_to": "all" if links == "slow_to_fast" else "fastest"}
    reference = randomized(ClockworkRNN(kernel="reference", **arguments))
    fast = twin(reference, kernel, **arguments)
    x = torch.randn(4, 10, 3, dtype=torch.float64)
    state = random_state(reference, 4, torch.tensor([0, 3, 5, 3]))
    assert_same(outputs_and_gradients(reference, x, state), outputs_and_gradients(fast, x, state), 1e-10)


def test_each_kernel_says_why_it_cannot_run():
    def reasons(**options) -> list[str]:
        kernels = ClockworkRNN(2, 8, [1, 2], **options).kernels(None)
        return [name for name, reason in kernels.items() if reason is None]

    assert all(reasons(links=links) == list(kernels) for links, kernels in KERNELS.items())
    assert reasons(cell="gru") == reasons(layer_norm=True) == ["cascade", "hoisted", "reference"]
    assert reasons(clock="random") == ["hoisted", "reference"]
    assert ClockworkRNN(2, 8, [4], links="full").kernel == (*NATIVE, "cascade")[0]  # alone, it reads no other


# Clocks that tick at random.


def updates(model: ClockworkRNN, seed: int, steps: int = 40) -> Tensor:
    torch.manual_seed(seed)
    return model(torch.zeros(3, steps, 2), trace=True).trace.update


@pytest.mark.parametrize("kernel", ["hoisted", "reference"])
def test_a_random_clock_updates_each_module_once_a_period_on_average(kernel):
    model = ClockworkRNN(2, 8, [1, 2, 5, 20], clock="random", kernel=kernel)
    with torch.no_grad():
        update = torch.cat([updates(model, seed, 1000) for seed in range(4)])
    rates, expected = update.mean((0, 1)), 1 / model.periods
    assert rates[0] == 1
    deviation = (expected * (1 - expected) / update[..., 0].numel()).sqrt()
    assert ((rates - expected).abs() <= 4 * deviation).all()
    assert not torch.equal(update[0], update[1]), "samples tick each on their own"


def test_a_random_clock_obeys_the_seed_in_training_and_ticks_in_evaluation():
    model = ClockworkRNN(2, 8, [1, 2, 5, 20], clock="random")
    ticking = ClockworkRNN(2, 8, [1, 2, 5, 20])
    assert torch.equal(updates(model, 0), updates(model, 0))
    assert not torch.equal(updates(model, 0), updates(model, 1))
    assert torch.equal(updates(model.eval(), 0), updates(ticking, 1))


@pytest.mark.parametrize("cell", CELLS)
def test_what_a_random_clock_does_not_update_is_held_bit_for_bit(cell):
    model = ClockworkRNN(2, 8, [2, 5], cell=cell, clock="random")
    result = model(torch.randn(3, 30, 2), trace=True)
    for level, update in zip(result.levels, result.trace.update.unbind(-1), strict=True):
        changed = (level[:, 1:] != level[:, :-1]).any(-1)
        assert torch.equal(changed, update[:, 1:].bool())


def test_with_the_same_draws_the_kernel_of_a_random_clock_is_the_loop():
    model = randomized(ClockworkRNN(2, 8, [1, 2, 5], clock="random"))
    x = torch.randn(3, 20, 2, dtype=torch.float64)
    torch.manual_seed(1)
    found = model(x).levels
    torch.manual_seed(1)
    expected, _, _ = fold(model, x, model.initial_state(3, x.device, x.dtype), False)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# What it refuses.


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"links": "slow-to-fast"}, "Did you mean 'slow_to_fast'"),
        ({"links": "full", "kernel": "cascade"}, "kernel 'cascade' .* with links full no module is without others"),
        ({"clock": "tock"}, "clock must be one of tick, random"),
        ({"clock": "random", "kernel": "cascade"}, "when a random clock will tick is not known ahead"),
        ({"clock": "random", "kernel": "skipping"}, "when a random clock will tick is not known ahead"),
        ({"cell": "lstm", "kernel": "skipping"}, "no cell but tanh"),
        ({"input_to": "fastests", "links": "full"}, "Did you mean 'fastest'"),
        ({"input_to": "fastest"}, "input_to must be all with links slow_to_fast"),
    ],
)
def test_bad_options_are_refused_by_name(arguments, named):
    with pytest.raises(InvalidInput, match=named):
        ClockworkRNN(**({"input_size": 2, "hidden_size": 7, "periods": [1, 2, 4]} | arguments))
