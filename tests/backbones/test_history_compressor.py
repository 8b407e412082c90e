"""The history compressor: who steps when, what is predicted, and that only surprises go up."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multiscale.backbones.base import detach
from multiscale.backbones.history_compressor import HistoryCompressor
from multiscale.backbones.stacked import LAYERS, StackedRNN
from multiscale.checks import InvalidInput
from multiscale.testing import laws
from tests.conftest import backbone

KERNELS = ("reference", "fused")
CELLS = ("tanh", "lstm", "gru")
TORCH = {"tanh": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
THRESHOLD = 0.2  # of a probability, in these tests


def randomized(**changes) -> HistoryCompressor:
    """Three levels of which each is surprised at some of its inputs."""
    torch.manual_seed(0)
    arguments = {"input_size": 5, "hidden_size": [7, 4, 6], "num_levels": 3, "threshold": 1.0, **changes}
    model = HistoryCompressor(**arguments).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def inputs(batch: int = 3, steps: int = 12, size: int = 5) -> torch.Tensor:
    return torch.randn(batch, steps, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def symbols(batch: int = 3, steps: int = 12, size: int = 5) -> torch.Tensor:
    return F.one_hot(inputs(batch, steps, size).argmax(-1), size).double()


def by_hand(model: HistoryCompressor, x: torch.Tensor) -> tuple[list, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The levels [T, H_l], where they stepped and were surprised [T, L], and the prediction losses of one sequence, by
    cells of torch: a level is called where it gets an input, and nowhere else."""
    count, cells = len(model.layers), []
    for layer in model.layers:
        cell = TORCH[model.cell](layer.input_size, layer.hidden_size).double()
        cell.load_state_dict({name.removesuffix("_l0"): p for name, p in layer.state_dict().items()})
        cells.append(cell)
    states = [[x.new_zeros(1, n)] * (2 if model.cell == "lstm" else 1) for n in model.level_sizes]
    levels, last = [[] for _ in cells], [-1] * count
    stepped, surprised = torch.zeros(len(x), count), torch.zeros(len(x), count)
    losses = [[] for _ in cells]
    for t, x_t in enumerate(x):
        reached = True
        for level, cell in enumerate(cells):
            if reached:
                before = states[level][0][0]
                predicted = model.predictors[level].weight @ before + model.predictors[level].bias
                if model.symbols:
                    p = predicted.softmax(0)[x_t.argmax()]
                    losses[level].append(-p.log())
                    failed = p < THRESHOLD
                else:
                    losses[level].append((predicted - x_t).square().mean())
                    failed = losses[level][-1] > 1.0
                since = torch.tensor([t - last[level] - 1]).double()
                read = torch.cat([x_t, (1 + since).log()]) if level else x_t
                new = cell(read[None], states[level] if model.cell == "lstm" else states[level][0])
                states[level] = list(new) if model.cell == "lstm" else [new]
                stepped[t, level], surprised[t, level] = 1, bool(failed) or t == 0
                last[level], reached = t, bool(surprised[t, level])
            levels[level].append(states[level][0][0])
    total = sum(torch.stack(level).mean() for level in losses)
    return [torch.stack(level) for level in levels], stepped, surprised, total


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("predict", ["values", "softmax"])
def test_it_is_its_definitions(predict, cell, kernel):
    threshold = {"values": 1.0, "softmax": THRESHOLD}[predict]
    model = randomized(cell=cell, predict=predict, threshold=threshold, kernel=kernel)
    x = inputs(steps=24) if predict == "values" else symbols(steps=24)
    output = model(x, trace=True)
    rates = output.trace.update.mean((0, 1))
    assert 1 == rates[0] > rates[1] > rates[2] > 1 / 24
    for b, sample in enumerate(x):
        levels, stepped, surprised, loss = by_hand(model, sample)
        torch.testing.assert_close([level[b] for level in output.levels], levels, rtol=0, atol=1e-12)
        assert torch.equal(output.trace.update[b].float(), stepped)
        assert torch.equal(output.trace.boundary[b, :, :-1].float(), surprised[:, :-1])
        torch.testing.assert_close(model.train()(x[b : b + 1]).penalty, loss)
        model.eval()
    assert not output.trace.boundary[..., -1].any()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("steps", [1, 2, 63])
