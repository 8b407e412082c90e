"""Every task with every backbone: padding changes nothing, losses have their closed forms, reading both ways works."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from multiscale.analysis import excerpt
from multiscale.backbones.base import Trace
from multiscale.backbones.bidirectional import flip
from multiscale.checks import InvalidInput
from multiscale.config.compose import CONF, jobs
from multiscale.data.batch import IGNORE, Batch, last_step, pad
from multiscale.data.facts import BinaryFacts, LabelFacts, NumberFacts, StrokeFacts, TextFacts, WaveFacts
from multiscale.data.module import Passage
from multiscale.training.build import build
from multiscale.training.measure import Measure
from multiscale.training.tally import Tally
from multiscale.training.tasks.text import LanguageModel
from tests.conftest import MODELS

KNOWN = {"source": "here", "sha256": "0"}
MANY = {**KNOWN, "sequences": (9, 9, 9)}
VALUES = {**MANY, "input_size": 3}
FACTS = {
    "language_model": TextFacts(**KNOWN, vocabulary=tuple("abcde"), characters=(9, 9, 9)),
    "sequence_classification": LabelFacts(**VALUES, output_size=4),
    "sequence_classification task.bidirectional=true": LabelFacts(**VALUES, output_size=4),
    "sequence_classification of steps": LabelFacts(**MANY, input_size=5, output_size=4, symbols=True, per_step=True),
    "sequence_regression": NumberFacts(**VALUES, output_size=2),
    "sequence_regression of steps": NumberFacts(**VALUES, output_size=2, per_step=True),
    "multilabel": BinaryFacts(**VALUES, output_size=6, per_step=True),
    "waveform": WaveFacts(**VALUES, output_size=1, per_step=True),
    "handwriting": StrokeFacts(**VALUES, output_size=3, per_step=True, scale=1.0),
}
FACTS = {name: facts for name, facts in FACTS.items() if (CONF / f"task/{name.split()[0]}.yaml").exists()}
SMALL = {name: ["model.hidden_size=24"] for name in MODELS}
LENGTHS = (7, 2, 11, 1)


def module(name: str, model: str = "hmlstm", *words: str):
    task, *changes = name.replace(" of steps", "").split()
    torch.manual_seed(0)
    config = jobs([f"task={task}", f"model={model}", *SMALL[model], *changes, *words])[0]
    return build(config, FACTS[name])


def samples(name: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    facts, generator = FACTS[name], torch.Generator().manual_seed(3)
    made = []
    for length in LENGTHS:
        symbols = isinstance(facts, TextFacts) or facts.symbols
        inputs = torch.randint(5, (length,), generator=generator)
        values = torch.randn(length, 3, generator=generator)
        per_step = (length,) if isinstance(facts, TextFacts) or facts.per_step else ()
        if isinstance(facts, TextFacts | LabelFacts):
            target = torch.randint(4, per_step, generator=generator)
        elif isinstance(facts, BinaryFacts):
            target = (torch.rand(*per_step, 6, generator=generator) > 0.5).float()
        else:
            target = torch.randn(*per_step, facts.output_size, generator=generator)
        if isinstance(facts, StrokeFacts):
            target[:, 2] = (target[:, 2] > 0).float()
        made.append((inputs if symbols else values, target))
    return made


def per_step(name: str) -> bool:
    return isinstance(FACTS[name], TextFacts) or FACTS[name].per_step


def with_rubbish(batch):
    """The same batch with large numbers, or the last symbol, where it is padded."""
    hidden = ~batch.mask if batch.inputs.dim() == 2 else ~batch.mask[..., None]
    return batch._replace(inputs=batch.inputs.masked_fill(hidden, 4 if batch.inputs.dim() == 2 else 50.0))


def test_every_task_file_is_tested():
    assert {name.split()[0] for name in FACTS} == {path.stem for path in (CONF / "task").glob("*.yaml")}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", FACTS)
def test_padding_changes_neither_loss_nor_metrics_nor_gradients_nor_the_last_state(name, model):
    network = module(name, model).eval()
    parts = samples(name)
    batch = with_rubbish(pad(parts, per_step(name)))
    assert not batch.mask.all()
    totals, finals, names = {}, [], list(network.task.measured)
    alone = [torch.zeros_like(p) for p in network.parameters()]
    for part in parts:
        one = pad([part], per_step(name))
        outputs, hidden = network(one.inputs, mask=one.mask)
        measures = network.task.measure(outputs, one)
        for key, measure in measures.items():
            total, weight = totals.get(key, (0, 0))
            totals[key] = total + measure.total.detach(), weight + measure.weight
        for sum_, gradient in zip(alone, gradients(network, measures["loss"].total), strict=True):
            sum_ += gradient
        finals.append([level[:, -1] for level in hidden.levels])
    outputs, hidden = network(batch.inputs, mask=batch.mask, trace=True)
    measures = network.task.measure(outputs, batch)
    assert list(measures) == names
    for key in names:
        torch.testing.assert_close(measures[key].total, totals[key][0], rtol=1e-5, atol=1e-5)
        assert measures[key].weight == pytest.approx(float(totals[key][1]))
    for row, final in enumerate(finals):
        for level, expected in zip(hidden.levels, final, strict=True):
            torch.testing.assert_close(last_step(level, batch.mask)[row, 0], expected[0], rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(gradients(network, measures["loss"].total), alone, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def gradients(network, loss):
    found = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(network.parameters(), found, strict=True)]


@pytest.mark.parametrize("name", FACTS)
def test_a_task_reports_what_it_says_and_monitors_one_of_it(name):
    network = module(name)
    batch = pad(samples(name), per_step(name))
    measures = network.task.measure(network(batch.inputs, mask=batch.mask)[0], batch)
    metrics = network.task.metrics({key: measure.mean.detach() for key, measure in measures.items()})
    assert tuple(metrics) == network.task.reported
    assert all(math.isfinite(value) for value in metrics.values())
    with pytest.raises(InvalidInput, match=r"monitor must be one of val/.*got 'val/nonsense'"):
        module(name, "hmlstm", "task.monitor=val/nonsense")


def test_a_flipped_sequence_is_its_real_steps_in_reverse():
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    sequence = torch.tensor([[1, 2, 3, 9], [4, 5, 8, 7]])
    assert flip(sequence, mask).tolist() == [[3, 2, 1, 9], [5, 4, 8, 7]]
    assert torch.equal(flip(flip(sequence, mask), mask), sequence)


def test_integer_targets_are_padded_as_ignored_and_inputs_with_zeros():
    batch = pad([(torch.ones(3, 2), torch.tensor([1, 2, 3])), (torch.ones(1, 2), torch.tensor([4]))], True)
    assert batch.targets.tolist() == [[1, 2, 3], [4, IGNORE, IGNORE]]
    assert batch.inputs.sum() == 8
    assert batch.mask.sum(1).tolist() == [3, 1]


def test_reading_both_ways_has_read_the_first_step_last():
    network = module("sequence_classification task.bidirectional=true", "stacked_lstm").eval()
    x = torch.randn(1, 9, 3, generator=torch.Generator().manual_seed(0))
    forwards, backwards = network.backbone(x).levels[-1], network.reverse(x.flip(1)).levels[-1]
    expected = network.head(
        [
            torch.cat([f, b], -1)[:, -1:]
            for f, b in zip(network.backbone(x).levels, network.reverse(x.flip(1)).levels, strict=True)
        ]
    )
    assert not torch.equal(forwards, backwards)
    torch.testing.assert_close(network(x)[0], expected)
    trace = network(x, trace=True)[1].trace
    assert (
        trace.names
        == ("layer 1", "layer 2", "layer 3", "layer 1, backwards", "layer 2, backwards", "layer 3, backwards")
        == network.level_names
    )
    assert trace.update.shape == (1, 9, 6)


def test_the_trace_of_the_backward_reading_is_told_in_the_order_of_time():
    network = module("sequence_classification task.bidirectional=true", "hmlstm").eval()
    x = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0)) * 3
    mask = torch.arange(20) < torch.tensor([[20], [13]])
    trace = network(x, mask=mask, trace=True)[1].trace
    alone = network.reverse(x[1:, :13].flip(1), trace=True).trace
    assert alone.boundary.any()
    assert torch.equal(trace.boundary[1, :13, 3:], alone.boundary[0].flip(0))


def test_an_excerpt_of_a_reading_both_ways_tells_both_in_the_order_of_time():
    network = module("sequence_classification task.bidirectional=true", "hmlstm").eval()
    x = torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(0)) * 3
    data = SimpleNamespace(
        passage=lambda steps: Passage(x, ("",) * 20), true_periods=lambda: (), segmentations=lambda split: {}
    )
    shown = excerpt.read(network, data)
    trace = network(x, trace=True)[1].trace
    assert shown.names == network.level_names
    assert torch.equal(shown.boundary, trace.boundary[0])
    assert torch.equal(shown.boundary.bool(), shown.probability > 0.5)
    assert torch.equal(shown.update, trace.update[0])


def test_reading_both_ways_is_refused_for_a_class_at_every_step():
    network = "sequence_classification of steps"
    with pytest.raises(InvalidInput, match="bidirectional must be false"):
        module(network, "hmlstm", "task.bidirectional=true")


def test_a_task_on_data_of_another_kind_is_refused_with_both_kinds():
    config = jobs(["task=multilabel"])[0]
    with pytest.raises(InvalidInput, match=r"task must be one for data of kind 'text', which here is; got Multilabel"):
        build(config, FACTS["language_model"])


def test_accuracy_leaves_blanks_out_and_cross_entropy_does_not():
    network = module("sequence_classification of steps")
    network.task.blank = 0
    targets = torch.tensor([[0, 0, 1, 2]])
    outputs = 50 * F.one_hot(torch.tensor([[3, 3, 1, 1]]), 4).float()
    batch = pad([(torch.zeros(4, dtype=torch.long), targets[0])], True)
    measures = network.task.measure(outputs, batch)
    assert measures["accuracy"].mean == 0.5
    assert measures["loss"].mean == pytest.approx(3 * 50 / 4)


def test_the_likelihood_of_switches_is_summed_over_them_and_averaged_over_steps():
    network = module("multilabel")
    batch = pad(samples("multilabel"), True)
    nll = network.task.measure(torch.zeros(*batch.mask.shape, 6), batch)["loss"]
    assert nll.mean == pytest.approx(6 * math.log(2))
    assert nll.weight == sum(LENGTHS)


def test_a_waveform_that_is_its_own_mean_has_nmse_one():
    network = module("waveform")
    batch = pad(samples("waveform")[:1], True)
    outputs = batch.targets.mean().expand(batch.targets.shape)
    measures = network.task.measure(outputs, batch)
    assert measures["nmse"].mean == pytest.approx(1)
    assert measures["loss"].mean == pytest.approx(batch.targets.var(unbiased=False).item())


def test_a_boundary_does_not_reach_into_the_next_batch_of_separate_sequences():
    last = Trace(torch.ones(2, 3, 1), torch.ones(2, 3, 1), ("layer 1",))
    smaller = Trace(torch.ones(1, 4, 1), torch.zeros(1, 4, 1), ("layer 1",))
    nothing = {"loss": Measure(torch.tensor(0.0), torch.tensor(1.0))}
    tally = Tally((4,))
    tally.update(nothing, last, torch.ones(2, 3, dtype=torch.bool), fresh=True)
    tally.update(nothing, smaller, torch.tensor([[True, True, False, False]]), fresh=True)
    rates = tally.compute()[1]
    assert rates["boundary"].item() == pytest.approx(6 / 8)
    assert rates["flush"].item() == pytest.approx(4 / 8)


def test_a_language_model_expects_on_average_the_surprisal_that_comes():
    task, logits = LanguageModel(8), torch.randn(2, 300, 5) * torch.rand(2, 300, 1) * 6
    targets = torch.distributions.Categorical(logits=logits).sample((200,))
    came = torch.stack([task.surprisal(logits, Batch(t, t, torch.ones_like(t, dtype=torch.bool))) for t in targets])
    expected = task.expected_surprisal(logits)
    assert came.mean().item() == pytest.approx(expected.mean().item(), abs=0.01)
    assert (came.mean(0) - expected).abs().mean().item() < 0.1
    assert not expected.requires_grad


def test_every_thing_measured_has_its_own_weight():
    tally, trace = Tally((4,), ("loss", "accuracy")), Trace(torch.ones(1, 1, 1), None, ("layer 1",))
    for total, weight, right, scored in ((6.0, 3, 1, 1), (4.0, 2, 0, 3)):
        parts = {"loss": (total, weight), "accuracy": (right, scored)}
        measures = {name: Measure(*map(torch.tensor, pair)) for name, pair in parts.items()}
        tally.update(measures, trace, torch.ones(1, 1, dtype=torch.bool))
    assert {name: mean.item() for name, mean in tally.compute()[0].items()} == {"loss": 2.0, "accuracy": 0.25}


def test_separate_sequences_begin_anew_and_streams_go_on():
    for name, carried in (("sequence_regression", False), ("language_model", True)):
        network = module(name)
        batch = pad(samples(name), per_step(name))
        network._read("train", batch)
        assert (network.carried.get("train") is not None) == carried
