"""Learned clocks: the waves, what they learn and cannot learn, and what they harden into."""

import math
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor, nn

from multiscale import ClockworkRNN, LearnedClockRNN
from multiscale.backbones.hard_clock import HardClockRNN
from multiscale.checks import InvalidInput
from multiscale.nn.clocks.base import Clock, ClockOptions, candidate_periods
from multiscale.nn.clocks.pulse import PulseClock
from multiscale.nn.clocks.wave import DCTClock, DirectClock
from multiscale.nn.schedules import Constant, Geometric

KINDS = [
    ("binary", "softmax"),
    ("binary", "l1"),
    ("square", "softmax"),
    ("square", "l1"),
    ("dct", "l1"),
    ("direct", "none"),
]
OPTIONS = list(
    product(("none", "minmax"), ("spread", "zeros", "random"), (None, 0.0), ("full", "slow_to_fast", "none"))
)
one = Constant(1.0)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def pulses(period: int, steps: int, phase: int = 0) -> Tensor:
    return ((torch.arange(steps) - phase) % period == 0).float()


def one_hot(clock: PulseClock, periods: list[int], phases: list[int]) -> None:
    """Weights so far apart that the softmax is one-hot to the last bit."""
    with torch.no_grad():
        clock.logits.fill_(-1e4)
        for m, (period, phase) in enumerate(zip(periods, phases, strict=True)):
            clock.logits[m, (clock.atom_period == period) & (clock.atom_phase == phase)] = 1e4


def everything(model, x: Tensor, state: tuple) -> dict[str, Tensor]:
    """Outputs and gradients with random cotangents."""
    h, t = state
    x, h = x.clone().requires_grad_(), h.clone().requires_grad_()
    result = model(x, (h, t), trace=True)
    generator = torch.Generator().manual_seed(0)
    loss = result.penalty
    for level in result.levels:
        loss = loss + (level * torch.randn(level.shape, generator=generator, dtype=level.dtype)).sum()
    loss = loss + (result.state[0] * torch.randn(h.shape, generator=generator, dtype=h.dtype)).sum()
    wanted = {"x": x, "h": h, **dict(model.named_parameters())}
    grads = torch.autograd.grad(loss, list(wanted.values()))
    named = {f"gradient of {name}": grad for name, grad in zip(wanted, grads, strict=True)}
    levels = {f"level {i}": level for i, level in enumerate(result.levels)}
    return named | levels | {"penalty": result.penalty, "update": result.trace.update, "t": result.state[1]}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert (value - b[name]).abs().max() <= tolerance * max(1.0, value.abs().max().item()), name


# The waves.


def test_a_binary_clock_is_a_mixture_of_pulses_that_goes_on_for_ever():
    clock = PulseClock(1, 3, one, options=ClockOptions("zeros"))
    with torch.no_grad():
        clock.logits.copy_(torch.tensor([[0.5, 0.2, 0.3]]).log())
    t = torch.tensor([0, 1, 2, 3, 4, 10**12])  # 10**12 is even, and 1 more than a multiple of 3
    torch.testing.assert_close(clock(t)[:, 0], torch.tensor([1.0, 0.5, 0.7, 0.8, 0.7, 0.7]))


def test_a_square_clock_is_active_for_its_share_of_each_period_from_its_phase_on():
    clock = PulseClock(1, 8, one, "square", [4, 8], phases=2, duty=0.25)
    assert list(zip(clock.atom_period.tolist(), clock.atom_phase.tolist(), strict=True)) == [
        (4, 0),
        (4, 2),
        (8, 0),
        (8, 4),
    ]
    assert clock.atoms(torch.arange(8)).T.tolist() == [
        [1, 0, 0, 0, 1, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0],
    ]


