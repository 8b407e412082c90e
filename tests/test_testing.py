"""The laws go red where a backbone breaks them, and serve a package that is not ours."""

import random

import pytest
import torch
from torch import nn

from multiscale import testing
from multiscale.backbones.base import Backbone, StepTrace, fold
from multiscale.checks import InvalidInput
from multiscale.testing import LAWS, builder, check_backbone, laws
from tests.conftest import backbone


class Lawful(Backbone):
    """Two leaky levels of odd sizes, neither of which a YAML could change, with a kernel."""

    def __init__(self, input_size: int) -> None:
        super().__init__(input_size, (3, 70))
        self.mix = nn.Linear(input_size + 73, 73)

    def initial_state(self, batch_size, device, dtype):
        return torch.zeros(batch_size, 73, device=device, dtype=dtype)

    def step(self, x_t, state):
        h = 0.5 * state + 0.5 * torch.tanh(self.mix(torch.cat([x_t, state], 1)))
        return h.split(self.level_sizes, 1), h, StepTrace(torch.full_like(h[:, :2], 0.5))

    def kernels(self, x):
        return {"quick": None, "reference": None}

    def fast(self, kernel, x, state, trace):
        return fold(self, x, state, trace)


class WrongSizes(Lawful):
    def step(self, x_t, state):
        levels, state, trace = super().step(x_t, state)
        return levels[::-1], state, trace


class ReadsAhead(Lawful):
    def fast(self, kernel, x, state, trace):
        return fold(self, x + x.mean(1, keepdim=True), state, trace)


class ReadsNothing(Lawful):
    def step(self, x_t, state):
        return super().step(0 * x_t, state)


class OtherKernel(Lawful):
    def fast(self, kernel, x, state, trace):
        levels, state, steps = fold(self, x, state, trace)
        return tuple(level * 1.000001 for level in levels), state, steps


class OtherUpdates(Lawful):
    def fast(self, kernel, x, state, trace):
        levels, state, steps = fold(self, x, state, True)
        return levels, state, StepTrace(steps.update * 0.999) if trace else None


class OtherStepper(Lawful):
    def stepper(self):
        return lambda x_t, state: self.step(1.000001 * x_t, state)


class MoreTrace(Lawful):
    def stepper(self):
        def step(x_t, state):
            levels, state, trace = self.step(x_t, state)
            return levels, state, StepTrace(trace.update, boundary=trace.update)

        return step


class ForgetsTheState(Lawful):
    def fast(self, kernel, x, state, trace):
        return fold(self, x, 0 * state, trace)


class CutsTheGradient(Lawful):
    def fast(self, kernel, x, state, trace):
        return fold(self, x, state.detach(), trace)


class BeginsTogether(Lawful):
    def fast(self, kernel, x, state, trace):
        return fold(self, x, state if state[0].any() else 0 * state, trace)


class SeesItsBatch(Lawful):
    def step(self, x_t, state):
        return super().step(x_t - x_t.mean(0), state)


class TraceChanges(Lawful):
    def fast(self, kernel, x, state, trace):
        return fold(self, x * (1 + 1e-12 * trace), state, trace)


class UpdatesTooMuch(Lawful):
    def step(self, x_t, state):
        levels, state, trace = super().step(x_t, state)
        return levels, state, StepTrace(trace.update * 3)


class NeverUpdates(Lawful):
    def step(self, x_t, state):
        levels, state, trace = super().step(x_t, state)
        return levels, state, StepTrace(trace.update * 0)


class SoftBoundary(Lawful):
    def step(self, x_t, state):
        levels, state, trace = super().step(x_t, state)
        return levels, state, StepTrace(trace.update, boundary=trace.update)


class OneName(Lawful):
    level_names = ("level", "level")


class OtherProbability(Lawful):
    def step(self, x_t, state):
        levels, state, trace = super().step(x_t, state)
        return levels, state, StepTrace(trace.update, boundary=0 * trace.update, probability=0 * trace.update + 0.7)


class Unused(Lawful):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.spare = nn.Parameter(torch.zeros(1))


class KeptApart(Lawful):
    """A weight that the state_dict does not know."""

    def __init__(self, input_size):
        super().__init__(input_size)
        self.apart = torch.randn(()).item()

    def step(self, x_t, state):
        return super().step(x_t * self.apart, state)


class AnnealedApart(Lawful):
    slope = 1.0

    def anneal(self, epoch):
        self.slope = 1 + epoch

    def step(self, x_t, state):
        return super().step(x_t * self.slope, state)


class RandomInEvaluation(Lawful):
    def step(self, x_t, state):
        return super().step(x_t * torch.rand(()), state)


class OtherGenerator(Lawful):
    def step(self, x_t, state):
        return super().step(x_t * (random.random() if self.training else 1), state)


class Bonus(Lawful):
    def penalty(self):
        return self.mix.bias.new_full((), -1.0)


class LongPenalty(Lawful):
    def penalty(self):
        return self.mix.bias.square()


class ShortState(Lawful):
    def step(self, x_t, state):
        h = torch.tanh(self.mix(torch.cat([x_t, state], 1)))
        return h.split(self.level_sizes, 1), h, StepTrace(torch.ones_like(h[:, :2]))


