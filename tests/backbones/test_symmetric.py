"""Encoder and decoder on mirrored clocks: who reads whom, on which clock, and that the kernel is the loop."""

from itertools import product

import pytest
import torch
from torch import nn

from multiscale import ClockworkRNN, DCTClock, PulseClock
from multiscale.backbones.base import detach
from multiscale.backbones.symmetric import SymmetricClockRNN
from multiscale.checks import InvalidInput
from multiscale.testing import laws
from tests.helpers.clocks import CLOCKS, assert_same, everything, make_one_hot

KERNELS = ("reference", "hoisted")
DECODERS = list(product((True, False), (True, False)))  # shared, mirrored


def randomized(hidden_size: int = 7, modules: int = 3, **changes) -> SymmetricClockRNN:
    torch.manual_seed(0)
    clock = PulseClock(modules, 8, initialisation="random", update_cost=0.5)
    model = SymmetricClockRNN(3, hidden_size, clock, **changes).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def inputs(batch: int = 2, steps: int = 9) -> torch.Tensor:
    return torch.randn(batch, steps, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(("shared", "mirrored"), DECODERS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_it_is_its_equation_module_by_module(kernel, shared, mirrored):
    """Two networks by hand, of which the second reads, module by module, the image of each in the first."""
    model = randomized(kernel=kernel, shared=shared, mirrored=mirrored)
    order, sizes, x, steps = [2, 1, 0] if mirrored else [0, 1, 2], (3, 2, 2), inputs(), 9
    wanted = [*sizes] + [sizes[m] for m in order]
    assert model.level_sizes == tuple(wanted)
    second = model.clock if shared else model.decoder_clock
    t = torch.arange(steps)
    activation = torch.cat([model.clock(t), second(t)[:, order]], 1)
    blocks = [rows.split(wanted, 1) for rows in model.recurrent.split(wanted)]
    weights, biases = model.input.split(sizes), model.bias.split(wanted)
    h, levels = [x.new_zeros(len(x), n) for n in wanted], []
    for step in range(steps):
        new = []
        for i in range(6):
            reads = range(i + 1) if i < 3 else [order[i - 3], *range(3, i + 1)]
            u = biases[i] + (x[:, step] @ weights[i].T if i < 3 else 0) + sum(h[j] @ blocks[i][j].T for j in reads)
            new.append(activation[step, i] * u.tanh() + (1 - activation[step, i]) * h[i])
        h = new
        levels.append(torch.cat(h, 1))
    output = model(x, trace=True)
    torch.testing.assert_close(torch.cat(output.levels, -1), torch.stack(levels, 1), rtol=0, atol=1e-12)
    # Those of one step and of all at once may round the last place otherwise.
    torch.testing.assert_close(output.trace.update, activation.expand(2, -1, -1), rtol=0, atol=3e-16)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", CLOCKS)
def test_the_hoisted_kernel_is_the_loop(kind, shared):
    models = [SymmetricClockRNN(3, 7, CLOCKS[kind](3, 8), shared, kernel=kernel).double() for kernel in KERNELS]
    models[1].load_state_dict(models[0].state_dict())
    h = torch.randn(2, 14, dtype=torch.float64)
    for t in (torch.tensor([3, 3]), torch.tensor([2, 9])):
        assert_same(*(everything(model, inputs(), (h, t)) for model in models))


def test_without_a_decoder_to_read_it_is_the_clockwork_network_of_links_from_fast_to_slow():
    model = SymmetricClockRNN(3, 7, PulseClock(3, 8)).double()
    make_one_hot(model.clock, [1, 2, 4], [0, 0, 0])
    same = ClockworkRNN(3, 7, [1, 2, 4], links="fast_to_slow").double()
    with torch.no_grad():
        same.input.copy_(model.input)
        same.recurrent.copy_(model.recurrent[:7, :7])
        same.bias.copy_(model.bias[:7])
    torch.testing.assert_close(model(inputs()).levels[:3], same(inputs()).levels, rtol=0, atol=1e-12)


def test_one_clock_is_the_mirror_of_itself_and_a_clock_of_its_own_begins_there_and_is_learned_for_itself():
    shared, own = randomized(), randomized(shared=False)
    assert shared.measures()["period"].tolist()[3:] == shared.measures()["period"].tolist()[:3][::-1]
    assert shared.level_names[0].startswith("encoder 1, period ")
    assert shared.level_names[5] == "decoder 3" + shared.level_names[0].removeprefix("encoder 1")
    fresh = SymmetricClockRNN(3, 7, PulseClock(3, 8), shared=False)
    assert fresh.measures()["period"].tolist() == [1, 2, 4, 4, 2, 1]
    assert fresh.decoder_clock.logits is not fresh.clock.logits
    own(inputs()).levels[5].sum().backward()
    assert own.clock.logits.grad.any()
    assert own.decoder_clock.logits.grad.any()
    assert not torch.equal(own.clock.logits.grad, own.decoder_clock.logits.grad)
    own.anneal(7)
    assert own.decoder_clock.temperature == own.clock.temperature < 1
    torch.testing.assert_close(own.penalty(), (own.clock.penalty() + own.decoder_clock.penalty()) / 2)
    torch.testing.assert_close(shared.penalty(), shared.clock.penalty())


@pytest.mark.parametrize("shared", [True, False])
def test_the_clocks_take_no_decay_and_their_own_rate(shared):
    model = SymmetricClockRNN(3, 7, DCTClock(3, 8), shared, clock_lr=0.5)
    rest, clocks = model.parameter_groups()
    assert (clocks["weight_decay"], clocks["lr"]) == (0.0, 0.5)
    assert [id(p) for p in rest["params"]] == [id(p) for p in (model.input, model.recurrent, model.bias)]
    assert len(clocks["params"]) == len([*model.clock.parameters()]) * (1 if shared else 2)


def test_what_is_counted_is_what_may_be_read():
    model = SymmetricClockRNN(5, 7, PulseClock(3, 8))
    sizes, reads = (3, 2, 2, 2, 2, 3), (3, 5, 7, 2 + 2, 2 + 4, 3 + 7)
    assert model.idle_weights() == 14 * 14 - sum(n * r for n, r in zip(sizes, reads, strict=True))
    rows = [(i, n * (r + 5 * (i < 3)), "active") for i, (n, r) in enumerate(zip(sizes, reads, strict=True))]
    clocks = [(i, 8, "always") for i in range(3)]
    assert [(p.level, p.macs, p.due) for p in model.products()] == rows + clocks
    assert len(SymmetricClockRNN(5, 7, PulseClock(3, 8), shared=False).products()) == 12


@pytest.mark.parametrize("kernel", KERNELS)
def test_samples_at_different_counters_are_each_at_their_own_phase(kernel):
    model = randomized(kernel=kernel)
    state = detach(model(inputs(2, 5)).state)
    apart = (state[0], torch.tensor([2, 7]))
    together = model(inputs(), apart)
    for b in range(2):
        alone = model(inputs()[b : b + 1], (state[0][b : b + 1], apart[1][b : b + 1]))
        torch.testing.assert_close([level[b : b + 1] for level in together.levels], list(alone.levels))


test_two_clocks_keep_every_law = laws(lambda d: SymmetricClockRNN(d, 7, PulseClock(3, 8), shared=False))
test_an_unmirrored_decoder_keeps_every_law = laws(lambda d: SymmetricClockRNN(d, 7, PulseClock(3, 8), mirrored=False))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_size": 2}, "hidden_size must be at least the number of modules, 3; got 2"),
        ({"clock": 4}, "clock must be a Clock, such as PulseClock.*got 4"),
        ({"clock": nn.Linear(2, 2)}, "clock must be a Clock"),
        ({"shared": "yes"}, "shared must be true or false; got 'yes'"),
        ({"mirrored": 1}, "mirrored must be true or false; got 1"),
        ({"clock_lr": -1.0}, "clock_lr must be a number at least 0; got -1"),
        ({"input_size": 0}, "input_size must be a whole number of at least 1; got 0"),
        ({"kernel": "hoist"}, "Did you mean 'hoisted'"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        SymmetricClockRNN(**{"input_size": 3, "hidden_size": 7, "clock": PulseClock(3, 8), **wrong})
