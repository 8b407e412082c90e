"""The readout by ridge regression: scipy's solution of what was read, of any backbone and task, cut anywhere."""

import re

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.config.instantiate import make
from multiscale.data.memory import Adding
from multiscale.jobs.prepare import prepare
from multiscale.runs.signals import Interrupted
from multiscale.training.build import build, load
from multiscale.training.loaders import Loaders
from multiscale.training.ridge import RidgeReadout, solve
from tests.conftest import trainer
from tests.faults.breaking import SMALL, differing, result, run
from tests.faults.processes import DDP, finish, resume, start
from tests.helpers import tiny

RIDGE = ["callbacks=ridge", "head=concat"]
ESN = ["model=echo_state", "model.hidden_size=9"]


def fitted(folder, data, module, **options):
    """The module after its epoch, in 64 bits."""
    callback = RidgeReadout(**options)
    fit = trainer(folder, precision="64-true", callbacks=[callback], enable_checkpointing=False)
    fit.fit(module.double(), Loaders(data))
    return module


def augmented(rows: np.ndarray, targets: np.ndarray, alpha: float) -> np.ndarray:
    """[W; b] by least squares, the penalty as further rows."""
    width = rows.shape[1]
    above = np.c_[rows, np.ones(len(rows))]
    below = alpha**0.5 * np.eye(width, width + 1)
    found = scipy.linalg.lstsq(np.r_[above, below], np.r_[targets, np.zeros((width, targets.shape[1]))])
    return found[0]


CASES = {  # experiment, model, which is read in evaluation, washout, and how a target is regressed
    "numbers of sequences": ("adding", "echo_state", 0, lambda y, k: y),
    "classes of steps": ("copy_memory", "echo_state", 3, lambda y, k: np.eye(k)[y]),
    "classes of sequences": ("frequency", "clockwork model.clock=random", 0, lambda y, k: np.eye(k)[y]),
    "symbols of streams": ("artificial_language", "stacked_lstm", 21, lambda y, k: np.eye(k)[y]),
    "switches of steps": ("jsb_chorales", "echo_state", 1, lambda y, k: 2 * y - 1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_readout_is_what_scipy_makes_of_all_steps_that_count(case, tmp_path, monkeypatch):
    name, model, washout, regressed = CASES[case]
    tiny.chorales(tmp_path)
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    config = jobs(
        [f"experiment={name}", "head=concat", *f"model={model}".split(), "model.hidden_size=9", *tiny.SMALL[name]]
    )[0]
    data = make(config, "data")
    data.setup()
    torch.manual_seed(0)
    module = build(config, data.facts)
    drawn = {key: value.double() for key, value in module.state_dict().items() if not key.startswith("head")}
    module = fitted(tmp_path, data, module, alpha=0.3, washout=washout)
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in drawn.items())

    rows, targets, state, at = [], [], None, 0
    module.eval()
    for batch in data.loader("train"):
        inputs = (
            batch.inputs if module.task.encoder(data.facts).__class__.__name__ != "Values" else batch.inputs.double()
        )
        with torch.no_grad():
            hidden = module.backbone(module.encoder(inputs).double(), state)
        levels = torch.cat(hidden.levels, -1).numpy()
        if module.streams:
            state = hidden.state
        for b, length in enumerate(batch.mask.sum(1).tolist()):
            if batch.targets.dim() == 1 or name == "adding":
                rows.append(levels[b, length - 1])
                targets.append(batch.targets[b].numpy())
                continue
            for t in range(length):
                if at + t >= washout:
                    rows.append(levels[b, t])
                    targets.append(batch.targets[b, t].numpy())
        at += batch.mask.size(1) if module.streams else 0
    targets = regressed(np.array(targets), module.head.output.out_features)
    expected = augmented(np.array(rows), targets, 0.3)
    found = torch.cat([module.head.output.weight.T, module.head.output.bias[None]]).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_a_linear_task_is_solved_exactly_by_its_own_weights(tmp_path):
    data = Adding(10, steps=7, sequences=[200, 10, 10])
    data.setup()
    torch.manual_seed(0)
    module = build(jobs(["data=adding", "task=sequence_regression", "head=top", *ESN])[0], data.facts).double()
    truth = nn.Linear(9, 1).double()
    for samples in data.samples.values():
        with torch.no_grad():
            samples.targets = truth(module.backbone(samples.inputs.double()).levels[-1][:, -1])
    fit = trainer(tmp_path, precision="64-true", callbacks=[RidgeReadout(1e-13)], enable_checkpointing=False)
    fit.fit(module, Loaders(data))
    torch.testing.assert_close(module.head.output.weight, truth.weight, rtol=0, atol=1e-7)
    torch.testing.assert_close(module.head.output.bias, truth.bias, rtol=0, atol=1e-7)
    assert fit.callback_metrics["val/mse"] < 1e-16
    assert fit.current_epoch == 1
    assert all(p.requires_grad for p in module.parameters())


def test_a_large_alpha_leaves_the_mean_which_is_not_penalised():
    x, y = torch.randn(50, 3, dtype=torch.float64), torch.randn(50, 2, dtype=torch.float64) + 5
    row = torch.cat([x, torch.ones(50, 1), y], 1)
    solution = solve(row[:, :4].T @ row, 1e12)
    torch.testing.assert_close(solution[-1], y.mean(0))
    assert solution[:-1].abs().max() < 1e-9


def test_a_run_tells_the_solution_and_that_it_took_one_epoch(here, tmp_path):
    words = ["experiment=adding", *RIDGE, *ESN, "model.hidden_size=40", "logger=csv", "~callbacks.progress"]
    words += ["data.steps=10", "data.sequences=[1000,200,200]", "+trainer.enable_progress_bar=false"]
    ended = here(*words, f"hydra.run.dir={tmp_path}/run")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"for 1 epoch\b", ended.stdout)
    told = float(ended.stdout.split("test mse")[1].split()[0])
    assert 0 < told < 0.05  # 0.167 for always answering the mean
    module = load(tmp_path / "run/checkpoints/best.ckpt")
    last = load(tmp_path / "run/checkpoints/last.ckpt")
    assert torch.equal(module.head.output.weight, last.head.output.weight)


