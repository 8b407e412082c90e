"""The laws of a backbone, as functions, so that whoever writes one can hold it to them.

In a test file, all of them, for the model of a YAML or for whatever builds a backbone::

    test_laws = multiscale.testing.laws("toy", config_dir="conf")
    test_laws = multiscale.testing.laws(lambda input_size: Toy(input_size, hidden_size=13))

A law takes what builds the backbone of an input size, and raises an ``AssertionError`` that says what was broken.
Networks are compared in float64, on the CPU, and in evaluation, where nothing is drawn; B is 3, T is 7, D is 5.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from multiscale.backbones.base import Backbone, Folded, Levels, State, StepTrace, detach, fold, fold_steps
from multiscale.backbones.stream import Stream
from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs

Make: TypeAlias = Callable[[int], Backbone]
"""Input size -> a new backbone."""

Law: TypeAlias = Callable[[Make], None]

B, T, D = 3, 7, 5


def laws(model: str | Make, *words: str, config_dir: str | None = None) -> Callable[..., None]:
    """A test for pytest, which holds a backbone to every law with its best kernel and with the reference.

    Args:
        model: a choice of the group ``model``, or what builds the backbone of an input size.
        words: of the command line, to change what the YAML says, as ``model.hidden_size=13``.
        config_dir: a folder with YAML of one's own, as of ``--config-dir``.
    """
    import pytest

    make = builder(model, *words, config_dir=config_dir) if isinstance(model, str) else model

    @pytest.mark.parametrize("kernel", ["auto", "reference"])
    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    def test_laws(law: Law, kernel: str) -> None:
        check_backbone(lambda input_size: make(input_size).use(kernel), [law])

    return test_laws


def builder(model: str, *words: str, config_dir: str | None = None) -> Make:
    """What builds the backbone that ``model=<model>`` and more ``words`` name on the command line.

    Raises:
        InvalidInput: when it is called, for what the command line does not take.
    """

    @cache
    def config() -> DictConfig:
        return jobs([f"model={model}", *words], config_dir)[0].model

    return lambda input_size: instantiate(config(), input_size=input_size)


def check_backbone(make: Make, laws: Iterable[Law] | None = None) -> None:
    """Hold a backbone to ``laws``, all if None.

    Raises:
        AssertionError: for the first that it breaks.
    """
    for law in LAWS if laws is None else laws:
        try:
            law(make)
        except AssertionError as error:
            error.add_note(f"The law {law.__name__}: {law.__doc__}")
            raise


# The laws.


def nothing_but_hooks_is_overridden(make: Make) -> None:
    """A backbone has its own ``initial_state``, ``step`` and hooks; how it runs is the base class's."""
    for kind in type(make(D)).__mro__:
        if kind is Backbone:
            return
        for name, value in vars(kind).items():
            given = vars(Backbone).get(name)
            given = given.fget if isinstance(given, property) else given
            _require(not getattr(given, "__final__", False), f"{kind.__name__} overrides {name}, which is final", value)


def the_reference_can_always_run(make: Make) -> None:
    """The last of the kernels is ``reference``, which nothing keeps from running; the one that ran is told."""
    network = _network(make)
    for x in (None, _inputs(), _inputs().float()):
        kernels = network.kernels(x)
        _require([*kernels.items()][-1:] == [("reference", None)], "the last kernel must be reference: None", kernels)
    network(_inputs())
    _require(network.kernel in network.kernels(None), "kernel must name one of kernels()", network.kernel)


def levels_have_their_sizes(make: Make) -> None:
    """The levels are L of [B, T, H_l], fastest first."""
    network = _network(make)
    shapes = [tuple(level.shape) for level in network(_inputs()).levels]
    _require(shapes == [(B, T, n) for n in network.level_sizes], f"level_sizes are {network.level_sizes}", shapes)


def outputs_do_not_depend_on_later_inputs(make: Make) -> None:
    """No gradient goes from the outputs at t to inputs after t, and some to those before."""
    network, x = _network(make), _inputs().requires_grad_()
    levels, reads = network(x).levels, False
    for t in range(T):
        now = torch.stack([level[:, t].sum() for level in levels]).sum()
        gradient = _gradients([x], now)[0]
        _require(not gradient[:, t + 1 :].any(), f"the outputs at step {t} read inputs after it", gradient)
        reads |= bool(gradient.any())
    _require(reads, "no output reads any input", x.shape)


