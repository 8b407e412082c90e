"""Detectors whose scores are standardised: levels that live, at the rates asked, in every kernel."""

import itertools

import pytest
import torch
from hydra.utils import instantiate

from multiscale import HMLSTM
from multiscale.backbones.base import detach
from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.nn.detectors.base import Seen
from multiscale.nn.detectors.standardised import Standardised
from multiscale.training.build import build
from tests.helpers.hmlstm_kernels import KERNELS

B, T, D = 3, 30, 5


def network(boundary, sizes=(17, 14, 19), kernel="reference", **options):
    torch.manual_seed(0)
    found = HMLSTM(D, sizes, len(sizes), boundary=boundary, kernel=kernel, **options).double()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return found


def seen(score, rate=None, boundary=None, operands=None):
    """What a detector of levels is shown of scores [B, T, N]."""
    ones = torch.ones_like(score)
    fired = ones * 0 if boundary is None else boundary
    means = operands or [torch.zeros(1) for _ in range(score.size(2))]
    return Seen(score, score, fired, ones, torch.ones(()), means)


def train(model, steps, *words):
    """Some steps of the default recipe; the module, and the trace of the last batch."""
    config = jobs([f"model={model}", "data.batch_size=16", "data.steps=48", *words])[0]
    torch.manual_seed(0)
    data = instantiate(config.data)
    data.setup()
    module = build(config, data.facts).train()
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    state = None
    for i, batch in enumerate(itertools.islice(data.loader("train"), steps)):
        module.backbone.anneal(i / 400)
        outputs, hidden = module(batch.inputs, state, mask=batch.mask, trace=True)
        state = detach(hidden.state)
        loss = module.task.measure(outputs, batch)["loss"].mean + hidden.penalty
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    return module, hidden.trace


def in_band(trace):
    """The share of the decisions of each level that pass gradient."""
    inside = (trace.probability > 0) & (trace.probability < 1) & (trace.open > 0)
    return (inside.float().sum((0, 1)) / trace.open.sum((0, 1)))[:-1]


def test_levels_stay_within_reach_of_the_gradient_where_the_paper_s_do_not():
    _, dead = train("hmlstm_paper", 20)
    assert in_band(dead)[1] < 0.01
    _, alive = train("hmlstm_paper", 60, "model.nested=true", *STANDARDISED)
    assert in_band(alive).min() > 0.1
    first, second, _ = alive.boundary.mean((0, 1))
    assert 0.1 < first < 0.3
    assert 0.01 < second < 0.1


STANDARDISED = [
    "model.boundary={_target_: multiscale.nn.detectors.standardised.Standardised, rates: [0.2, 0.05]}",
]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("wiring", [{}, {"nested": True}, {"nested": True, "boundary_source": "hidden"}], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"rates": [0.3, 0.1]},
        {"rates": [0.3, 0.1], "control": "ratio"},
        {},
        {"rates": [0.3, 0.1], "decision": "soft"},
        {"rates": [0.3, 0.1], "surprisal_weight": 0.5},
    ],
    ids=str,
)
def test_every_kernel_finds_what_the_reference_finds(options, wiring, kernel):
    results = []
    for name in ("reference", kernel):
        net = network(Standardised(**options), **wiring, cost_per_update=0.1, kernel=name)
        x = torch.randn(B, T, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
        surprisal = torch.rand(B, T, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        found = []
        for _ in range(3):  # the running figures of one sequence decide in the next
            out = net(x, trace=True)
            loss = sum(i * level.sum() for i, level in enumerate(out.levels)) + 100 * out.penalty
            if out.steps is not None:
                loss = loss + 100 * net.align(out.steps, surprisal, torch.ones(B, T, dtype=torch.bool))
            loss.backward()
            found += [out.penalty, *out.levels, *out.trace[:2], out.trace.probability, out.trace.open]
        results.append([*found, x.grad, *(p.grad for p in net.parameters()), *net.buffers()])
    for theirs, own in zip(*results, strict=True):
        torch.testing.assert_close(own.double(), theirs.double(), rtol=1e-9, atol=1e-9)


def test_scores_are_centred_and_scaled_by_what_was_seen():
    detector = Standardised()
    detector.start([3, 2])
    score = torch.randn(4, 50, 2) * torch.tensor([2.0, 5.0]) + torch.tensor([1.0, -3.0])
    rows = [torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0])]
    detector.observe(seen(score, operands=[torch.tensor([1.0, 7.0, 7.0]), torch.tensor([7.0, -3.0])]))
    scale, offset = detector.affine(rows, torch.tensor([0.5, 0.0]))
    line = scale * score + offset
    assert line.std((0, 1)) == pytest.approx(torch.ones(2), abs=0.02)
    assert line.mean((0, 1)) == pytest.approx(torch.tensor([0.5, 0.0]), abs=0.3)  # the learned bias stays as it is