def test_a_dct_clock_is_the_orthonormal_inverse_transform_and_periodic_beyond():
    clock = DCTClock(1, 16, one, options=ClockOptions("random")).double()
    k = torch.arange(16, dtype=torch.float64)
    atoms = clock.scale * torch.cos(math.pi * (k[:, None] + 0.5) * k / 16)
    torch.testing.assert_close(atoms.T @ atoms, torch.eye(16, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(clock.z(torch.arange(16)), atoms @ clock.coefficients.T, atol=1e-6, rtol=0)
    late = torch.arange(16) + 32 * 10**9
    torch.testing.assert_close(clock.z(late), clock.z(torch.arange(16)), atol=1e-12, rtol=0)


def test_atom_k_of_the_transform_has_a_period_of_two_t_over_k_and_the_constant_is_never_dominant():
    clock = DCTClock(2, 16, one, length=60, options=ClockOptions("zeros"))
    with torch.no_grad():
        clock.coefficients[0, 0], clock.coefficients[0, 12] = 9.0, -1.0
        clock.coefficients[1, 8] = 1.0
    assert clock.periods().tolist() == [10.0, 15.0]
    z = clock.z(torch.arange(40))
    torch.testing.assert_close(z[:30, 0], z[10:, 0])
    torch.testing.assert_close(z[:25, 1], z[15:, 1])


def test_a_direct_clock_is_a_sine_whose_phase_stays_exact_late():
    clock = DirectClock(1, 8, one)
    with torch.no_grad():
        clock.frequency.fill_(0.1251)
        clock.phase.fill_(0.25)
    turns = 0.1251000016927719 * 10**7 - 0.25  # the frequency as float32 stores it
    assert clock.z(torch.tensor([10**7])).item() == pytest.approx(math.cos(2 * math.pi * turns), abs=1e-5)
    assert clock.periods().item() == pytest.approx(1 / 0.1251)


def test_minmax_stretches_each_wave_to_fill_the_unit_interval_but_leaves_a_flat_one():
    for clock in (
        PulseClock(2, 8, one, "square", options=ClockOptions("random", normalisation="minmax")),
        DCTClock(2, 8, one, options=ClockOptions("random", normalisation="minmax")),
    ):
        wave = clock.wave()
        torch.testing.assert_close(wave.amin(1), torch.zeros(2))
        torch.testing.assert_close(wave.amax(1), torch.ones(2))
    flat = DCTClock(1, 8, one, options=ClockOptions("zeros", normalisation="minmax"))
    torch.testing.assert_close(flat.wave(), torch.full((1, 16), 0.5))


def test_hard_clocks_are_zero_or_one_from_their_epoch_on_and_still_learn():
    for basis, selection in KINDS:
        model = LearnedClockRNN(2, 6, 3, 8, basis, selection=selection, phases=2, hard_from=3, initialisation="random")
        model.anneal(2.9)
        assert not ((model.clock.wave() == 0) | (model.clock.wave() == 1)).all(), basis
        model.anneal(3.0)
        wave = model.clock.wave(50)
        assert ((wave == 0) | (wave == 1)).all(), basis
        (wave * torch.randn(3, 50)).sum().backward()
        weights = model.clock.frequency if basis == "direct" else next(model.clock.parameters())
        assert weights.grad.any(), basis


def test_the_hard_wave_is_the_largest_weight_or_the_part_above_the_threshold():
    binary = PulseClock(1, 4, one, phases=2, options=ClockOptions("zeros", hard_from=0))
    with torch.no_grad():  # atoms: 1; 2 at 0, 1; 3 at 0, 1; 4 at 0, 2. Period 2 wins together, atom 1 alone.
        binary.logits.copy_(torch.tensor([[3.0, 2.5, 2.6, 0, 0, 0, 0]]))
    assert binary.periods().item() == 2
    assert torch.equal(binary.wave(6)[0], pulses(2, 6, phase=1))
    dct = DCTClock(1, 8, one, options=ClockOptions("random", hard_from=0))
    with torch.no_grad():
        z = dct.z(torch.arange(16))[:, 0]
        dct.threshold.copy_(z[5])
    assert torch.equal(dct.wave()[0], (z > z[5]).float())
    with torch.no_grad():
        dct.threshold.sub_(1e-4)
    assert dct.wave()[0, 5] == 1
    l1 = PulseClock(1, 4, one, selection="l1", options=ClockOptions("zeros", hard_from=0))
    with torch.no_grad():
        l1.logits.copy_(torch.tensor([[0.0, 0.3, 0.25, 0.6]]))
    assert l1.wave(7)[0].tolist() == [1, 0, 0, 0, 1, 0, 1]


def test_the_temperature_falls_geometrically_from_one_to_a_tenth():
    schedule = Geometric()
    assert [schedule(0), schedule(10), schedule(20), schedule(99)] == pytest.approx([1, 10**-0.5, 0.1, 0.1])
    model = LearnedClockRNN(2, 6, 3, 8)
    model.anneal(20)
    torch.testing.assert_close(model.clock.temperature, torch.tensor(0.1))
    torch.testing.assert_close(model.clock.weights(), torch.softmax(model.clock.logits / 0.1, 1))


def test_candidates_are_all_or_powers_of_two_or_four_to_the_octave_or_given():
    assert candidate_periods("all", 5) == [1, 2, 3, 4, 5]
    assert candidate_periods("powers", 64) == [1, 2, 4, 8, 16, 32, 64]
    assert candidate_periods("powers", 63) == [1, 2, 4, 8, 16, 32]
    assert candidate_periods("log", 16) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16]
    assert candidate_periods([7, 3], 7) == [3, 7]


@pytest.mark.parametrize("basis", ["binary", "square", "dct", "direct"])
def test_a_spread_start_has_module_m_near_period_two_to_the_m_minus_one(basis):
    clock = LearnedClockRNN(1, 8, 5, 64, basis).clock
    periods = clock.periods().tolist()
    assert periods[1:] == pytest.approx([2, 4, 8, 16], rel=0.02)  # T atoms reach down to 2T / (T - 1) steps, not to 2
    if basis == "binary":
        torch.testing.assert_close(clock.weights().max(1).values, torch.full((5,), 0.5))


# The traps.


def test_zero_logits_over_784_periods_start_the_network_nearly_frozen():
    clock = PulseClock(1, 784, one, options=ClockOptions("zeros"))
    assert clock.wave(784 * 20).mean().item() == pytest.approx(sum(1 / p for p in range(1, 785)) / 784, rel=0.02)
    assert clock.wave(784 * 20).mean() < 0.0101


def test_the_atoms_of_a_period_and_its_double_overlap():
    atoms = PulseClock(1, 16, one).atoms(torch.arange(16 * 15))
    cosine = nn.functional.cosine_similarity(atoms[:, 5 - 1], atoms[:, 10 - 1], dim=0)
    assert cosine.item() == pytest.approx(math.sqrt(0.5), abs=1e-6)


def test_l1_weights_learn_from_exact_zeros_and_out_of_saturation():
    steps = torch.arange(24)
    for value in (0.0, 5.0, -5.0):
        clock = PulseClock(1, 8, one, selection="l1", options=ClockOptions("zeros"))
        with torch.no_grad():
            clock.logits.fill_(value)
        target = pulses(4, 24)
        (clock(steps)[:, 0] - target).square().sum().backward()
        passed = clock.logits.grad.clone()
        assert passed.any(), value
        # A clip that saturates stops what the straight-through one lets pass.
        clock.logits.grad = None
        z = clock.atoms(steps) @ clock.logits[0]
        (z.clamp(0, 1) - target).square().sum().backward()
        assert value == 0 or not clock.logits.grad[0, 0]
    assert torch.equal(clock(steps)[:, 0], torch.zeros(24))


def learn(clock: Clock, target: Tensor, rate: float, updates: int = 300) -> float:
    optimizer = torch.optim.Adam(clock.parameters(), lr=rate)
    steps = torch.arange(len(target))
    for update in range(updates):
        clock.anneal(20 * update / updates)
        optimizer.zero_grad()
        (clock(steps)[:, 0] - target).square().mean().backward()
        optimizer.step()
    return clock.periods().item()


@pytest.mark.parametrize("period", [3, 10, 12])
def test_a_frequency_learned_directly_does_not_find_a_period_that_the_basis_finds(period):
    start = ClockOptions("random")
    torch.manual_seed(0)
    assert learn(PulseClock(1, 32, Geometric(), options=start), pulses(period, 128), 0.1) == period
    found = learn(DirectClock(1, 32, Constant(4.0), start), pulses(period, 128), 0.01)
    assert abs(found - period) > 0.05 * period


# The network.


def test_the_update_is_the_mixture_of_candidate_and_state():
    model = LearnedClockRNN(2, 5, 2, 4, kernel="hoisted").double()
    x, h = torch.randn(3, 1, 2, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    t = torch.tensor([1, 2, 4])
    activation = model.clock(t)
    active = torch.cat([activation[:, :1].expand(3, 3), activation[:, 1:].expand(3, 2)], 1)
    candidate = torch.tanh(x[:, 0] @ model.input.T + h @ model.recurrent.T + model.bias)
    expected = active * candidate + (1 - active) * h
    torch.testing.assert_close(torch.cat(model(x, (h, t)).levels, -1)[:, 0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("basis", "selection"), KINDS)
def test_the_hoisted_kernel_is_the_loop_for_every_option(basis, selection):
    for normalisation, initialisation, hard_from, connectivity in OPTIONS:
        arguments = {
            "basis": basis, "selection": selection, "normalisation": normalisation, "initialisation": initialisation,
            "hard_from": hard_from, "connectivity": connectivity, "update_cost": 0.3, "phases": 2, "l1": 0.01,
        }  # fmt: skip
        reference = LearnedClockRNN(3, 7, 3, 8, kernel="reference", **arguments).double()
        fast = LearnedClockRNN(3, 7, 3, 8, kernel="hoisted", **arguments).double()
        fast.load_state_dict(reference.state_dict())
        x, h = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 7, dtype=torch.float64)
        for t in (torch.tensor([3, 3]), torch.tensor([2, 9])):
            a, b = everything(reference, x, (h, t)), everything(fast, x, (h, t))
            assert_same(a, b)
            assert a["update"].min() >= 0
            assert a["update"].max() <= 1
            assert a["penalty"] >= 0
            assert all(value.isfinite().all() for value in a.values())


def test_in_float32_the_hoisted_kernel_errs_at_most_twice_as_much_as_the_loop():
    truth = LearnedClockRNN(5, 33, 5, 20, kernel="reference").double()
    loop, fast = (LearnedClockRNN(5, 33, 5, 20, kernel=kernel) for kernel in ("reference", "hoisted"))
    x, h = torch.randn(2, 63, 5, dtype=torch.float64), torch.randn(2, 33, dtype=torch.float64)
    for model in (loop, fast):
        model.load_state_dict(truth.state_dict())
    t = torch.tensor([0, 0])
    exact = everything(truth, x, (h, t))
    runs = [everything(model, x.float(), (h.float(), t)) for model in (loop, fast)]
    for name, value in exact.items():
        errors = [(run[name].double() - value).double().square().mean().sqrt() for run in runs]
        assert errors[1] <= 2 * errors[0] + 3e-7 * value.double().square().mean().sqrt(), name


def test_a_sequence_may_be_cut_anywhere_because_the_counter_is_carried():
    model = LearnedClockRNN(2, 7, 3, 6, initialisation="random").double()
    x = torch.randn(2, 8, 2, dtype=torch.float64)
    whole = model(x)
    for cut in range(1, 8):
        first = model(x[:, :cut])
        second = model(x[:, cut:], first.state)
        for a, b, c in zip(first.levels, second.levels, whole.levels, strict=True):
            torch.testing.assert_close(torch.cat([a, b], 1), c, rtol=0, atol=1e-12)
        assert second.state[1].tolist() == [8, 8]


def test_without_connections_a_module_hears_only_itself_and_slow_to_fast_follows_the_current_periods():
    for connectivity, heard in (
        ("none", set()),
        ("slow_to_fast", {(0, 1), (0, 2), (2, 1)}),
        ("full", set(product(range(3), range(3)))),
    ):
        model = LearnedClockRNN(1, 6, 3, 8, connectivity=connectivity)
        one_hot(model.clock, [2, 8, 4], [0, 0, 0])
        blocks = model.connected().detach().reshape(3, 2, 3, 2).abs().amax((1, 3)) > 0
        pairs = {(i, j) for i, j in product(range(3), range(3)) if i != j and blocks[i, j]}
        assert pairs == {pair for pair in heard if pair[0] != pair[1]}
        assert blocks.diagonal().all()


def test_the_update_cost_and_l1_are_what_they_say():
    priced = LearnedClockRNN(2, 6, 3, 8, update_cost=0.5)
    torch.testing.assert_close(priced.penalty(), 0.5 * priced.clock.wave().mean())
    priced.penalty().backward()
    # What is paid for is the mean activation: the price of period 1 rises, that of period 8 falls.
    assert (priced.clock.logits.grad[:, 0] > 0).all()
    assert (priced.clock.logits.grad[:, 7] < 0).all()
    sparse = LearnedClockRNN(2, 6, 3, 8, "dct", l1=0.1)
    torch.testing.assert_close(sparse.penalty(), 0.1 * sparse.clock.coefficients.abs().sum(1).mean())
    free = LearnedClockRNN(2, 6, 3, 8, selection="l1", l1=0.1)
    torch.testing.assert_close(free.penalty(), torch.tensor(0.1))
    assert LearnedClockRNN(2, 6, 3, 8, l1=0.1).penalty() == 0


def test_every_parameter_gets_a_gradient_every_step():
    for basis, selection in KINDS:
        model = LearnedClockRNN(2, 6, 3, 8, basis, selection=selection, hard_from=0)
        torch.cat(model(torch.randn(1, 1, 2)).levels, -1).sum().backward()
        assert all(p.grad is not None for p in model.parameters()), basis


def test_clock_weights_take_no_decay_and_their_own_learning_rate():
    model = LearnedClockRNN(2, 6, 3, 8, "dct", clock_lr=0.5)
    rest, clock = model.parameter_groups()
    assert {id(p) for p in clock["params"]} == {id(p) for p in model.clock.parameters()}
    assert len(rest["params"]) + len(clock["params"]) == len(list(model.parameters()))
    optimizer = torch.optim.AdamW(model.parameter_groups(), lr=0.1, weight_decay=0.2)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.1, 0.2), (0.5, 0.0)]
    assert [len(g["params"]) for g in ClockworkRNN(2, 6, [1, 2]).parameter_groups()] == [3]