def forward_is_the_fold_of_step(make: Make) -> None:
    """Whatever kernel runs, outputs, state, update and gradients are those of ``step``, one after the other."""
    network, x = _network(make), _inputs().requires_grad_()
    state = _used_state(network)
    output = network(x, state, trace=True)
    levels, last, steps = fold(network, x, state, True)
    assert steps is not None
    _same([*output.levels, *_leaves(output.state)], [*levels, *_leaves(last)], 1e-11)
    _same([output.trace.update], [steps.update], 1e-7, 1e-7)
    ours = _gradients([x, *network.parameters()], _weighted_sum(output.levels) + output.penalty)
    theirs = _gradients([x, *network.parameters()], _weighted_sum(levels) + network.penalty())
    _same(ours, theirs, 1e-10, 1e-9)


def a_stream_is_forward_one_step_at_a_time(make: Make) -> None:
    """A stream gives the levels, state and trace of the whole sequence, whatever becomes of the network's weights, and
    begins anew when it is asked to; it evaluates, and makes no gradient."""
    for batch in (1, B):
        network, x = _network(make), 3 * _inputs(batch, 40)
        whole = network(x, trace=True)
        stream = network.train().stream(batch)
        for p in network.parameters():
            p.data.mul_(1.5)
        for _ in range(2):
            stream.reset()
            levels, state, steps = _streamed(stream, x)
            _same([*levels, *_leaves(state)], [*whole.levels, *_leaves(whole.state)], 1e-11)
            for name in ("update", "boundary", "probability", "open"):
                told, wanted = getattr(steps, name), getattr(whole.trace, name)
                _require((told is None) == (wanted is None), f"a stream must tell {name} where forward does", told)
                _same([] if told is None else [told], [] if told is None else [wanted], 1e-7)
            _require(not levels[0].requires_grad, "a stream must make no gradient", levels[0].grad_fn)


def a_sequence_may_be_cut_anywhere(make: Make) -> None:
    """[0:T] is [0:k] and then [k:T] from the state between, values and gradients, for every k."""
    network, x = _network(make), _inputs().requires_grad_()
    whole = network(x)
    gradients = _gradients([x, *network.parameters()], _weighted_sum(whole.levels))
    for k in range(1, T):
        first = network(x[:, :k])
        second = network(x[:, k:], first.state)
        joined = [torch.cat(pair, 1) for pair in zip(first.levels, second.levels, strict=True)]
        _same([*joined, *_leaves(second.state)], [*whole.levels, *_leaves(whole.state)], 1e-11)
        _same(_gradients([x, *network.parameters()], _weighted_sum(joined)), gradients, 1e-10, 1e-9)


def a_reset_begins_a_sequence_anew(make: Make) -> None:
    """A stream with resets is the documents between them, each run alone from the initial state, but for the first of a
    row from the state that is given: values, trace and gradients."""
    network, x = _network(make), _inputs().requires_grad_()
    state, reset = _used_state(network), torch.zeros(B, T, dtype=torch.bool)
    for row, step in ((0, 0), (0, 3), (1, 3), (1, 4)):
        reset[row, step] = True
    whole = network(x, state, trace=True, reset=reset)
    rows: list[list[Tensor]] = []
    for b in range(B):
        cuts = sorted({0, T, *reset[b].nonzero()[:, 0].tolist()})
        given = None if reset[b, 0] else _row(state, b)
        alone = []
        for k, (begin, end) in enumerate(pairwise(cuts)):
            alone.append(network(x[b : b + 1, begin:end], None if k else given, trace=True))
        parts = zip(*((*output.levels, output.trace.update) for output in alone), strict=True)
        rows.append([*(torch.cat(part, 1) for part in parts), *_leaves(alone[-1].state)])
    joined = [torch.cat(part) for part in zip(*rows, strict=True)]
    *levels, update = joined[: len(whole.levels) + 1]
    _same([*whole.levels, *_leaves(whole.state)], [*levels, *joined[len(levels) + 1 :]], 1e-11)
    _same([whole.trace.update], [update], 1e-7, 1e-7)
    ours, theirs = (_gradients([x, *network.parameters()], _weighted_sum(found)) for found in (whole.levels, levels))
    _same(ours, theirs, 1e-10, 1e-9)


def a_sample_does_not_see_its_batch(make: Make) -> None:
    """A sample alone gives what it gives in a batch."""
    network, x = _network(make), _inputs()
    together = network(x)
    for b in range(B):
        alone = network(x[b : b + 1])
        found = [part[0] for part in (*alone.levels, *_leaves(alone.state))]
        _same(found, [part[b] for part in (*together.levels, *_leaves(together.state))], 1e-12)


