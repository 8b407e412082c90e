"""Zoneout by itself, and in every model that has it."""

import pytest
import torch
from omegaconf import OmegaConf

from multiscale.backbones.base import State, detach
from multiscale.checks import InvalidInput
from multiscale.nn.zoneout import kept_share, zone_out, zoneout_rates
from multiscale.testing import (
    check_backbone,
    every_parameter_gets_a_gradient,
    forward_is_the_fold_of_step,
    mixed_precision_keeps_the_state_long_and_clocks_exact,
)
from tests.conftest import MODELS, backbone, model_config

RATES = {model: [key for key in model_config(model) if str(key).startswith("zoneout")] for model in MODELS}
ZONED = [model for model in MODELS if RATES[model]]
ONE_CELL = [model for model in ZONED if model != "fast_slow"]  # whose first state goes through two cells a step
LAWS = [
    forward_is_the_fold_of_step,
    every_parameter_gets_a_gradient,
    mixed_precision_keeps_the_state_long_and_clocks_exact,
]
VALUE = 0.3  # of every unit before a sequence


def zoned(model: str, rate: float, input_size: int = 5, kernel: str = "auto", **changes):
    """The backbone of a model, each of its units at this rate."""
    changes = dict.fromkeys(RATES[model], rate) | changes
    if model == "phased_lstm":
        changes["open_ratio"] = 1.0  # else hardly a unit is open
    if "zoneout_c" in changes and "cell" in model_config(model):
        changes["cell"] = "lstm"
    return backbone(model, input_size, kernel=kernel, **changes)


def runnable(network) -> list[str]:
    return [name for name, reason in network.kernels(None).items() if reason is None]


def units(state: State) -> list[torch.Tensor]:
    """What a state holds of units: no counters, and nothing that there is one of a level."""
    if isinstance(state, torch.Tensor):
        return [state] if state.is_floating_point() and state.size(-1) > 1 else []
    return [leaf for part in state for leaf in units(part)]


def with_units_at(value: float, network, batch: int) -> State:
    """The initial state, but every unit at that value."""
    state = detach(network.initial_state(batch, torch.device("cpu"), torch.float64))
    for leaf in units(state):
        leaf.fill_(value)
    return state


def inputs(batch: int = 3, steps: int = 7) -> torch.Tensor:
    return torch.randn(batch, steps, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_unit_keeps_its_value_with_that_probability_and_takes_the_mean_in_evaluation():
    torch.manual_seed(0)
    new, old = torch.randn(2, 40_000).double().unbind()
    drawn = zone_out(new, old, 0.3, True)
    assert abs((drawn == old).double().mean() - 0.3) < 0.01
    assert torch.equal(drawn, torch.where(drawn == old, old, new))
    torch.testing.assert_close(zone_out(new, old, 0.3, False), 0.7 * new + 0.3 * old)
    torch.manual_seed(1)
    kept = kept_share(new, 0.3, True)
    torch.manual_seed(1)
    assert torch.equal(kept * old + (1 - kept) * new, zone_out(new, old, 0.3, True))  # they draw the same
    assert torch.equal(kept_share(new, 0.3, False), torch.full_like(new, 0.3))


def test_nothing_is_drawn_but_in_training_at_a_rate():
    new, old, before = torch.randn(5), torch.randn(5), torch.get_rng_state()
    assert zone_out(new, old, 0.0, True) is new
    zone_out(new, old, 0.5, False)
    kept_share(new, 0.5, False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((1.5, 0, "lstm"), r"zoneout must be a number at least 0 and at most 1; got 1.5"),
        ((True, 0, "lstm"), r"zoneout must be a number at least 0 and at most 1; got True"),
        ((0, -0.1, "lstm"), r"zoneout_c must be a number at least 0 and at most 1; got -0.1"),
        ((0, 0.1, "gru"), r"zoneout_c must be 0 for cell gru, which has no c; got 0.1"),
    ],
)
def test_rates_that_cannot_be_are_refused_by_name(words, message):
    with pytest.raises(InvalidInput, match=message):
        zoneout_rates(*words)


@pytest.mark.parametrize("model", ZONED)
def test_every_model_refuses_a_rate_that_is_none(model):
    for key in RATES[model]:
        with pytest.raises(Exception, match=f"{key} must be a number at least 0 and at most 1; got 1.5"):
            zoned(model, 0.0, **{key: 1.5})


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("model", ZONED)
def test_in_evaluation_every_kernel_that_can_run_keeps_the_laws(model, law):
    for kernel in runnable(zoned(model, 0.3)):
        check_backbone(lambda size, kernel=kernel: zoned(model, 0.3, size, kernel), [law])


