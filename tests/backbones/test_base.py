"""What the base class promises: one choice of the kernel, which is the one that runs, and nothing overridden."""

import inspect
import logging
import pkgutil
from importlib import import_module

import pytest
import torch
from torch import nn

from multiscale import backbones
from multiscale.backbones import base, clockwork, dilated, hard_clock, hmlstm, learned_clock, stacked
from multiscale.backbones.base import Backbone, StepTrace
from multiscale.checks import InvalidInput
from multiscale.kernels import clocked
from multiscale.kernels.hmlstm import gates, native, triton_loop
from multiscale.nn.clocks.pulse import PulseClock
from tests.conftest import backbone

HOOKS = {
    *("level_names", "detecting", "penalty", "parameter_groups", "measures", "products", "anneal"),
    *("matrices", "held", "exposed", "kernels", "fast", "idle_weights", "observes", "observe", "aligns", "align"),
    *("stepper", "extra_repr"),
}
for module in pkgutil.iter_modules(backbones.__path__):
    import_module(f"{backbones.__name__}.{module.name}")
SHIPPED = [kind for kind in Backbone.__subclasses__() if kind.__module__.startswith("multiscale.")]


def methods(kind: type) -> dict[str, object]:
    """Those that a class defines itself, properties as their getter."""
    own = {name: value.fget if isinstance(value, property) else value for name, value in vars(kind).items()}
    return {name: value for name, value in own.items() if inspect.isfunction(value) and name != "__init__"}


def test_every_method_is_abstract_final_or_a_hook():
    kinds = {
        name: "abstract" if getattr(method, "__isabstractmethod__", False)
        else "final" if getattr(method, "__final__", False)
        else "hook"
        for name, method in methods(Backbone).items()
    }  # fmt: skip
    assert {name for name, kind in kinds.items() if kind == "abstract"} == {"initial_state", "step"}
    assert {name for name, kind in kinds.items() if kind == "hook"} == HOOKS
    assert {"forward", "use", "kernel"} <= {name for name, kind in kinds.items() if kind == "final"}


@pytest.mark.parametrize("kind", SHIPPED, ids=lambda kind: kind.__name__)
def test_a_backbone_overrides_only_what_is_abstract_or_a_hook_and_says_what_its_step_is(kind):
    assert methods(kind).keys() & methods(Backbone).keys() <= HOOKS | {"initial_state", "step"}
    assert kind.__bases__ == (Backbone,)
    assert kind.step.__doc__


# One choice.


def learned() -> learned_clock.LearnedClockRNN:
    return learned_clock.LearnedClockRNN(3, 6, PulseClock(2, 4))


PERIODS = {"periods": [1, 2], "hidden_size": 6}
RUNS = [  # what is made, its kernel, and what that calls
    (lambda: hmlstm.HMLSTM(3, 4), "native", (native, "multiplies")),
    (lambda: hmlstm.HMLSTM(3, 4), "triton", (triton_loop.Launched, "forward")),
    (lambda: hmlstm.HMLSTM(3, 4), "fused", (gates, "forward")),
    (lambda: hmlstm.HMLSTM(3, 4), "reference", (hmlstm.HMLSTMLayer, "forward")),
    (lambda: clockwork.ClockworkRNN(3, **PERIODS), "native", (clockwork.cascades, "recur")),
    (lambda: clockwork.ClockworkRNN(3, **PERIODS), "cascade", (clockwork.cascades.TanhScan, "apply")),
    (lambda: hard_clock.HardClockRNN(3, 4, [1, 2], None, "none"), "native", (hard_clock.cascades, "recur")),
    (lambda: hard_clock.HardClockRNN(3, 4, [1, 2], None, "none"), "cascade", (hard_clock.cascades.TanhScan, "apply")),
    (lambda: hard_clock.HardClockRNN(3, 4, [1, 2]), "skipping", (hard_clock.clocked, "skipping")),
    (learned, "native", (clocked, "recur")),
    (learned, "hoisted", (torch, "lerp")),
    (lambda: stacked.StackedRNN(3, 4), "fused", (nn.LSTM, "forward")),
    (lambda: stacked.StackedRNN(3, 4, cell="lstm", layer_norm=True), "native", (stacked.layer_norm_lstm, "run")),
    (lambda: dilated.DilatedRNN(3, 4, [1, 2]), "folded", (dilated, "_take_turns")),
    (lambda: dilated.DilatedRNN(3, 4, [1, 2]), "reference", (dilated.DilatedRNN, "step")),
    (lambda: clockwork.ClockworkRNN(3, **PERIODS), "skipping", (clockwork.clocked, "skipping")),
    (lambda: clockwork.ClockworkRNN(3, **PERIODS), "hoisted", (clockwork, "fold_steps")),
    (lambda: clockwork.ClockworkRNN(3, **PERIODS), "reference", (clockwork.ClockworkRNN, "step")),
    (lambda: hard_clock.HardClockRNN(3, 4, [1, 2]), "reference", (hard_clock.HardClockRNN, "step")),
    (
        lambda: learned_clock.LearnedClockRNN(3, 6, PulseClock(2, 4)),
        "reference",
        (learned_clock.LearnedClockRNN, "step"),
    ),
    (lambda: stacked.StackedRNN(3, 4), "reference", (stacked.StackedRNN, "step")),
]