def asking_for_the_trace_changes_nothing(make: Make) -> None:
    """With ``trace=True`` outputs, state and gradients are the same to the last bit."""
    network, x = _network(make), _inputs().requires_grad_()
    plain, traced = network(x), network(x, trace=True)
    _same([*traced.levels, *_leaves(traced.state)], [*plain.levels, *_leaves(plain.state)], 0)
    ours, theirs = (
        _gradients([x, *network.parameters()], _weighted_sum(output.levels) + output.penalty)
        for output in (traced, plain)
    )
    _same(ours, theirs, 0)


def the_trace_keeps_its_ranges(make: Make) -> None:
    """Updates [B, T, L] are in [0, 1], boundaries 0 or 1, every level has its own name, and nothing has gradient."""
    network = _network(make)
    trace, shape = network(3 * _inputs(steps=40), trace=True).trace, (B, 40, len(network.level_sizes))
    _require(trace.update.shape == shape, f"updates must be {shape}", trace.update.shape)
    _require(bool(((trace.update >= 0) & (trace.update <= 1)).all()), "updates must be in [0, 1]", trace.update)
    _require(bool(trace.update.any()), "no level is ever updated", trace.update)
    _require(not trace.update.requires_grad, "the trace has gradient", trace.update)
    _require(len(set(trace.names)) == len(trace.names) == shape[2], "every level needs a name of its own", trace.names)
    if trace.boundary is not None:
        _require(trace.boundary.shape == shape, f"boundaries must be {shape}", trace.boundary.shape)
        hard = (trace.boundary == 0) | (trace.boundary == 1)
        _require(bool(hard.all()), "boundaries must be 0 or 1", trace.boundary)


def a_probability_is_what_the_boundary_was_decided_from(make: Make) -> None:
    """If ``step`` tells the probability of its boundaries, these are where it exceeds 1/2."""
    network, x = _network(make), 3 * _inputs(steps=40)
    steps = fold(network, x, network.initial_state(B, x.device, x.dtype), True)[2]
    if steps is None or steps.probability is None:
        return
    p, boundary = steps.probability, steps.boundary
    _require(bool(((p >= 0) & (p <= 1)).all()), "probabilities must be in [0, 1]", p)
    _require(bool(((p > 0) & (p < 1)).any()), "no probability is between 0 and 1", p)
    _require(boundary is not None and torch.equal(boundary.bool(), p > 0.5), "boundaries must be where p > 1/2", p)


def every_parameter_gets_a_gradient(make: Make) -> None:
    """Every parameter gets a gradient, of zero if need be, at every step, so that several devices need not search."""
    network = _network(make)
    output = network(_inputs(steps=1).requires_grad_())  # else one that trains nothing has no backward pass at all
    (_weighted_sum(output.levels) + output.penalty).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    _require(not without, "parameters without a gradient", without)


def the_state_dict_is_the_whole_network(make: Make) -> None:
    """A network that loads the ``state_dict`` of another, however annealed and trained, computes what it computes."""
    network, other = _network(make), _network(make, seed=1)
    network.anneal(7.5)
    for p in network.parameters():
        p.data.mul_(1.5)
    other.load_state_dict(network.state_dict())
    _same(other(_inputs()).levels, network(_inputs()).levels, 0)


def evaluation_is_deterministic_and_training_obeys_the_seed(make: Make) -> None:
    """Randomness comes from torch's generator, in training; in evaluation there is none."""
    for training, seeds in ((True, (0, 0)), (False, (0, 1))):
        runs = []
        for seed in seeds:
            network = _network(make).train(training)
            torch.manual_seed(seed)
            runs.append(network(_inputs()).levels)
        _same(runs[0], runs[1], 0)


def the_penalty_is_a_finite_scalar(make: Make) -> None:
    """The penalty is a finite number of at least 0, of no dimension."""
    penalty = _network(make)(_inputs()).penalty
    good = penalty.shape == () and bool(penalty.isfinite()) and bool(penalty >= 0)
    _require(good, "the penalty must be a finite scalar of at least 0", penalty)