@pytest.mark.parametrize("rates", [[0.2, 0.05], [0.9, 0.5]])
def test_the_quantile_gives_the_rate_that_is_asked(rates):
    detector = Standardised(rates)
    detector.start([1, 1])
    score = torch.randn(20, 500, 2).exp()  # skewed
    detector.observe(seen(score))
    scale, offset = detector.affine([torch.zeros(1)] * 2, torch.zeros(2))
    centred = score - score.mean((0, 1))
    assert (scale * centred + offset > 0).float().mean((0, 1)) == pytest.approx(torch.tensor(rates), abs=0.01)


def test_one_rate_is_that_of_the_first_level_and_each_above_has_a_third():
    detector = Standardised(0.36)
    detector.start([1, 1, 1])
    assert detector.rate == pytest.approx(torch.tensor([0.36, 0.12, 0.04]))


def test_where_nothing_may_be_decided_the_rate_is_that_of_all_steps():
    detector = Standardised([0.25])
    detector.start([1])
    score = torch.randn(10, 1000, 1)
    opened = (torch.rand_like(score) < 0.5).float()
    detector.observe(seen(score)._replace(open=opened))
    mean = (score * opened).sum() / opened.sum()
    scale, offset = detector.affine([torch.zeros(1)], torch.zeros(1))
    fires = (scale * (score - mean) + offset > 0) * opened
    assert fires.mean() == pytest.approx(0.25, abs=0.01)


def test_a_sequence_that_is_not_finite_leaves_the_running_figures_as_they_were():
    net = network(Standardised([0.3, 0.1]))
    net(torch.randn(B, T, D, dtype=torch.float64))
    before = {name: buffer.clone() for name, buffer in net.detector.named_buffers()}
    net(torch.full((B, T, D), torch.nan, dtype=torch.float64))
    for name in ("operand", "deviation", "quantile"):
        assert torch.equal(net.detector.get_buffer(name), before[name])


def test_evaluation_changes_no_figure_and_draws_nothing():
    net = network(Standardised([0.3, 0.1]))
    x = torch.randn(B, T, D, dtype=torch.float64)
    net(x)
    before = [buffer.clone() for buffer in net.buffers()]
    net.eval()
    first, second = net(x, trace=True), net(x, trace=True)
    assert all(map(torch.equal, before, net.buffers()))
    assert all(map(torch.equal, first.levels, second.levels))
    net.train()(x)
    assert not all(map(torch.equal, before, net.buffers()))


def test_the_loss_of_the_ratio_reaches_scores_beyond_the_band():
    detector = Standardised([0.2], control="ratio")
    detector.start([1])
    line = torch.full((2, 10, 1), -5.0, requires_grad=True)
    detector.observe(seen(line.detach())._replace(line=line)).backward()
    assert (line.grad < 0).all()  # a step down the gradient raises what fires too rarely
    often = torch.full((2, 10, 1), 5.0, requires_grad=True)
    detector.observe(seen(often.detach(), boundary=torch.ones(2, 10, 1))._replace(line=often)).backward()
    assert (often.grad > 0).all()


def test_the_ratio_s_loss_is_least_where_the_rate_is_the_one_asked():
    detector = Standardised([0.25], control="ratio", ratio_weight=1.0)
    detector.start([1])
    losses = {}
    for rate in (0.05, 0.25, 0.6):
        likely = torch.logit(torch.tensor(rate)) / 2
        fired = (torch.arange(100) < 100 * rate).float().view(1, 100, 1)
        line = torch.full((1, 100, 1), float(likely))
        losses[rate] = detector.observe(seen(line, boundary=fired)).item()
    assert min(losses, key=losses.get) == 0.25
    assert losses[0.25] == pytest.approx(1.0)  # F = G = 1/N


def test_a_level_ends_only_where_the_one_below_does_if_nested():
    net = network(Standardised([0.5, 0.4]), nested=True, kernel="auto")
    for _ in range(5):
        trace = net(torch.randn(8, T, D, dtype=torch.float64), trace=True).trace
    assert trace.boundary[..., 1].any()
    assert (trace.boundary[..., 1] <= trace.boundary[..., 0]).all()
    assert torch.equal(trace.open[..., 1], trace.boundary[..., 0])


def test_an_open_start_closes_over_its_epochs():
    detector = Standardised([0.2, 0.05], open_rate=0.5, open_epochs=2.0)
    detector.start([1, 1])
    for epoch, rates in ((0, [0.5, 0.5]), (1, [0.35, 0.275]), (2, [0.2, 0.05]), (9, [0.2, 0.05])):
        detector.anneal(epoch)
        assert detector.rate == pytest.approx(torch.tensor(rates))


def test_an_update_costs_what_it_is_said_to_and_a_gradient_tells_the_boundary():
    net = network("soft", cost_per_update=0.5)
    x = torch.randn(B, T, D, dtype=torch.float64)
    out = net(x, trace=True)
    assert out.penalty.item() == pytest.approx(0.5 * out.trace.update[..., 1:].mean((0, 1)).sum().item())
    out.penalty.backward()
    assert net.layers[0].bias.grad[-1] > 0  # the rarer the boundary, the fewer updates above
    assert network("soft")(x).penalty == 0