@pytest.mark.parametrize(("make", "kernel", "function"), RUNS, ids=[f"{r[2][0].__name__}-{r[1]}" for r in RUNS])
def test_the_kernel_that_is_named_is_the_one_that_runs(make, kernel, function, monkeypatch):
    network, x = make(), torch.randn(2, 5, 3)
    if network.kernels(x)[kernel] is not None:
        pytest.skip(f"{kernel}: {network.kernels(x)[kernel]}")
    calls = []
    original = getattr(*function)

    def spy(*args, **kwargs):
        calls.append(function)
        return original(*args, **kwargs)

    monkeypatch.setattr(*function, spy)
    for other in network.use("reference").kernels(x):
        if network.kernels(x)[other] is None:
            calls.clear()
            assert network.use(other).kernel == other
            network(x)
            assert bool(calls) == (other == kernel)
            assert network.kernel == other


def test_every_kernel_of_these_backbones_was_seen_to_run():
    seen, there = set(), set()
    for make, kernel, _ in RUNS:
        network = make()
        seen.add((type(network), kernel))
        there |= {(type(network), name) for name in network.kernels(None)}
    assert seen == there


class Chosen(Backbone):
    """One that has a kernel for even numbers of steps, and a better one that is nowhere."""

    def __init__(self, kernel: str = "auto") -> None:
        super().__init__(2, (2,), kernel)
        self.weight = nn.Parameter(torch.ones(()))
        self.ran: list[str] = []

    def initial_state(self, batch_size, device, dtype):
        return torch.zeros(batch_size, 2, device=device, dtype=dtype)

    def step(self, x_t, state):
        h = state + self.weight * x_t
        return (h,), h, StepTrace(torch.ones_like(h[:, :1]))

    def kernels(self, x):
        odd = None if x is None or x.size(1) % 2 == 0 else f"it takes pairs of steps; got {x.size(1)}"
        return {"best": "it was never written", "pairs": odd, "reference": None}

    def fast(self, kernel, x, state, trace):
        self.ran.append(kernel)
        return base.fold(self, x, state, trace)


X = torch.ones(1, 4, 2)


@pytest.fixture
def said(caplog):
    """What was logged, each once."""
    base._log_choice.cache_clear()
    caplog.set_level(logging.INFO)
    yield lambda: [(record.levelname, record.getMessage()) for record in caplog.records]
    base._log_choice.cache_clear()


def test_auto_takes_the_best_that_can_run_on_the_tensor_at_hand_and_warns_once_of_a_better_one(said):
    network = Chosen()
    assert (network.kernel, network.ran) == ("pairs", [])
    for x, kernel in ((X, "pairs"), (X, "pairs"), (X[:, :3], "reference"), (X[:, :3], "reference"), (X, "pairs")):
        network(x)
        assert network.kernel == kernel
    assert network.ran == ["pairs"] * 3
    never = "best: it was never written"
    assert said() == [
        ("WARNING", f"Chosen: kernel pairs ({never})"),
        ("WARNING", f"Chosen: kernel reference ({never}; pairs: it takes pairs of steps; got 3)"),
    ]


def test_the_best_kernel_is_no_news(said):
    stacked.StackedRNN(3, 4)(torch.randn(1, 2, 3))
    assert said() == [("INFO", "StackedRNN: kernel fused")]


def test_a_named_kernel_runs_or_is_refused_at_the_call_and_says_nothing(said):
    network = Chosen("pairs")
    network(X)
    with pytest.raises(InvalidInput, match="kernel 'pairs' of Chosen cannot run here: it takes pairs of steps; got 3"):
        network(X[:, :3])
    assert (network.kernel, network.ran, said()) == ("pairs", ["pairs"], [])