@pytest.mark.parametrize("basis", ["binary", "square", "dct", "direct"])
def test_phases_and_periods_stay_float32_under_autocast(basis):
    model = LearnedClockRNN(2, 6, 3, 8, basis, initialisation="random")
    t = torch.arange(5000, 5030)
    expected = model.clock(t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        activation, result = model.clock(t), model(torch.randn(2, 4, 2), trace=True)
    assert activation.dtype == torch.float32
    assert torch.equal(activation, expected)
    assert result.trace.update.dtype == torch.float32


@pytest.mark.parametrize("basis", ["binary", "dct"])
def test_a_clock_survives_its_state_dict_hardness_and_temperature_included(basis):
    model = LearnedClockRNN(2, 6, 3, 8, basis, hard_from=1, initialisation="random")
    model.anneal(5)
    fresh = LearnedClockRNN(2, 6, 3, 8, basis, hard_from=1)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.clock.wave(), model.clock.wave())


# Read-out.


def test_the_readout_says_period_entropy_duty_gap_and_wave():
    clock = PulseClock(2, 4, one, candidates=[2, 4], phases=2, options=ClockOptions("zeros"))
    with torch.no_grad():  # atoms: 2 at 0, 1; 4 at 0, 2
        clock.logits.copy_(torch.tensor([[0.3, 0.3, 0.4, 1e-9], [1 / 8, 1 / 8, 3 / 4, 1e-9]]).log())
    readout = clock.readout()
    assert readout.period.tolist() == [2, 4]  # summed over phases, though the largest atom of both is of period 4
    bits = [-(0.6 * math.log2(0.6) + 0.4 * math.log2(0.4)), -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))]
    assert readout.entropy.tolist() == pytest.approx(bits, abs=1e-6)
    assert readout.gap.tolist() == pytest.approx([0.2, 0.5], abs=1e-6)
    assert readout.duty.tolist() == pytest.approx([0.4, 5 / 16], abs=1e-6)
    assert readout.wave.shape == (2, 4)
    assert not readout.wave.requires_grad