@pytest.mark.parametrize("model", ZONED)
def test_in_training_at_rate_one_no_unit_ever_changes(model):
    network = zoned(model, 1.0).train()
    state = with_units_at(VALUE, network, 3)
    for kernel in runnable(network):
        after = units(network.use(kernel)(inputs(), state).state)
        for leaf in after:
            torch.testing.assert_close(leaf, torch.full_like(leaf, VALUE), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("model", "read"), [("dilated", 0), ("skip_in_time", -1), ("phased_lstm", ...), ("hmlstm", ...)]
)
def test_what_a_unit_keeps_is_its_own_h_or_c_of_the_step_that_its_cell_reads(model, read):
    network = zoned(model, 1.0).train()
    state = with_units_at(0.0, network, 3)
    for leaf in units(state):
        leaf.normal_()
    for before, after in zip(units(state), units(network(inputs(steps=1), state).state), strict=True):
        assert torch.equal(*((before, after) if read is ... else (before[:, read], after[:, -1])))


@pytest.mark.parametrize("model", ONE_CELL)
def test_in_evaluation_a_step_of_the_first_level_is_the_mean_of_both(model):
    after = []
    for rate in (0.0, 0.3):
        network = zoned(model, rate).eval()
        after.append(units(network(inputs(steps=1), with_units_at(VALUE, network, 3)).state)[0])
    torch.testing.assert_close(after[1], 0.7 * after[0] + 0.3 * VALUE, rtol=0, atol=1e-12)
    assert (after[0] - VALUE).abs().max() > 0.01


@pytest.mark.parametrize("model", ONE_CELL)
def test_in_training_it_draws_and_about_as_many_units_stay(model):
    torch.manual_seed(0)
    network = zoned(model, 0.5, hidden_size=64).train()
    plain = zoned(model, 0.0, hidden_size=64).train()
    kept = []
    for one in (network, plain):
        (first, *_) = units(one(inputs(40, 1), with_units_at(VALUE, one, 40)).state)
        first = first[:, -1] if first.dim() == 3 else first  # the newest of several
        kept.append((first == VALUE).double().mean())
    assert abs(kept[0] - (1 + kept[1]) / 2) < 0.05


# Where a kernel draws in the order of the reference: at each step, from the input upwards.
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("event_gated", {}),
        ("fast_slow", {}),
        ("leaky", {}),
        ("mtrnn", {}),
        ("phased_lstm", {}),
        ("skip_in_time", {"gates": True}),
        ("skip_rnn", {"num_layers": 2}),
    ],
)
def test_with_one_seed_kernels_that_draw_in_one_order_agree_in_training(model, changes):
    found = []
    for kernel in ("hoisted", "reference"):
        network = zoned(model, 0.5, kernel=kernel, **changes).train()
        torch.manual_seed(3)
        found.append([*(output := network(inputs())).levels, *units(output.state)])
    torch.testing.assert_close(*found, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kernel", ["scan", "reference"])
def test_a_linear_recurrence_keeps_units_as_a_loop_over_its_steps_would(kernel, monkeypatch):
    masks = (torch.rand(3, 7, 13, generator=torch.Generator().manual_seed(2)) < 0.5).double()
    left = iter(masks.unbind(1))
    monkeypatch.setattr(
        "multiscale.backbones.linear_rnn.kept_share",
        lambda like, rate, training: masks if like.dim() == 3 else next(left),
    )
    network, plain = (zoned("min_gru", rate, kernel=kernel, num_layers=1).train() for rate in (0.5, 0.0))
    found, x = network(inputs()).levels[0], inputs()
    h = torch.zeros(3, 13, dtype=torch.float64)
    for t, mask in enumerate(masks.unbind(1)):
        h = torch.where(mask > 0, h, plain.step(x[:, t], (h,))[0][0])
        torch.testing.assert_close(found[:, t], h, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("model", "kernel", "why"),
    [
        ("chunking", "fused", "torch's fused layers have no zoneout"),
        ("dilated", "folded", "torch's fused layers have no zoneout"),
        ("history_compressor", "fused", "torch's fused layers have no zoneout"),
        ("stacked_lstm", "fused", "torch's fused layers have no zoneout"),
        ("hmlstm_paper", "native", "the whole-sequence kernels have no zoneout"),
        ("hmlstm_paper", "fused", "the whole-sequence kernels have no zoneout"),
    ],
)
def test_a_kernel_that_cannot_says_why(model, kernel, why):
    for alone in RATES[model]:
        with pytest.raises(InvalidInput, match=f"kernel '{kernel}' of .* cannot run here: {why}"):
            zoned(model, 0.0, kernel=kernel, **{alone: 0.1})
    assert zoned(model, 0.1).kernel == "reference"


def test_an_hmlstm_copies_exactly_and_does_not_flush_a_unit_that_keeps_its_value():
    network = zoned("hmlstm_paper", 0.5).train()
    h, c, z = with_units_at(VALUE, network, 64)
    torch.manual_seed(1)
    flushed = network(inputs(64, 1), (h, c, tuple(torch.ones_like(part) for part in z))).state
    copied = network(inputs(64, 1), (h, c, z), trace=True)
    still = copied.trace.update[:, 0, -1] == 0
    assert still.any()
    for before, parts, after in ((h, flushed[0], copied.state[0]), (c, flushed[1], copied.state[1])):
        assert abs((parts[0] == before[0]).double().mean() - 0.5) < 0.05
        assert torch.equal(after[-1][still], before[-1][still])


def test_every_model_starts_without():
    assert all(OmegaConf.select(model_config(model), key) == 0 for model in ZONED for key in RATES[model])