def test_the_fused_kernel_is_the_fold_with_all_gradients_from_any_state(steps, cell):
    model = randomized(cell=cell).train()
    for first in (None, detach(model(inputs()).state)):
        x, runs = inputs(steps=steps).requires_grad_(), []
        for kernel in KERNELS:
            output = model.use(kernel)(x, first, trace=True)
            *carried, counters = output.state
            parts = [part for group in carried for part in group]
            total = sum(part.sin().sum() for part in (*output.levels, *parts)) + output.penalty
            grads = torch.autograd.grad(total, [x, *model.parameters()])
            trace = (output.trace.update, output.trace.boundary, output.trace.open)
            runs.append([*output.levels, *parts, *counters, *trace, output.penalty, *grads])
        torch.testing.assert_close(*runs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", CELLS)
def test_one_level_is_the_torch_network(cell, kernel):
    model = HistoryCompressor(5, 7, num_levels=1, cell=cell, kernel=kernel).double()
    dense = LAYERS[cell](5, 7, batch_first=True).double()
    dense.load_state_dict(model.layers[0].state_dict())
    x = inputs()
    torch.testing.assert_close(model(x).levels[0], dense(x)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_threshold_that_nothing_keeps_makes_every_level_a_layer_on_the_input(kernel):
    model = randomized(threshold=0.0, kernel=kernel)
    output = model(inputs(), trace=True)
    assert output.trace.update.all()
    for level, layer in enumerate(model.layers):
        read = inputs() if level == 0 else F.pad(inputs(), (0, 1))  # no step in between: log(1 + 0)
        torch.testing.assert_close(output.levels[level], layer(read)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_never_surprised_passes_on_the_first_step_alone(kernel):
    model = randomized(threshold=1e9, kernel=kernel)
    output = model(inputs(), trace=True)
    expected = torch.zeros(3, 12, 3, dtype=torch.float64)
    expected[..., 0] = expected[:, 0] = 1
    assert torch.equal(output.trace.update, expected)
    more = model(inputs(), output.state, trace=True)  # a sequence that goes on has begun
    assert torch.equal(more.trace.update, torch.eye(3)[0].double().expand(3, 12, 3))
    assert torch.equal(more.levels[1][:, -1], output.levels[1][:, 0])
    assert [n.tolist() for n in more.state[-1][1:]] == [[23] * 3] * 2


@pytest.mark.parametrize("kernel", KERNELS)
def test_between_surprises_the_upper_levels_are_held_bit_for_bit(kernel):
    model = randomized(kernel=kernel).float()
    state = detach(model(inputs().float()).state)
    output = model(inputs(steps=40).float(), state, trace=True)
    for level in (1, 2):
        hidden, active = output.levels[level], output.trace.update[..., level].bool()
        before = torch.cat([state[level][0][:, None], hidden[:, :-1]], 1)
        assert torch.equal((hidden == before).all(-1), ~active)
        assert 0 < active.float().mean() < 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_time_since_its_last_step_is_all_that_a_level_knows_of_what_was_expected(kernel):
    """Level 1 is never surprised at zeros, and always at ones: level 2 sees how many zeros there were."""
    model = HistoryCompressor(1, [1, 3], cell="tanh", threshold=0.5, kernel=kernel).double()
    with torch.no_grad():
        for p in (*model.layers[0].parameters(), *model.predictors[0].parameters()):
            p.zero_()
    x = torch.zeros(1, 9, 1, dtype=torch.float64)
    x[0, [4, 8], 0] = 1
    output = model(x, trace=True)
    assert output.trace.update[0, :, 1].nonzero().flatten().tolist() == [0, 4, 8]
    seen = torch.tensor([[0, 0], [1, 3], [1, 3]], dtype=torch.float64)
    seen[:, 1] = seen[:, 1].add(1).log()
    torch.testing.assert_close(output.levels[1][0, [0, 4, 8]], model.layers[1](seen[None])[0][0])


def test_training_adds_the_prediction_losses_and_their_gradient_trains_the_levels_but_not_what_they_predict():
    model = randomized(prediction_weight=1.0).train()
    x = inputs(steps=1).requires_grad_()
    penalty = model(x).penalty
    torch.testing.assert_close(randomized(prediction_weight=0.5).train()(x).penalty, penalty / 2)
    assert randomized(prediction_weight=0.0).train()(x).penalty == 0
    assert model.eval()(x).penalty == 0
    (gradient,) = torch.autograd.grad(penalty, x, allow_unused=True)
    assert gradient is None or not gradient.any()  # predicted, and read by none that predicts
    model.train()(inputs(steps=30)).penalty.backward()
    for level, layer in enumerate(model.layers):
        assert all(p.grad.any() for p in layer.parameters()), level


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_is_that_of_finite_differences(cell):
    model = randomized(cell=cell, hidden_size=3).train()

    def result(x: torch.Tensor, *parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = dict(zip((name for name, _ in model.named_parameters()), parameters, strict=True))
        return torch.func.functional_call(model, named, (x,)).levels

    x = inputs(batch=1, steps=5).requires_grad_()
    torch.autograd.gradcheck(result, (x, *(p.detach().requires_grad_() for p in model.parameters())))


def test_it_learns_what_is_predictable_and_then_hands_up_the_rest():
    """One of two symbols, and always the same three after it."""
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(0)
    model = HistoryCompressor(5, 16, cell="tanh", predict="softmax", threshold=0.9).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def sequences() -> torch.Tensor:
        x = 1 + torch.arange(32).repeat(16, 1) % 4
        x[:, ::4] = torch.randint(2, (16, 8), generator=draw)
        return F.one_hot(x, 5).float()

    for _ in range(150):
        optimizer.zero_grad()
        model(sequences()).penalty.backward()
        optimizer.step()
    rate = model.eval()(sequences(), trace=True).trace.update[..., 1].mean(0)
    assert torch.equal(rate, torch.tensor([1.0, 0, 0, 0]).repeat(8))


def test_inputs_that_are_no_unit_vectors_cannot_be_predicted_by_a_softmax():
    model = randomized(predict="softmax", threshold=THRESHOLD).train()
    with pytest.raises(InvalidInput, match=r"predict must be values .* got 'softmax'"):
        model(inputs())
    assert model(symbols()).penalty > 0


def test_levels_and_their_predictions_are_due_where_they_step():
    found = HistoryCompressor(5, [7, 4, 6], num_levels=3).products()
    assert [(p.level, p.macs, p.due) for p in found] == [
        (0, 4 * 7 * (5 + 7), "active"),
        (1, 4 * 4 * (6 + 4), "active"),
        (2, 4 * 6 * (6 + 6), "active"),
        (0, 5 * 7, "active"),
        (1, 5 * 4, "active"),
    ]
    assert StackedRNN(5, 7, 1).products() == HistoryCompressor(5, 7, num_levels=1).products()
    assert backbone("history_compressor").detecting == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_size": [3, 4, 5], "num_levels": 2}, "hidden_size must be one number or 2 of them"),
        ({"hidden_size": [3, 0]}, r"hidden_size\[1\] must be a whole number of at least 1; got 0"),
        ({"num_levels": 0}, "num_levels must be a whole number of at least 1; got 0"),
        ({"input_size": 0}, "input_size"),
        ({"cell": "ltsm"}, "Did you mean 'lstm'"),
        ({"predict": "softmaxx"}, "Did you mean 'softmax'"),
        ({"threshold": -1}, "threshold must be a number at least 0; got -1"),
        ({"predict": "softmax", "threshold": 0}, "threshold must be a number above 0 and at most 1; got 0"),
        ({"predict": "softmax", "threshold": 1.5}, "threshold must be a number above 0 and at most 1; got 1.5"),
        ({"prediction_weight": -0.1}, "prediction_weight must be a number at least 0; got -0.1"),
        ({"training": "in turn"}, "training must be one of together, in_turn; got 'in turn'. Did you mean 'in_turn'"),
        ({"epochs_per_level": 0}, "epochs_per_level must be a number above 0; got 0"),
        ({"training": "in_turn", "prediction_weight": 0}, "prediction_weight must be a number above 0; got 0"),
        ({"kernel": "fuse"}, "Did you mean 'fused'"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        HistoryCompressor(**{"input_size": 3, "hidden_size": 4, **wrong})


# One level after the other.


def numbers(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def test_in_turn_one_level_at_a_time_moves_and_the_others_stand_still_bit_for_bit():
    """Also those that have momentum from their own turn, and would decay."""
    model = randomized(training="in_turn", epochs_per_level=0.5).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for epoch, learning in [(0, 0), (0.49, 0), (0.5, 1), (0.99, 1), (1, 2), (1.5, 2), (99, 2), (0.2, 0)]:
        model.anneal(epoch)
        before = [numbers(nn.ModuleList(parts)) for parts in zip(model.layers, model.predictors, strict=True)]
        optimizer.zero_grad()
        output = model(inputs(steps=30))
        (sum(level.sum() for level in output.levels) + output.penalty).backward()
        assert all(p.grad is not None for p in model.parameters())
        for p in model.held():
            p.grad = None
        optimizer.step()
        after = [numbers(nn.ModuleList(parts)) for parts in zip(model.layers, model.predictors, strict=True)]
        for level, (old, new) in enumerate(zip(before, after, strict=True)):
            assert bool((old != new).all()) if level == learning else torch.equal(old, new), (epoch, level)


@pytest.mark.parametrize("kernel", KERNELS)
def test_in_turn_the_task_trains_the_top_level_alone_and_predictions_train_all(kernel):
    models = [randomized(training=training, kernel=kernel).train() for training in ("in_turn", "together")]
    for model in models:
        sum(level.sum() for level in model(inputs()).levels).backward()
    by_level = [[[p.grad for p in layer.parameters()] for layer in model.layers] for model in models]
    assert all(grad is None for level in by_level[0][:-1] for grad in level)
    torch.testing.assert_close(by_level[0][-1], by_level[1][-1], rtol=0, atol=0)
    penalties = [model(inputs()).penalty for model in models]
    grads = [torch.autograd.grad(p, [*m.parameters()]) for p, m in zip(penalties, models, strict=True)]
    torch.testing.assert_close(*grads, rtol=0, atol=0)


def test_in_turn_is_together_in_all_that_is_computed_and_holds_nothing_together():
    models = [randomized(training=training).eval() for training in ("in_turn", "together")]
    x, levels = inputs(), []
    for model in models:
        levels.append(model(x).levels)
        assert all(level.requires_grad for level in levels[-1])  # in evaluation there is nothing to cut
    torch.testing.assert_close(*levels, rtol=0, atol=0)
    assert [len([*model.held()]) for model in models] == [12, 0]


test_in_turn_it_keeps_every_law = laws("history_compressor", "model.training=in_turn", "model.hidden_size=13")