@pytest.mark.parametrize(("basis", "selection"), KINDS)
def test_every_clock_can_be_read_out_even_from_zeros(basis, selection):
    for initialisation in ("spread", "zeros", "random"):
        model = LearnedClockRNN(2, 6, 3, 8, basis, selection=selection, initialisation=initialisation)
        readout = model.readout()
        assert all(part.shape[0] == 3 for part in readout)
        assert (readout.entropy >= 0).all()
        assert ((readout.duty >= 0) & (readout.duty <= 1)).all()
        assert ((readout.gap >= 0) & (readout.gap <= 1)).all()
        assert len(model.level_names) == 3


# Hardened.


@pytest.mark.parametrize("connectivity", ["full", "slow_to_fast", "none"])
@pytest.mark.parametrize("kernel", ["reference", "hoisted"])
def test_a_hardened_clock_is_the_soft_one_with_one_hot_weights(connectivity, kernel):
    soft = LearnedClockRNN(3, 8, 3, 8, connectivity=connectivity, phases=3, kernel=kernel).double()
    one_hot(soft.clock, [6, 1, 4], [2, 0, 1])
    hard = soft.harden()
    assert (hard.periods.tolist(), hard.phases.tolist()) == ([6, 1, 4], [2, 0, 1])
    x, h, t = torch.randn(2, 14, 3).double(), torch.randn(2, 8).double(), torch.tensor([5, 5])
    a, b = everything(soft, x, (h, t)), everything(hard, x, (h, t))
    assert not a.pop("gradient of clock.logits").isnan().any()
    assert_same(a, b)