@pytest.mark.parametrize("choose", [Chosen, lambda kernel: Chosen().use(kernel)])
def test_a_kernel_that_is_unknown_or_can_never_run_is_refused_at_once(choose):
    with pytest.raises(InvalidInput, match="kernel must be one of auto, best, pairs, reference; got 'warp'"):
        choose("warp")
    with pytest.raises(InvalidInput, match="kernel 'best' of Chosen cannot run here: it was never written"):
        choose("best")


def test_a_refused_choice_leaves_the_one_before():
    network = Chosen("reference")
    with pytest.raises(InvalidInput):
        network.use("best")
    assert network.kernel == "reference"


def test_the_choice_can_be_changed_and_is_no_part_of_the_weights():
    network = Chosen()
    network(X)
    assert network.use("reference").kernel == "reference"
    network(X)
    assert network.ran == ["pairs"]
    assert network.state_dict().keys() == {"weight"}
    assert network.use("auto").kernel == "pairs"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("make", [run[0] for run in RUNS if run[1] == "reference"])
def test_what_ran_is_told_for_parameters_of_every_type(make, dtype):
    network = make().to(dtype)
    network(torch.randn(2, 4, 3, dtype=dtype))
    available = network.kernels(torch.randn(2, 4, 3, dtype=dtype))
    assert network.kernel == next(name for name, reason in available.items() if reason is None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_gates_are_torchs_where_triton_cannot_run_and_a_warning_says_so(said):
    network = hmlstm.HMLSTM(3, 4, layer_norm=True).cuda()
    network(torch.randn(2, 4, 3).cuda())
    assert network.kernel == "fused"
    assert said()[0][0] == "WARNING"


# The state that is carried on.


@pytest.mark.parametrize("carry", [0, 1, 4, 7])
@pytest.mark.parametrize("model", ["stacked_lstm", "skip_rnn", "hmlstm"])  # one that observes, one that aligns too
def test_the_state_may_be_asked_for_in_the_middle_and_all_else_is_of_the_whole_sequence(model, carry):
    x = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    given = backbone(model)(2 * x).state
    whole, cut = (backbone(model)(x, given, trace=True, carry=steps) for steps in (None, carry))
    middle = backbone(model)(x[:, :carry], given).state if carry else given
    found, wanted = (output._replace(state=middle, trace=output.trace._replace(names=())) for output in (cut, whole))
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    torch.testing.assert_close(cut.state, middle, atol=1e-12, rtol=0)


def test_the_state_that_is_carried_on_is_that_before_the_resets_of_the_next_step():
    network, x, reset = backbone("clockwork"), torch.randn(2, 7, 5, dtype=torch.float64), torch.zeros(2, 7).bool()
    reset[0, 2] = reset[1, 4] = True
    first = network(x, carry=4, reset=reset)
    torch.testing.assert_close(first.state, network(x[:, :4], reset=reset[:, :4]).state)
    second = network(x[:, 4:], first.state, reset=reset[:, 4:])
    torch.testing.assert_close(tuple(level[:, 4:] for level in first.levels), second.levels)
    assert first.state[-1].tolist() == [2, 4]  # steps since each row began


@pytest.mark.parametrize(
    ("model", "options"),
    [("hmlstm", {"boundary_source": "preact", "nested": False}), ("history_compressor", {}), ("chunking", {})],
)
def test_what_is_observed_of_a_stream_with_resets_is_what_is_of_its_documents(model, options):
    x, reset = torch.randn(3, 8, 5, dtype=torch.float64), torch.zeros(3, 8).bool()
    reset[:, [0, 4]] = True
    stream, apart = (backbone(model, **options).train() for _ in range(2))
    given = stream.eval()(2 * x).state
    found = stream.train()(x, given, reset=reset).penalty
    wanted = apart(torch.cat([x[:, :4], x[:, 4:]])).penalty
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)
    torch.testing.assert_close(stream.state_dict(), apart.state_dict(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (torch.zeros(2, 3), r"reset must be torch.bool \[2, 3\], one for each step of x; got torch.float32 \[2, 3\]"),
        (torch.zeros(3, 2, dtype=torch.bool), r"got torch.bool \[3, 2\]"),
        (torch.zeros(2, 3, dtype=torch.bool, device="meta"), "reset must be on the device of x, cpu; got meta"),
    ],
)
def test_a_mask_of_other_steps_is_refused(wrong, told):
    with pytest.raises(InvalidInput, match=told):
        backbone("rnn")(torch.zeros(2, 3, 5, dtype=torch.float64), reset=wrong)