class ShortClock(Lawful):
    def step(self, x_t, state):
        levels, h, _ = super().step(x_t, state)
        clock = torch.tanh(nn.functional.linear(self.mix.bias[None, :4], self.mix.weight[:2, :4])).square()
        return levels, h, StepTrace(clock.expand(len(h), 2).detach())


class WritesToTheState(Lawful):
    def step(self, x_t, state):
        levels, h, trace = super().step(x_t, state)
        state.mul_(0.5)
        return levels, h, trace


class BreaksAlone(Lawful):
    def step(self, x_t, state):
        levels, h, trace = super().step(x_t / (len(x_t) > 1), state)
        return levels, h, trace


class NoReference(Lawful):
    def kernels(self, x):
        return {"reference": None, "quick": None}


class OwnForward(Lawful):
    def forward(self, x, state=None, *, trace=False):
        return super().forward(x[:, -7:, :5] if x.dim() == 3 and x.size(1) else torch.zeros(3, 7, 5).double())


BROKEN = [  # who breaks which law
    (OwnForward, testing.nothing_but_hooks_is_overridden),
    (OwnForward, testing.a_wrong_input_is_refused_with_its_shape),
    (NoReference, testing.the_reference_can_always_run),
    (WrongSizes, testing.levels_have_their_sizes),
    (ReadsAhead, testing.outputs_do_not_depend_on_later_inputs),
    (ReadsNothing, testing.outputs_do_not_depend_on_later_inputs),
    (OtherKernel, testing.forward_is_the_fold_of_step),
    (OtherUpdates, testing.forward_is_the_fold_of_step),
    (OtherStepper, testing.a_stream_is_forward_one_step_at_a_time),
    (MoreTrace, testing.a_stream_is_forward_one_step_at_a_time),
    (ForgetsTheState, testing.a_sequence_may_be_cut_anywhere),
    (CutsTheGradient, testing.a_sequence_may_be_cut_anywhere),
    (BeginsTogether, testing.a_reset_begins_a_sequence_anew),
    (SeesItsBatch, testing.a_sample_does_not_see_its_batch),
    (TraceChanges, testing.asking_for_the_trace_changes_nothing),
    (UpdatesTooMuch, testing.the_trace_keeps_its_ranges),
    (NeverUpdates, testing.the_trace_keeps_its_ranges),
    (SoftBoundary, testing.the_trace_keeps_its_ranges),
    (OneName, testing.the_trace_keeps_its_ranges),
    (OtherProbability, testing.a_probability_is_what_the_boundary_was_decided_from),
    (Unused, testing.every_parameter_gets_a_gradient),
    (KeptApart, testing.the_state_dict_is_the_whole_network),
    (AnnealedApart, testing.the_state_dict_is_the_whole_network),
    (RandomInEvaluation, testing.evaluation_is_deterministic_and_training_obeys_the_seed),
    (OtherGenerator, testing.evaluation_is_deterministic_and_training_obeys_the_seed),
    (Bonus, testing.the_penalty_is_a_finite_scalar),
    (LongPenalty, testing.the_penalty_is_a_finite_scalar),
    (ShortState, testing.mixed_precision_keeps_the_state_long_and_clocks_exact),
    (ShortClock, testing.mixed_precision_keeps_the_state_long_and_clocks_exact),
    (WritesToTheState, testing.odd_sizes_work_and_the_given_state_is_not_written_to),
    (BreaksAlone, testing.odd_sizes_work_and_the_given_state_is_not_written_to),
]


@pytest.mark.parametrize(("broken", "law"), BROKEN, ids=[broken.__name__ for broken, _ in BROKEN])
def test_a_law_goes_red_where_it_is_broken_and_says_what_it_is(broken, law):
    with pytest.raises(AssertionError) as told:
        check_backbone(broken, [law])
    assert told.value.__notes__ == [f"The law {law.__name__}: {law.__doc__}"]


def test_every_law_is_seen_to_go_red_and_says_what_it_is():
    assert {law for _, law in BROKEN} == set(LAWS)
    public = [
        value
        for name, value in vars(testing).items()
        if getattr(value, "__annotations__", {}).keys() == {"make", "return"}
    ]
    assert set(public) == set(LAWS)
    assert all(law.__doc__ for law in LAWS)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_lawful_backbone_keeps_every_law(law):
    law(Lawful)


def test_a_backbone_is_held_to_every_law_at_once():
    with pytest.raises(AssertionError, match="no level is ever updated"):
        check_backbone(NeverUpdates)
    check_backbone(Lawful)


test_laws_of_what_is_built = laws(Lawful)
test_laws_of_a_model_of_the_command_line = laws("clockwork", "model.hidden_size=9", "model.periods=[1,3]")


def test_a_model_that_there_is_not_is_the_users_mistake():
    with pytest.raises(InvalidInput, match=r"model must be one of .*; got 'leeky'"):
        builder("leeky")(5)


def test_the_model_of_a_test_takes_any_choice_and_no_width(monkeypatch):
    assert backbone("stacked_lstm").level_sizes == (13, 13, 13)
    monkeypatch.setattr(
        "tests.conftest.jobs", lambda words: [type("Config", (), {"model": {"_target_": f"{__name__}.Lawful"}})]
    )
    assert backbone("lawful", kernel="reference").level_sizes == (3, 70)