def test_hardening_and_the_hard_phase_of_training_agree():
    soft = LearnedClockRNN(3, 8, 3, 8, phases=2, hard_from=0, initialisation="random").double()
    x = torch.randn(2, 14, 3).double()
    for a, b in zip(soft(x).levels, soft.harden()(x).levels, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_with_slow_to_fast_connections_it_is_the_clockwork_rnn():
    soft = LearnedClockRNN(3, 8, 3, 8, connectivity="slow_to_fast").double()
    one_hot(soft.clock, [1, 3, 6], [0, 0, 0])
    clockwork = ClockworkRNN(3, 8, [1, 3, 6]).double()
    clockwork.load_state_dict({k: v for k, v in soft.state_dict().items() if not k.startswith("clock.")})
    x, h, t = torch.randn(2, 14, 3).double(), torch.randn(2, 8).double(), torch.tensor([4, 4])
    truth = everything(clockwork, x, (h, t))
    assert_same(everything(soft.harden(), x, (h, t)), truth)
    of_soft = everything(soft, x, (h, t))
    assert of_soft.pop("gradient of clock.logits") is not None
    assert_same(of_soft, truth)


@pytest.mark.parametrize("connectivity", ["full", "slow_to_fast", "none"])
def test_skipping_and_cascading_are_the_masked_loop(connectivity):
    arguments = {
        "input_size": 2,
        "level_sizes": [3, 1, 4],
        "periods": [5, 2, 5],
        "phases": [4, 0, 1],
        "connectivity": connectivity,
    }
    reference = HardClockRNN(kernel="reference", **arguments).double()
    for kernel in ("skipping", "cascade")[: 1 if connectivity == "full" else 2]:
        fast = HardClockRNN(kernel=kernel, **arguments).double()
        fast.load_state_dict(reference.state_dict())
        for counters, length in product(([0, 0, 0], [3, 3, 3], [2, 7, 2]), (1, 2, 11)):
            x, h = torch.randn(3, length, 2).double(), torch.randn(3, 8).double()
            state = (h, torch.tensor(counters))
            assert_same(everything(reference, x, state), everything(fast, x, state))


@pytest.mark.parametrize("kernel", ["skipping", "cascade", "reference"])
def test_a_hard_clock_that_never_ticks_still_gives_every_parameter_a_gradient(kernel):
    model = HardClockRNN(2, 3, [4, 8], [3, 5], "none", kernel)
    torch.cat(model(torch.randn(2, 3, 2)).levels, -1).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"basis": "binery"}, "Did you mean 'binary'"),
        ({"selection": "l2"}, "selection"),
        ({"basis": "dct", "selection": "softmax"}, "selection"),
        ({"candidates": "logs"}, "Did you mean 'log'"),
        ({"candidates": [4, 32]}, r"candidates\[1\] must be at most max_period = 16"),
        ({"candidates": [0]}, r"candidates\[0\]"),
        ({"candidates": []}, "candidates"),
        ({"max_period": 0}, "max_period"),
        ({"max_period": 3}, "max_period must be at least"),
        ({"num_modules": 9}, "hidden_size must be at least the number of modules, 9; got 6"),
        ({"phases": 0}, "phases"),
        ({"duty": 0.0}, "duty"),
        ({"basis": "dct", "dct_length": 1}, "dct_length"),
        ({"hard_from": -1}, "hard_from"),
        ({"connectivity": "fast_to_slow"}, "connectivity"),
        ({"update_cost": -0.1}, "update_cost"),
        ({"normalisation": "max"}, "normalisation"),
        ({"initialisation": "zero"}, "Did you mean 'zeros'"),
        ({"l1": -1.0}, "l1"),
        ({"clock_lr": -1.0}, "clock_lr"),
        ({"kernel": "fast"}, "kernel"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, named):
    with pytest.raises(InvalidInput, match=named):
        LearnedClockRNN(**({"input_size": 2, "hidden_size": 6, "num_modules": 3, "max_period": 16} | arguments))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"periods": []}, "periods"),
        ({"periods": [2, 0]}, r"periods\[1\]"),
        ({"phases": [0]}, "phases must be one a module"),
        ({"phases": [0, 4]}, r"phases\[1\] must be a whole number from 0 to 3"),
        ({"connectivity": "full", "kernel": "cascade"}, "cannot run here"),
        ({"level_sizes": [3]}, "level_sizes"),
    ],
)
def test_a_bad_clocked_layer_is_refused_by_name(arguments, named):
    with pytest.raises(InvalidInput, match=named):
        HardClockRNN(**({"input_size": 2, "level_sizes": 3, "periods": [2, 4]} | arguments))


def test_only_pulses_selected_by_softmax_can_be_hardened():
    for basis, selection in KINDS[1:]:
        with pytest.raises(InvalidInput, match="harden"):
            LearnedClockRNN(2, 6, 3, 8, basis, selection=selection).harden()


def test_no_modules_tick_order_is_assumed_when_periods_are_equal():
    mask = HardClockRNN(1, 1, [2, 2, 2], connectivity="slow_to_fast").mask
    assert all(mask[i, j] and not mask[j, i] for i, j in pairwise(range(3)))
