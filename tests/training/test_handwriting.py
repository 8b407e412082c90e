"""Pen strokes and their density: the right steps from XML, a density that is one."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from multiscale.config.compose import jobs
from multiscale.config.instantiate import make
from multiscale.data.files import DataError
from multiscale.data.handwriting import read_strokes
from multiscale.training.tasks.handwriting import log_density
from tests.helpers import tiny
from tests.training import test_tasks

LINE = """<?xml version="1.0" encoding="ISO-8859-1"?>
<WhiteboardCaptureSession><WhiteboardDescription/><StrokeSet>
<Stroke colour="black"><Point x="10" y="20" time="1.0"/><Point x="13" y="16" time="1.1"/></Stroke>
<Stroke colour="black"><Point x="20" y="20" time="2.0"/></Stroke>
<Stroke colour="black"><Point x="21" y="22" time="3.0"/><Point x="22" y="22" time="3.1"/></Stroke>
</StrokeSet></WhiteboardCaptureSession>"""


def test_strokes_are_offsets_with_the_pen_lifted_at_their_ends(tmp_path):
    (tmp_path / "a.xml").write_text(LINE)
    steps = read_strokes(tmp_path / "a.xml")
    assert steps.tolist() == [[3, -4, 1], [7, 4, 1], [1, 2, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a>", "must be XML"),
        ("<a/>", "at least two points; it has 0"),
        (LINE.replace(' x="13"', ""), "must be XML"),
        (LINE.replace('"13"', '"q"'), "must be XML"),
    ],
)
def test_other_xml_is_refused(tmp_path, text, message):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_strokes(tmp_path / "a.xml")


@pytest.fixture
def lines(tmp_path, monkeypatch):
    tiny.strokes(tmp_path)
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))

    def load(*words: str):
        module = make(jobs(["data=iam_ondb", "data.batch_size=4", *words])[0], "data")
        module.setup()
        return module

    return load


def test_lines_are_split_by_the_lists_and_scaled_by_the_training_part(lines):
    module = lines()
    assert module.facts.sequences == (8, 2, 2)
    steps = torch.cat([module.samples["train"][i][1] for i in range(8)])
    assert steps[:, :2].std() == pytest.approx(1, abs=1e-4)
    assert set(steps[:, 2].tolist()) == {0.0, 1.0}
    inputs, targets = module.samples["test"][0]
    assert not inputs[0].any()
    assert torch.equal(inputs[1:], targets[:-1])
    assert len(lines("data.max_steps=5").samples["test"][0][0]) == 5


def test_missing_files_are_named_with_how_to_get_them(lines, tmp_path):
    (tmp_path / "iam_ondb/testset_v.txt").unlink()
    with pytest.raises(DataError, match=r"iam_ondb/testset_v.txt is missing; looked for .*Register at"):
        lines()
    (tmp_path / "iam_ondb/testset_v.txt").write_text("z99-000")
    with pytest.raises(DataError, match=r"lines of the forms in testset_v.txt; it has none"):
        lines()


def test_the_mixture_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    outputs, offsets = torch.randn(7, 18, generator=generator), torch.randn(7, 2, generator=generator)
    weights, mean_x, mean_y, log_x, log_y, turn = outputs.split(3, -1)
    x, y, r = log_x.exp(), log_y.exp(), 0.999 * turn.tanh()
    covariance = torch.stack([torch.stack([x * x, r * x * y], -1), torch.stack([r * x * y, y * y], -1)], -2)
    each = MultivariateNormal(torch.stack([mean_x, mean_y], -1), covariance).log_prob(offsets[:, None])
    expected = torch.logsumexp(weights.log_softmax(-1) + each, -1)
    torch.testing.assert_close(log_density(outputs, offsets, 3), expected, rtol=1e-3, atol=1e-3)


def test_the_density_integrates_to_one():
    outputs = torch.randn(12, generator=torch.Generator().manual_seed(1)).double()
    axis = torch.linspace(-30, 30, 1201, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    density = log_density(outputs.expand(*grid.shape[:2], 12), grid, 2).exp()
    assert (density.sum() * (axis[1] - axis[0]) ** 2).item() == pytest.approx(1, abs=1e-3)


def test_the_log_likelihood_is_that_of_whole_sequences():
    network = test_tasks.module("handwriting")
    batch = test_tasks.pad(test_tasks.samples("handwriting"), True)
    measures = network.task.measure(network(batch.inputs, mask=batch.mask)[0], batch)
    metrics = network.task.metrics({name: measure.mean for name, measure in measures.items()})
    per_step, sequences = metrics["nll"].item(), len(test_tasks.LENGTHS)
    assert metrics["log_likelihood"].item() == pytest.approx(-per_step * sum(test_tasks.LENGTHS) / sequences)
    assert math.isfinite(per_step)
