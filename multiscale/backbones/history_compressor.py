"""The Neural History Compressor (Schmidhuber 1991, TUM FKI-148-91; 1992, Neural Computation 4(2), 234-242).

| symbol        | variable                    | shape                                                              |
|---------------|-----------------------------|--------------------------------------------------------------------|
| h_t^l, c_t^l  | state[l]                    | [B, H_l], hidden state of level l, and for lstm its cell           |
| W^l, U^l, b^l | layers[l]                   | [G H_l, D (+ 1 above level 1)], [G H_l, H_l], two [G H_l], G gates |
| V^l, v^l      | predictors[l].weight, .bias | [D, H_l], [D], from a state to the next input                      |
| e_t^l         | loss                        | [B], of the prediction of x_t from h_{t-1}^l                       |
| a_t^l         | active                      | [B], level l gets an input at t, and steps                         |
| s_t^l         | surprised                   | [B], and has failed to predict it                                  |
| n_t^l         | held, in state[-1]          | [B], steps since the last step of level l > 1                      |
| begun         | state[-1][0]                | [B], whether the sequence has begun                                |
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, Step, StepTrace, groups
from multiscale.backbones.stacked import layer_products, make_layers, run_layer, step_layer
from multiscale.checks import InvalidInput, in_range, one_of, positive_int, stack_sizes
from multiscale.nn.cells import CELLS, STATES, CellState
from multiscale.nn.layout import lay_by_columns
from multiscale.nn.zoneout import zone_out_each, zoneout_rates

PREDICTIONS = ("values", "softmax")
TRAINING = ("together", "in_turn")


class HistoryCompressor(Backbone):
    """Levels that each predict their next input; the one above sees only the inputs that this failed to predict.

    a_t^1 = 1. Level l steps where a_t^l = 1: level 1 on x_t, those above on [x_t; log(1 + n_{t-1}^l)]. Elsewhere its
    state is held exactly. It predicts x_t by V^l h_{t-1}^l + v^l, from its state before; s_t^l = 1 where a_t^l = 1 and
    this fails, and at the first step of a sequence; a_t^{l+1} = s_t^l. For ``values`` e is the squared error over D,
    and a prediction fails where e > ``threshold``; for ``softmax`` e = -log p with p the softmax's probability of the
    symbol that came, and it fails where p < ``threshold``.

    ``prediction_weight`` times the sum over levels of the mean of e_t^l where a_t^l = 1 is added to each training
    sequence's loss. Its gradient reaches the states, and through them trains the levels; it does not reach the x_t
    that is predicted. Surprises are hard: no gradient passes through them, nor through n.

    Of the papers this is the hierarchy of predictors, by back-propagation in the place of real-time recurrent learning,
    on any cell; the threshold and log(1 + n), for their representation of time, are this file's, and so is training all
    levels at once, ``together``. Left out are the collapse of the hierarchy into one network (chunker and automatizer)
    and the prediction of times.

    Trained ``in_turn``, as the papers have it, with E for ``epochs_per_level``: in the epochs [(l - 1) E, l E), and for
    the top level from (L - 1) E on, W, U, b, V and v of level l alone are moved. Those of the others stay bit for bit,
    below as they were learned, above as they were drawn. The top level learns from its predictions and from the task;
    those below from their predictions alone: what leaves them is cut from the task's gradient. Encoder and head learn
    at all times; under an encoder that learns, what a level reads may thus still change after its turn.

    The trace's boundary of a level is its surprise. It marks the step that begins a segment, which cannot be known
    before it is read: the segment before ended one step earlier. Against references that mark ends, such as
    ``word_ends``, score it with ``callbacks.boundaries.offset=1``. The top level has none.

    Args:
        input_size: D, units of the input.
        hidden_size: H_l, one number for all levels or one for each, from the input upwards.
        num_levels: L; by default as many as ``hidden_size`` lists, or 2.
        cell: ``tanh``, ``lstm`` or ``gru``, with the parameters of ``torch.nn``'s layers and their initialisation.
        predict: ``values``, or ``softmax``, for inputs that are unit vectors.
        threshold: of ``values``, a squared error a unit, in squared units of the input; of ``softmax``, a probability.
        prediction_weight: of the prediction losses.
        zoneout: probability with which a unit of a level that steps keeps its h (Krueger et al. 2016, arXiv 1606.01305;
            in neither paper), and
        zoneout_c: its c, of lstm; in evaluation both are the expectation.
        training: ``together`` or ``in_turn``.
        epochs_per_level: E of ``in_turn``, possibly a fraction.
        kernel: ``auto``, ``fused`` (level 1 in torch's fused layer, which knows no zoneout, those above over their
            inputs alone) or ``reference``.

    Raises:
        InvalidInput: for sizes below 1, an unknown cell, prediction or kernel, a threshold or weight below 0, a
            probability that is not in (0, 1], rates outside [0, 1], a zoneout_c of other cells than lstm,
            ``fused`` with zoneout, an unknown training, E that is not above 0, or a weight of 0 in_turn; and in
            training, for ``softmax`` of inputs that are not unit vectors.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_levels: int | None = None,
        cell: str = "lstm",
        predict: str = "values",
        threshold: float = 0.7,
        prediction_weight: float = 1.0,
        zoneout: float = 0.0,
        zoneout_c: float = 0.0,
        training: str = "together",
        epochs_per_level: float = 1.0,
        kernel: str = "auto",
    ) -> None:
        self.cell = one_of("cell", cell, tuple(CELLS))
        self.zoneout = zoneout_rates(zoneout, zoneout_c, cell)
        level_sizes = stack_sizes("hidden_size", hidden_size, "num_levels", num_levels, 2)
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        self.symbols = one_of("predict", predict, PREDICTIONS) == "softmax"
        in_range("threshold", threshold, 0, *[1] * self.symbols, open_low=self.symbols)
        self.limit = -math.log(threshold) if self.symbols else threshold  # of e
        self.in_turn = one_of("training", training, TRAINING) == "in_turn"
        self.prediction_weight = in_range("prediction_weight", prediction_weight, 0, open_low=self.in_turn)
        self.epochs_per_level = in_range("epochs_per_level", epochs_per_level, 0, open_low=True)
        self.turn = 0  # the level that learns, counted from 0, where one learns after the other
        first, *above = level_sizes
        self.layers = make_layers(cell, input_size, [first])
        for n in above:
            self.layers += make_layers(cell, input_size + 1, [n])
        self.predictors = nn.ModuleList(nn.Linear(n, input_size) for n in level_sizes)

    def products(self) -> tuple[Product, ...]:
        """Those of each level where it steps, and after them V^l; the top's serves in training alone."""
        predictions = (Product(level, n * self.input_size) for level, n in enumerate(self.level_sizes[:-1]))
        return (*layer_products(self.layers), *predictions)

    def anneal(self, epoch: float) -> None:
        self.turn = sum(epoch >= level * self.epochs_per_level for level in range(1, len(self.layers)))

    def held(self) -> Iterable[nn.Parameter]:
        """Those of all levels but the one whose turn it is."""
        if self.in_turn:
            for parts in (self.layers, self.predictors):
                for level, part in enumerate(parts):
                    yield from part.parameters() if level != self.turn else ()

    def exposed(self, levels: Levels) -> Levels:
        """In turn, the task trains the top level alone."""
        return (*(level.detach() for level in levels[:-1]), levels[-1]) if self.in_turn else levels

    def penalty(self) -> Tensor:
        """Zero, with a gradient of zero for V and v, which have no other where nothing is observed."""
        return super().penalty() + sum(0 * p.sum() for p in self.predictors.parameters())

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """((h,), ...) or ((h, c), ...) for lstm, a pair of zeros a level; (begun, n^2, ..., n^L): no, and zeros."""
        parts = tuple(
            tuple(torch.zeros(batch_size, n, device=device, dtype=dtype) for _ in range(STATES[self.cell]))
            for n in self.level_sizes
        )
        counters = (torch.zeros(batch_size, dtype=torch.long, device=device) for _ in self.level_sizes[1:])
        return *parts, (torch.zeros(batch_size, dtype=torch.bool, device=device), *counters)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """The definitions of the class, from level 1 upwards."""
        return self._advance(x_t, state)

    def stepper(self) -> Step:
        """Leaves out the levels that get no input."""
        lay_by_columns(self)
        return partial(self._advance, alone=True)

    def _advance(self, x_t: Tensor, state: State, alone: bool = False) -> tuple[Levels, State, StepTrace]:
        """A step; of one sequence ``alone``, without what it does not need."""
        *before, (begun, *held) = groups(state)
        active, told = torch.ones_like(begun), []
        after: list[CellState] = []
        counters = []
        for level, (layer, previous) in enumerate(zip(self.layers, before, strict=True)):
            rests = alone and not active
            read = _with_time(x_t, held[level - 1]) if level else x_t
            stepped = previous if rests else step_layer(self.cell, layer, read, previous)
            new = zone_out_each(stepped, previous, self.zoneout, self.training)
            after.append(tuple(torch.where(active[:, None], n, old) for n, old in zip(new, previous, strict=True)))
            if level:
                counters.append(torch.where(active, 0, held[level - 1] + 1))
            told.append(active)
            if level + 1 < len(self.layers) and not rests:
                active = active & (self._fails(level, previous[0], x_t) | ~begun)
        levels = tuple(parts[0] for parts in after)
        return levels, (*after, (torch.ones_like(begun), *counters)), _told(told, begun, x_t.dtype)

    def _loss(self, level: int, before: Float[Tensor, "B *T H"], x: Float[Tensor, "B *T D"]) -> Float[Tensor, "B *T"]:
        """e: how far the prediction that a state makes of its next input is from it."""
        predicted = self.predictors[level](before).to(x.dtype)
        if self.symbols:
            return -(x * predicted.log_softmax(-1)).sum(-1)
        return (predicted - x).square().mean(-1)

    def _fails(self, level: int, before: Float[Tensor, "B *T H"], x: Float[Tensor, "B *T D"]) -> Bool[Tensor, "B *T"]:
        """Whether e is above what the threshold allows."""
        return self._loss(level, before.detach(), x.detach()) > self.limit

    @property
    def observes(self) -> bool:
        return self.prediction_weight > 0

    def observe(self, x: Tensor, state: State, levels: Levels, steps: StepTrace) -> Tensor:
        target, total = x.detach(), x.new_zeros(())
        if self.symbols and not (((target == 0) | (target == 1)).all() and (target.sum(-1) == 1).all()):
            raise InvalidInput("predict must be values for inputs that are not unit vectors; got 'softmax'.")
        for level, (hidden, (first, *_)) in enumerate(zip(levels, groups(state)[:-1], strict=True)):
            active = steps.update[..., level]
            before = _before(first, hidden)
            if steps.reset is not None:
                before = before.masked_fill(steps.reset[..., None], 0)
            loss = self._loss(level, before, target)
            total = total + (loss * active).sum() / active.sum().clamp(min=1)
        return self.prediction_weight * total

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {"fused": "torch's fused layers have no zoneout" if any(self.zoneout) else None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        *before, (begun, *held) = groups(state)
        begun = torch.cat([begun[:, None], begun.new_ones(len(x), x.size(1) - 1)], 1)
        active, told = torch.ones_like(begun), []
        levels, after, counters = [], [], []
        for level, (layer, previous) in enumerate(zip(self.layers, before, strict=True)):
            if level:
                elapsed = _held(active, held[level - 1])
                hidden, last = _run_where(active, self.cell, layer, _with_time(x, elapsed[:, :-1]), previous)
                counters.append(elapsed[:, -1])
            else:
                hidden, last = run_layer(layer, x, previous)
            levels.append(hidden.to(previous[0].dtype))
            after.append(last)
            told.append(active)
            if level + 1 < len(self.layers):
                active = active & (self._fails(level, _before(previous[0], levels[-1]), x) | ~begun)
        last_state = (*after, (torch.ones_like(begun[:, 0]), *counters))
        return tuple(levels), last_state, _told(told, begun, x.dtype) if trace else None


def _before(first: Float[Tensor, "B H"], hidden: Float[Tensor, "B T H"]) -> Float[Tensor, "B T H"]:
    """The hidden state before each step of a sequence."""
    return torch.cat([first[:, None], hidden[:, :-1]], 1)


def _with_time(x: Float[Tensor, "B *T D"], held: Int[Tensor, "B *T"]) -> Float[Tensor, "B *T D1"]:
    """[x; log(1 + n)]."""
    return torch.cat([x, held[..., None].to(x.dtype).log1p()], -1)


def _held(active: Bool[Tensor, "B T"], before: Int[Tensor, " B"]) -> Int[Tensor, "B T1"]:
    """n before each step, and after the last one, of a level that steps where it is ``active``."""
    earlier = -1 - before[:, None]  # when its last step was, counted from the first of these
    steps = torch.arange(active.size(1) + 1, device=active.device)
    last = torch.cat([earlier, torch.where(active, steps[:-1], earlier)], 1).cummax(1).values
    return steps - 1 - last


def _run_where(
    active: Bool[Tensor, "B T"], cell: str, layer: nn.Module, read: Float[Tensor, "B T _"], state: CellState
) -> tuple[Float[Tensor, "B T H"], CellState]:
    """A layer that steps where it is ``active`` and is held elsewhere: its hidden states, and the state after, from a
    loop over its steps alone: the k-th of each sample side by side, and those that have no k-th held."""
    weight_ih, weight_hh, bias_ih, bias_hh = layer.parameters()
    count = active.sum(1)
    most = max(int(count.max()), 1)  # at least one, so that every parameter has a gradient
    which = active.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    inputs = read.gather(1, which[..., None].expand(-1, -1, read.size(2)))
    found = [state]
    for k, u in enumerate(F.linear(inputs, weight_ih, bias_ih).unbind(1)):
        previous, real = found[-1], (k < count)[:, None]
        new = CELLS[cell](u, F.linear(previous[0], weight_hh, bias_hh), previous)
        found.append(tuple(torch.where(real, n.to(old.dtype), old) for n, old in zip(new, previous, strict=True)))
    hidden = torch.stack([parts[0] for parts in found], 1)
    at = active.cumsum(1)[..., None].expand(-1, -1, hidden.size(2))  # 0: what was before the sequence
    return hidden.gather(1, at), found[-1]


def _told(active: Sequence[Bool[Tensor, "B *T"]], begun: Bool[Tensor, "B *T"], dtype: torch.dtype) -> StepTrace:
    """Levels are rewritten where they are active; the surprises of one are where the next one is. They are to be
    decided where it gets an input, but at the first step of a sequence."""
    update = torch.stack(tuple(active), -1).to(dtype)
    boundary = F.pad(update[..., 1:], (0, 1))
    opened = F.pad(update[..., :-1] * begun[..., None].to(dtype), (0, 1))
    return StepTrace(update, boundary, None, None, opened)