@pytest.mark.parametrize("place", [["train", 0, 3], ["validation", 0, 0]])
def test_an_epoch_that_was_stopped_goes_on_bit_for_bit(tmp_path, place):
    kill = [f"+callbacks.kill.{name}={value}" for name, value in zip(("hook", "epoch", "batch"), place, strict=True)]
    words = [*RIDGE, *ESN, "callbacks.readout.washout=20"]
    run(tmp_path / "whole", *words)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", *words, "+callbacks.kill._target_=tests.faults.breaking.Kill", *kill)
    run(tmp_path / "cut", *words, "+callbacks.kill._target_=tests.faults.breaking.Kill", *kill)
    (whole, log), (cut, again) = result(tmp_path / "whole"), result(tmp_path / "cut")
    assert not differing(whole, cut)
    assert log == again


@pytest.mark.slow
def test_two_processes_find_what_one_finds_also_when_stopped(tmp_path):
    words = [*RIDGE, *ESN, "callbacks.readout.alpha=0.1"]
    run(tmp_path / "one", *words)
    folder = tmp_path / "two/run"
    kill = [f"+callbacks.kill.{name}={value}" for name, value in (("hook", "train"), ("epoch", 0), ("batch", 3))]
    words = [*SMALL, *words, *DDP, "data.path=text.txt", "+callbacks.kill._target_=tests.faults.breaking.Kill", *kill]
    code, output = finish(start(tmp_path / "two", *words, f"hydra.run.dir={folder}"))
    assert code > 128, output
    code, output = resume(folder)
    assert code == 0, output
    one, two = (load(place / "checkpoints/best.ckpt").head.output for place in (tmp_path / "one", folder))
    torch.testing.assert_close(one.weight, two.weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["head=gated"], "callbacks.readout needs a head of one linear layer.*got Gated"),
        (["callbacks.readout.alpha=0"], "callbacks.readout.alpha must be a number above 0; got 0"),
        (["callbacks.readout.washout=-1"], "callbacks.readout.washout must be a number at least 0; got -1"),
        (["callbacks.readout.washout=0.5"], "callbacks.readout.washout must be a whole number; got 0.5"),
        (
            ["+callbacks.mean._target_=pytorch_lightning.callbacks.EMAWeightAveraging"],
            "callbacks.readout is not to be had with averaged weights",
        ),
    ],
)
def test_what_cannot_be_solved_is_refused_by_name(words, named):
    with pytest.raises(InvalidInput, match=named):
        prepare(jobs(["experiment=adding", *RIDGE, *tiny.SMALL["adding"], *words])[0])


def test_a_density_is_no_regression(tmp_path, monkeypatch):
    tiny.strokes(tmp_path)
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    with pytest.raises(InvalidInput, match=r"callbacks\.readout needs a task of .*got Handwriting"):
        prepare(jobs(["experiment=iam_ondb", *RIDGE, *tiny.SMALL["iam_ondb"]])[0])


def test_a_washout_of_everything_is_told(tmp_path):
    with pytest.raises(InvalidInput, match="washout must leave a step to count; got 10000"):
        run(tmp_path, *RIDGE, *ESN, "callbacks.readout.washout=10000")