def test_a_score_that_predicts_surprisal_costs_nothing_and_one_that_does_not_learns_to():
    detector = Standardised([0.5], surprisal_weight=2.0)
    detector.start([1])
    bits, all_ = torch.rand(4, 20), torch.ones(4, 20, 1)
    assert detector.align(3 * bits[..., None] + 1, bits, all_).item() == pytest.approx(0, abs=1e-5)
    assert detector.align(-bits[..., None], bits, all_).item() == pytest.approx(4, abs=1e-5)
    score = torch.randn(4, 20, 1, requires_grad=True)
    for _ in range(200):
        loss = detector.align(score, bits, all_)
        (gradient,) = torch.autograd.grad(loss, score)
        score = (score - 5 * gradient).detach().requires_grad_()
    assert loss < 0.05


@pytest.mark.parametrize("kernel", ["reference", *KERNELS])
@pytest.mark.parametrize("source", ["preact", "hidden"])
def test_what_draws_a_score_turns_its_row_and_reaches_the_states_as_far_as_it_may(source, kernel):
    found = []
    for reach in (0.0, 0.25, 1.0):
        detector = Standardised([0.3, 0.1], surprisal_weight=1.0, surprisal_reach=reach)
        net = network(detector, kernel=kernel, boundary_source=source)
        x = torch.randn(B, T, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
        surprisal = torch.rand(B, T, generator=torch.Generator().manual_seed(2))
        net.align(net(x).steps, surprisal, torch.ones(B, T, dtype=torch.bool)).backward()
        rows = net.layers[0].recurrent.grad[-1]
        # the last input reaches nothing later, so that what is passed on is not passed on again
        found.append((rows, torch.zeros(B, D) if x.grad is None else x.grad[:, -1]))
    (alone, nothing), (quarter, some), (whole, all_) = found
    assert not nothing.any()
    assert alone.all()
    torch.testing.assert_close(some, all_ / 4)
    assert all_.any()
    assert not torch.equal(alone, quarter) or source == "preact"
    assert not torch.equal(quarter, whole)


def test_the_running_figures_travel_with_the_state_dict_and_stay_wide():
    net, copy = network(Standardised([0.3, 0.1])), network(Standardised([0.3, 0.1]))
    net(torch.randn(B, T, D, dtype=torch.float64))
    copy.load_state_dict(net.state_dict())
    x = torch.randn(B, T, D, dtype=torch.float64)
    assert all(map(torch.equal, net.eval()(x).levels, copy.eval()(x).levels))
    with torch.autocast("cpu", torch.bfloat16):
        out = net.float().train()(x.float(), trace=True)
    assert net.detector.deviation.dtype == torch.float32
    assert out.trace.probability.dtype == torch.float32


@pytest.mark.slow
def test_the_running_figures_are_those_of_all_processes(tmp_path):
    torch.multiprocessing.spawn(follow_a_half, (tmp_path,), nprocs=2)
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert all(map(torch.equal, halves[0].values(), halves[1].values()))
    together, (score, operands) = follower(), shown()
    together.observe(seen(score, operands=[operands.mean(0)]))
    for name in ("operand", "deviation"):
        torch.testing.assert_close(halves[0][name], together.get_buffer(name))
    apart = [float(half.quantile(0.75)) for half in score.split(2)]
    expected = sum(apart) / 2 - score.mean()
    torch.testing.assert_close(halves[0]["quantile"][0], expected, rtol=0, atol=0.02)


def shown():
    """The scores [4, 500, 1] of two processes, and what the rows of each read."""
    draw = torch.Generator().manual_seed(0)
    lean = torch.tensor([0.0, 0.0, 3.0, 3.0])[:, None, None]
    return torch.randn(4, 500, 1, generator=draw) + lean, torch.randn(2, 3, generator=draw)


def follower():
    detector = Standardised([0.25])
    detector.start([3])
    return detector


def follow_a_half(rank, folder):
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    detector, (score, operands) = follower(), shown()
    detector.observe(seen(score.split(2)[rank], operands=[operands[rank]]))
    torch.save(dict(detector.named_buffers()), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Standardised([0.2, 1.0]), r"rates\[1\] must be below 1; got 1.0"),
        (lambda: Standardised([0.0]), r"rates\[0\] must"),
        (lambda: Standardised(control="quantil"), "control must be one of quantile, ratio; got 'quantil'"),
        (lambda: Standardised(open_rate=0.5), "open_rate must be null without rates"),
        (lambda: Standardised(decision="hard"), "boundary must be one of step, sample, soft; got 'hard'"),
        (
            lambda: HMLSTM(D, 8, 3, boundary=Standardised([0.2])),
            r"boundary.rates must be one number, or 2, for all levels but the top one; got \[0.2\]",
        ),
        (lambda: HMLSTM(D, 8, 3, boundary=7), "boundary must be one of step, sample, soft, or a Detector; got 7"),
        (lambda: HMLSTM(D, 8, 3, nested=True, copy_boundary="hold"), "copy_boundary must be recompute with nested"),
        (lambda: HMLSTM(D, 8, 3, cost_per_update=-1.0), "cost_per_update must"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()