def mixed_precision_keeps_the_state_long_and_clocks_exact(make: Make) -> None:
    """Under autocast the state keeps its types, and updates that depend on time alone are the same to the last bit."""
    network, x = _network(make).float(), _inputs().float()
    state = network.initial_state(B, x.device, x.dtype)
    exact, elsewhere = (network(inputs, trace=True).trace for inputs in (x, -x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(x, state, trace=True)
        again = network(x, output.state)
    wanted = [leaf.dtype for leaf in _leaves(state)]
    found = [leaf.dtype for leaf in _leaves(again.state)]
    _require(found == wanted, f"the state must stay {wanted}", found)
    if exact.boundary is None and torch.equal(exact.update, elsewhere.update):
        _same([output.trace.update], [exact.update], 0)


def odd_sizes_work_and_the_given_state_is_not_written_to(make: Make) -> None:
    """One sample, one step and odd numbers of both give finite levels and a state of that batch, and leave the state
    that was given as it was."""
    network = _network(make)
    for batch, steps in ((1, 1), (1, 13), (7, 1), (5, 33)):
        state = _used_state(network, batch)
        before = [leaf.clone() for leaf in _leaves(state)]
        output = network(_inputs(batch, steps), state)
        _same(_leaves(state), before, 0)
        _require(all(bool(level.isfinite().all()) for level in output.levels), "levels must be finite", (batch, steps))
        sizes = [leaf.shape[0] for leaf in _leaves(output.state)]
        _require(set(sizes) <= {batch}, f"every part of the state must begin with the batch, {batch}", sizes)


def a_wrong_input_is_refused_with_its_shape(make: Make) -> None:
    """An input that is not [B, T >= 1, D] is an error of the user's that names its shape."""
    network = _network(make)
    for wrong in (torch.zeros(B, D), torch.zeros(B, T, D + 1), torch.zeros(B, 0, D)):
        try:
            network(wrong.double())
        except InvalidInput as error:
            _require(str(list(wrong.shape)) in str(error), "the message must name the shape", error)
        else:
            _require(False, "a wrong input must raise InvalidInput", list(wrong.shape))


LAWS: tuple[Law, ...] = (
    nothing_but_hooks_is_overridden,
    the_reference_can_always_run,
    levels_have_their_sizes,
    outputs_do_not_depend_on_later_inputs,
    forward_is_the_fold_of_step,
    a_stream_is_forward_one_step_at_a_time,
    a_sequence_may_be_cut_anywhere,
    a_reset_begins_a_sequence_anew,
    a_sample_does_not_see_its_batch,
    asking_for_the_trace_changes_nothing,
    the_trace_keeps_its_ranges,
    a_probability_is_what_the_boundary_was_decided_from,
    every_parameter_gets_a_gradient,
    the_state_dict_is_the_whole_network,
    evaluation_is_deterministic_and_training_obeys_the_seed,
    the_penalty_is_a_finite_scalar,
    mixed_precision_keeps_the_state_long_and_clocks_exact,
    odd_sizes_work_and_the_given_state_is_not_written_to,
    a_wrong_input_is_refused_with_its_shape,
)


def _require(holds: bool, rule: str, found: Any) -> None:
    if not holds:
        raise AssertionError(f"{rule}; got {found}.")


def _same(found: Sequence[Tensor], wanted: Sequence[Tensor], absolute: float, relative: float = 0.0) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=relative, atol=absolute)


def _network(make: Make, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return make(D).double().eval()


def _inputs(batch: int = B, steps: int = T) -> Tensor:
    return torch.randn(batch, steps, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _leaves(state: State) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else [leaf for part in state for leaf in _leaves(part)]


def _row(state: State, b: int) -> State:
    """The state of one sequence of a batch."""
    return state[b : b + 1] if isinstance(state, Tensor) else tuple(_row(part, b) for part in state)


def _used_state(network: Backbone, batch: int = B) -> State:
    """A state in the middle of a sequence, not the initial one."""
    with torch.no_grad():
        return detach(network(2 * _inputs(batch, 5)).state)


def _streamed(stream: Stream[State, StepTrace], x: Tensor) -> Folded:
    """What a stream makes of x [B, T, D]."""

    def step(x_t: Tensor, _: State) -> tuple[Levels, State, StepTrace]:
        levels = stream(x_t)
        assert stream.trace is not None
        return levels, stream.state, stream.trace

    return fold_steps(step, x.unbind(1), (), True)


def _weighted_sum(levels: Sequence[Tensor]) -> Tensor:
    """A scalar of all outputs with random weights, so that no gradient cancels."""
    generator = torch.Generator().manual_seed(2)
    sums = [(level * torch.randn(level.shape, generator=generator, dtype=level.dtype)).sum() for level in levels]
    return torch.stack(sums).sum()


def _gradients(tensors: Sequence[Tensor], loss: Tensor) -> list[Tensor]:
    """The gradient in each tensor, of zero where it is not used."""
    found = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]
