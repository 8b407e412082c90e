"""Scheduled sampling: what is read in place of the text, and that nothing else changes."""

import csv
import math

import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.config.instantiate import make
from multiscale.nn.schedules import Geometric, InverseSigmoid, Ramp
from multiscale.training.loaders import Loaders
from multiscale.training.logging.csv_log import CSVLog
from multiscale.training.sampling import draw_symbols, flip_coins, sample_inputs
from tests.conftest import network, trainer


def schedule(kind, **arguments):
    """Words that set a schedule of epsilon."""
    given = "".join(f", {name}: {value}" for name, value in arguments.items())
    return f"task.sampling={{_target_: multiscale.nn.schedules.{kind}{given}}}"


def constant(epsilon):
    return schedule("Ramp", start=epsilon, end=epsilon)


def quiet(module):
    """One whose training steps can be called by hand."""
    module.log = module.log_dict = lambda *_, **__: None
    return module


def parts(module):
    return module.encoder, module.backbone, module.head


@pytest.mark.parametrize(
    ("epsilon", "formula"),
    [
        (Ramp(0.9, 0.3, 6), lambda i: max(0.3, 0.9 - 0.1 * i)),
        (Geometric(1, 0.25, 10), lambda i: max(0.25, (0.25**0.1) ** i)),
        (InverseSigmoid(7, 1), lambda i: 7 / (7 + math.exp(i / 7))),
        (InverseSigmoid(7, 20), lambda i: 7 / (7 + math.exp(20 * i / 7))),
    ],
)
def test_the_schedules_are_the_papers(epsilon, formula):
    for i in (0, 0.5, 1, 4, 6, 9, 10, 50):
        assert epsilon(i) == pytest.approx(formula(i))
    assert 0 <= epsilon(1e6) <= 0.3


def test_coins_fall_at_their_rate_and_never_at_the_first_step():
    torch.manual_seed(0)
    due = flip_coins(torch.zeros(100, 401, dtype=torch.long), 0.8)
    assert not due[:, 0].any()
    assert due[:, 1:].float().mean().item() == pytest.approx(0.2, abs=0.01)  # five deviations
    assert flip_coins(torch.zeros(3, 9, dtype=torch.long), 0.0)[:, 1:].all()


def test_symbols_are_drawn_at_their_probabilities():
    torch.manual_seed(0)
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    counts = draw_symbols(probabilities.log().expand(40_000, 5)).bincount(minlength=5)
    torch.testing.assert_close(counts / 40_000, probabilities, atol=0.0125, rtol=0)  # five deviations
    assert not counts[4]


@pytest.mark.parametrize("epsilon", [0.0, 0.6, 0.95])
@pytest.mark.parametrize("model", ["rnn", "hmlstm", "clockwork"])
def test_what_is_read_is_what_a_network_that_is_certain_predicts_from_what_it_read(data, model, epsilon):
    module = network(data, f"model={model}")
    for p in module.head.parameters():
        p.data.mul_(1e6)
    batch, other = (data.loader("train").dataset[k] for k in (0, 1))
    state = module.eval()(other.inputs)[1].state
    torch.manual_seed(0)
    due = flip_coins(batch.inputs, epsilon)
    read = sample_inputs(parts(module), module.task.draw, batch.inputs, state, due)
    predicted = module(read, state)[0].argmax(-1)
    assert torch.equal(read[~due], batch.inputs[~due])
    assert torch.equal(read[:, 1:][due[:, 1:]], predicted[:, :-1][due[:, 1:]])
    assert not torch.equal(read, batch.inputs)


def test_a_step_learns_the_texts_targets_from_what_is_read_with_the_whole_gradient(data):
    module, batch = quiet(network(data, "model=stacked_lstm", constant(0.5))), data.loader("train").dataset[0]
    torch.manual_seed(1)
    read = sample_inputs(parts(module), module.task.draw, batch.inputs, None, flip_coins(batch.inputs, 0.5))
    found = []
    for epsilon, given in ((0.5, batch), (1.0, batch._replace(inputs=read))):
        module.on_train_epoch_start()
        module.zero_grad()
        torch.manual_seed(1)
        module.epsilon = epsilon
        loss = module.training_step(given, 0)
        loss.backward()
        found.append([loss.detach(), module.carried["train"], *(p.grad for p in module.parameters())])
    torch.testing.assert_close(*found, atol=0, rtol=0)


def test_nothing_is_drawn_while_epsilon_is_one(data, tmp_path):
    weights = []
    for words in ([], [constant(1)]):
        module = network(data, "model=stacked_lstm", *words)
        torch.manual_seed(5)
        run = trainer(tmp_path, max_epochs=1, limit_train_batches=3, limit_val_batches=1)
        run.fit(module, datamodule=Loaders(data))
        weights.append([*module.parameters(), torch.get_rng_state()])
    torch.testing.assert_close(*weights, atol=0, rtol=0)


def test_drawing_observes_nothing_and_leaves_every_part_in_its_mode(data):
    module = network(data, "model=hmlstm")
    module.head.eval()
    modes = [part.training for part in module.modules()]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    batch = data.loader("train").dataset[0]
    sample_inputs(parts(module), module.task.draw, batch.inputs, None, flip_coins(batch.inputs, 0.0))
    assert [part.training for part in module.modules()] == modes
    torch.testing.assert_close(dict(module.state_dict()), before, atol=0, rtol=0)


def test_every_parameter_gets_its_gradient_in_mixed_precision(data):
    module, batch = quiet(network(data, "model=stacked_lstm")), data.loader("train").dataset[0]
    module.epsilon = 0.5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module.training_step(batch, 0).backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())


def test_epsilon_is_logged_as_it_falls(data, tmp_path):
    module, logger = (
        network(data, "model=rnn", schedule("Ramp", epochs=2)),
        CSVLog(tmp_path),
    )
    run = trainer(tmp_path, logger=logger, log_every_n_steps=1, limit_train_batches=4, limit_val_batches=1)
    run.fit(module, datamodule=Loaders(data))
    with logger.path.open() as file:
        seen = [float(row["train/epsilon"]) for row in csv.DictReader(file) if row["train/epsilon"]]
    assert seen == [1 - i / 8 for i in range(8)]


NO_SYMBOLS = ("waveform", "copy_memory", "jsb_chorales", "iam_ondb")  # none that the task predicts are its inputs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([schedule("Linear")], r"task.sampling at epoch 1e\+09 must be .*at most 1; got 5.0"),
        ([constant(1.5)], "task.sampling at epoch 0 must be a number at least 0 and at most 1; got 1.5"),
        ([schedule("InverseSigmoid", k=0.5)], "task.sampling.k must be .*at least 1; got 0.5"),
        ([schedule("InverseSigmoid", rate=0)], "task.sampling.rate must be .*above 0; got 0"),
        ([schedule("Ramp", start=-1)], "task.sampling.start must be .*at least 0; got -1"),
        ([schedule("Ramp", end=-1)], "task.sampling.end must be .*at least 0; got -1"),
        ([schedule("Ramp", epochs=0)], "task.sampling.epochs must be .*above 0; got 0"),
        (["task.sampling=0.5"], "task.sampling must be a schedule, a function of the epoch; got 0.5"),
        *(([f"experiment={name}", "+task.sampling=1"], "task.sampling is not an argument of") for name in NO_SYMBOLS),
    ],
)
def test_what_cannot_be_sampled_is_refused_by_name(words, message):
    with pytest.raises(InvalidInput, match=message):
        make(jobs(words)[0], "task")
