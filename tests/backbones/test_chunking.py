"""Dynamic chunking: the router, what it drives, the smoothing, and that the fused kernel is the fold."""

import pytest
import torch
from torch import nn

from multiscale.backbones.base import detach
from multiscale.backbones.chunking import Chunking, ratio_loss
from multiscale.checks import InvalidInput
from multiscale.nn.straight_through import straight_through
from tests.conftest import backbone

KERNELS = ("fused", "reference")


def inputs(batch: int = 3, steps: int = 12, size: int = 5) -> torch.Tensor:
    return 4 * torch.randn(batch, steps, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def randomized(**arguments) -> Chunking:
    """No parameter at a special value, such as a residual of zero, and large enough for some chunks to begin."""
    torch.manual_seed(0)
    model = Chunking(**{"input_size": 5, "hidden_size": [7, 4, 6], **arguments}).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return model


def by_hand(model: Chunking, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """The levels, p and b of one sequence [T, D], by cells of torch and the paper's equations, chunk after chunk."""
    cells = []
    for layer in model.layers:
        cell = nn.LSTMCell(layer.input_size, layer.hidden_size).double()
        cell.load_state_dict({name.removesuffix("_l0"): p for name, p in layer.state_dict().items()})
        cells.append(cell)
    encoded, main, decoded = (tuple(x.new_zeros(1, n) for _ in "hc") for n in model.level_sizes)
    smooth, levels, ps, bs = x.new_zeros(1, model.level_sizes[1]), ([], [], []), [], []
    for t, x_t in enumerate(x):
        before, encoded = encoded[0], cells[0](x_t[None], encoded)
        q, k = model.query @ before[0], model.key @ encoded[0][0]
        p = (1 - q @ k / (q.norm() * k.norm())) / 2 if t else x.new_ones(())
        if p > 0.5:
            main = cells[1](encoded[0], main)
            share = p.clamp(1e-4, 1 - 1e-4) if model.smoothing else 1
            smooth = share * main[0] + (1 - share) * smooth
        decoded = cells[2](smooth + encoded[0] @ model.residual.T, decoded)
        for level, state in zip(levels, (encoded, main, decoded), strict=True):
            level.append(state[0][0])
        ps.append(p)
        bs.append((p > 0.5).double())
    return [torch.stack(level) for level in levels], torch.stack(ps), torch.stack(bs)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("smoothing", [True, False])
def test_it_is_its_equations(smoothing, kernel):
    model, x = randomized(smoothing=smoothing, kernel=kernel), inputs()
    output = model(x, trace=True)
    rates = output.trace.boundary[..., 0].mean(1)
    assert rates.gt(1 / 12).any()
    assert rates.lt(1).any()
    for b, sample in enumerate(x):
        levels, p, begins = by_hand(model, sample)
        torch.testing.assert_close([level[b] for level in output.levels], levels, rtol=0, atol=1e-12)
        torch.testing.assert_close(output.trace.probability[b, :, 0], p, rtol=0, atol=1e-12)
        assert torch.equal(output.trace.boundary[b, :, 0], begins)
        assert torch.equal(output.trace.update[b, :, 1], begins)
    assert not output.trace.boundary[..., 1:].any()


@pytest.mark.parametrize("smoothing", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 63])
def test_the_fused_kernel_is_the_fold_with_all_gradients_from_any_state(steps, smoothing):
    model = randomized(smoothing=smoothing)
    state = detach(model(inputs()).state)
    for first in (None, state):
        x, runs = inputs(steps=steps).requires_grad_(), []
        for kernel in KERNELS:
            output = model.use(kernel)(x, first, trace=True)
            carried = [part for group in output.state[:3] for part in group]
            total = sum(part.sin().sum() for part in (*output.levels, *carried)) + output.penalty
            grads = torch.autograd.grad(total, [x, *model.parameters()])
            trace = (output.trace.update, output.trace.boundary, output.trace.probability, output.trace.open)
            runs.append([*output.levels, *carried, *trace, output.penalty, *grads])
        torch.testing.assert_close(*runs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_constant_input_begins_one_chunk_and_no_other(kernel):
    torch.manual_seed(0)
    model = Chunking(5, 13, kernel=kernel)
    x = torch.randn(4, 1, 5).expand(-1, 30, -1)
    output = model(x, trace=True)
    expected = torch.zeros(4, 30)
    expected[:, 0] = 1
    assert torch.equal(output.trace.boundary[..., 0], expected)
    assert not model(x, output.state, trace=True).trace.boundary.any()  # a sequence that goes on has begun


def test_the_router_starts_as_the_cosine_of_the_states_themselves():
    model = Chunking(5, [7, 4, 6])
    before, encoded = torch.randn(2, 3, 7)
    seen = torch.ones(3, dtype=torch.bool)
    p, begins = model.route(before, encoded, seen)
    expected = [(1 - (a @ b) / (a.norm() * b.norm())) / 2 for a, b in zip(before, encoded, strict=True)]
    torch.testing.assert_close(p, torch.stack(expected))
    assert torch.equal(begins, (before * encoded).sum(1) < 0)
    torch.testing.assert_close(model.route(encoded, 3 * encoded, seen)[0], torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(model.route(encoded, -encoded, seen)[0], torch.ones(3), rtol=0, atol=1e-6)
    assert model.route(encoded, encoded, ~seen)[0].eq(1).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_between_chunks_the_main_network_is_held_bit_for_bit(kernel):
    model = randomized(kernel=kernel).float()
    state = detach(model(inputs().float()).state)
    output = model(inputs(steps=40).float(), state, trace=True)
    main, begins = output.levels[1], output.trace.boundary[..., 0].bool()
    before = torch.cat([state[1][0][:, None], main[:, :-1]], 1)
    same = (main == before).all(-1)
    assert same[~begins].all()
    assert not same[begins].any()
    assert (~begins).any()
    still = model(torch.zeros(3, 1, 5), state, trace=True)
    if not still.trace.boundary.any():
        assert all(map(torch.equal, still.state[1], state[1]))


def test_at_the_start_the_decoder_reads_the_chunks_alone():
    model = Chunking(5, [7, 4, 6]).double()
    x = inputs()
    state = detach(model(x).state)
    output = model(x, state, trace=True)
    smooth, _ = model.layers[2](output.levels[1])  # without smoothing this would be it
    assert not torch.equal(smooth, output.levels[2])
    plain = Chunking(5, [7, 4, 6], smoothing=False).double()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(x).levels[2], plain.layers[2](plain(x).levels[1])[0], rtol=0, atol=1e-12)


def test_smoothing_is_an_average_over_the_chunks_so_far():
    model, x = randomized(), inputs(batch=1, steps=30)
    output = model(x, trace=True)
    begins = output.trace.boundary[0, :, 0].bool()
    shares = output.trace.probability[0, begins, 0].clamp(1e-4, 1 - 1e-4)
    chunks = output.levels[1][0, begins]
    weights = torch.stack([p * (1 - shares[k + 1 :]).prod() for k, p in enumerate(shares)])
    torch.testing.assert_close(output.state[1][2][0], weights @ chunks, rtol=0, atol=1e-12)
    assert len(shares) > 3


def test_the_confidence_is_one_in_value_and_the_routers_own_in_gradient():
    c = (0.5 + 0.5 * torch.rand(1000)).requires_grad_()
    sure = straight_through(torch.ones_like(c), c)
    assert sure.eq(1).all()
    model = randomized()
    p = torch.tensor([0.3, 0.8], dtype=torch.float64, requires_grad=True)
    smooth, encoded = torch.randn(2, 4, dtype=torch.float64), torch.zeros(2, 7, dtype=torch.float64)
    read = model._joined(smooth, encoded, p, p > 0.5)
    assert torch.equal(read, smooth)
    (gradient,) = torch.autograd.grad(read.sum(), p)
    torch.testing.assert_close(gradient, torch.tensor([-1.0, 1.0], dtype=torch.float64) * smooth.sum(1))


def test_the_router_is_trained_by_what_the_decoder_makes_of_it():
    model = randomized(ratio_weight=0.0).train()
    model(inputs()).levels[2].square().sum().backward()
    assert model.query.grad.ne(0).all()
    assert model.key.grad.ne(0).all()


@pytest.mark.parametrize("length", [1.5, 3.0, 6.0])
def test_the_ratio_loss_is_one_at_its_target_and_pulls_towards_it(length):
    at = torch.tensor(1 / length)
    torch.testing.assert_close(ratio_loss(at, at, length), torch.tensor(1.0))
    for share, sign in ((at / 2, -1), (at, 0), ((1 + at) / 2, 1)):
        probable = torch.tensor(0.4, requires_grad=True)
        (gradient,) = torch.autograd.grad(ratio_loss(share, probable, length), probable)
        assert gradient.sign() == sign or gradient.abs() < 1e-6


def test_training_adds_the_ratio_loss_of_its_own_boundaries():
    model, x = randomized(chunk_length=4.0, ratio_weight=0.5), inputs()
    steps = model.eval()(x, trace=True).trace
    assert model(x).penalty == 0
    share, probable = steps.boundary[..., 0].mean(), steps.probability[..., 0].mean()
    torch.testing.assert_close(model.train()(x).penalty, 0.5 * ratio_loss(share, probable, 4.0))
    assert randomized(ratio_weight=0.0).train()(x).penalty == 0


def test_no_gradient_is_lost_in_the_first_step_of_a_sequence():
    model = Chunking(5, 7).train()
    output = model(torch.randn(2, 9, 5))
    (sum(level.sum() for level in output.levels) + output.penalty).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_the_main_network_is_due_where_chunks_begin():
    found = Chunking(5, [7, 4, 6]).products()
    assert [(p.level, p.macs, p.due) for p in found] == [
        (0, 4 * 7 * (5 + 7), "active"),
        (1, 4 * 4 * (7 + 4), "active"),
        (2, 4 * 6 * (4 + 6), "active"),
        (0, 2 * 7 * 7, "always"),
        (2, 7 * 4, "always"),
    ]
    assert backbone("chunking").level_names == ("encoder", "main", "decoder")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_size": [3, 4]}, "hidden_size must be one number or 3 of them"),
        ({"hidden_size": [3, 0, 4]}, r"hidden_size\[1\] must be a whole number of at least 1; got 0"),
        ({"input_size": 0}, "input_size"),
        ({"chunk_length": 1}, "chunk_length must be a number above 1; got 1"),
        ({"ratio_weight": -0.1}, "ratio_weight must be a number at least 0; got -0.1"),
        ({"smoothing": "no"}, "smoothing must be true or false; got 'no'"),
        ({"kernel": "fuse"}, "Did you mean 'fused'"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        Chunking(**{"input_size": 3, "hidden_size": 4, **wrong})
