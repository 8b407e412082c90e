"""Skip RNN (Campos, Jou, Giro-i-Nieto, Torres, Chang 2018, arXiv 1708.06834).

| symbol     | variable                | shape                                                        |
|------------|-------------------------|--------------------------------------------------------------|
| s_t        | h[l], and c[l] for lstm | [B, H_l], state of layer l; the top's c, else h, decides     |
| u_t        | update                  | [B, 1], 1: all layers are updated; 0: all are copied         |
| u~_t       | probability             | [B, 1], what u_t is rounded from                             |
| Delta u~_t | increment               | [B, 1], what is added to it at each copied step              |
| W_p, b_p   | gate.weight, gate.bias  | [1, H_L], [1]                                                |
| s_0        | start                   | one [H_l] for each h[l] and c[l], learned                    |
| S          | layers                  | G gates of W [G H_l, H_{l-1}], U [G H_l, H_l] and two biases |
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, Step, StepTrace, fold_steps, groups
from multiscale.backbones.stacked import layer_products, make_layers
from multiscale.checks import flag, in_range, one_of, positive_int, real, stack_sizes
from multiscale.nn.cells import CELLS, STATES, CellState
from multiscale.nn.layout import lay_by_columns
from multiscale.nn.straight_through import straight_through
from multiscale.nn.zoneout import zone_out_each, zoneout_rates


class SkipRNN(Backbone):
    """A stack of cells that is updated as a whole at the steps it chooses, and copied exactly at the others.

    u_t = round(u~_t), s_t = u_t S(s_{t-1}, x_t) + (1 - u_t) s_{t-1}, Delta u~_t = sigma(W_p s_t + b_p),
    u~_{t+1} = u_t Delta u~_t + (1 - u_t) (u~_t + min(Delta u~_t, 1 - u~_t)), u~_1 = 1 (Eq. 2-6). The rounding, of 1/2
    upwards, passes the gradient straight through. Of a stack, the top layer decides, for lstm by its c, and a layer
    reads the candidate of the one below, as in the authors' code. The gradient is that of the equations; their code
    computes the same numbers in another order, and passes another gradient from u_t to later steps.

    Args:
        input_size: D, units of the input.
        hidden_size: H_l, one number for all layers or one for each, from the input upwards.
        num_layers: L; by default as many as ``hidden_size`` lists, or 1.
        cell: ``tanh``, ``lstm`` or ``gru``, with the parameters of ``torch.nn``'s layers and their initialisation.
        update_bias: what b_p starts at.
        cost_per_update: lambda of the paper's budget loss, lambda sum_t u_t: what an update adds to the loss of the
            sequence, or the part of one, that training reads at once, in nats; the mean over the batch.
        learned_start: s_0 is learned, from zeros; false, it is zero.
        zoneout: probability with which a unit keeps its h through an update (Krueger et al. 2016, arXiv 1606.01305; not
            in the paper), and
        zoneout_c: its c, of lstm; in evaluation both are the expectation.
        kernel: ``auto``, ``hoisted`` (the first layer's product with the input is made for all steps at once) or
            ``reference``.

    Raises:
        InvalidInput: for sizes below 1, an unknown cell or kernel, a bias that is not finite, a cost below 0, rates
            outside [0, 1] or a zoneout_c of other cells than lstm.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int | None = None,
        cell: str = "lstm",
        update_bias: float = 1.0,
        cost_per_update: float = 0.0,
        learned_start: bool = True,
        zoneout: float = 0.0,
        zoneout_c: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        level_sizes = stack_sizes("hidden_size", hidden_size, "num_layers", num_layers, 1)
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        self.cell = one_of("cell", cell, tuple(CELLS))
        self.zoneout = zoneout_rates(zoneout, zoneout_c, cell)
        self.cost_per_update = in_range("cost_per_update", cost_per_update, 0)
        self.layers = make_layers(cell, input_size, level_sizes)
        self.gate = nn.Linear(level_sizes[-1], 1)
        nn.init.constant_(self.gate.bias, real("update_bias", update_bias))
        zeros = [nn.Parameter(torch.zeros(n)) for _ in range(STATES[cell]) for n in level_sizes]
        self.start = nn.ParameterList(zeros if flag("learned_start", learned_start) else [])

    def products(self) -> tuple[Product, ...]:
        """Each layer's products at its updates, and W_p after them: a state that was copied gives the same increment
        again."""
        return (*layer_products(self.layers), Product(len(self.layers) - 1, self.gate.in_features))

    def penalty(self) -> Tensor:
        """Zero, with a gradient of zero for s_0, which has no other where a sequence goes on from a given state."""
        return super().penalty() + sum(0 * part.sum() for part in self.start)

    @property
    def observes(self) -> bool:
        return self.cost_per_update > 0

    def observe(self, x: Tensor, state: State, levels: Levels, steps: StepTrace) -> Tensor:
        return self.cost_per_update * steps.update[..., 0].sum(1).mean()

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, (u_0, u~_0)), or (h, c, (u_0, u~_0)) for lstm: L tensors of s_0 each; and 0 and 1, of which Eq. 5 makes
        u~_1 = 1, whatever the increment."""
        parts = list(self.start) or [torch.zeros(n) for _ in range(STATES[self.cell]) for n in self.level_sizes]
        wide = [part.to(device, dtype).repeat(batch_size, 1) for part in parts]
        n = len(self.layers)
        one = torch.ones(batch_size, 1, device=device, dtype=dtype)
        return *(tuple(wide[k : k + n]) for k in range(0, len(wide), n)), (0 * one, one)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """Eq. 2-6; the increment of s_{t-1} is made where it is needed, at step t."""
        return self._advance(self._drive(x_t), state)

    def _drive(self, x: Float[Tensor, "B *T D"]) -> Float[Tensor, "B *T GH"]:
        """The input's part of the first layer's gates."""
        weight_ih, _, bias_ih, _ = self.layers[0].parameters()
        return F.linear(x, weight_ih, bias_ih)

    def _decide(self, state: State) -> tuple[Tensor, Tensor]:
        """u_t and u~_t, from the state before."""
        *before, (update, probability) = groups(state)
        increment = torch.sigmoid(self.gate(before[-1][-1])).to(probability.dtype)
        held = probability + torch.minimum(increment, 1 - probability)
        probability = update * increment + (1 - update) * held
        return straight_through((probability >= 0.5).to(probability.dtype), probability), probability

    def stepper(self) -> Step:
        """Makes no candidate where the state is copied."""
        lay_by_columns(self.layers)

        def step(x_t: Tensor, state: State) -> tuple[Levels, State, StepTrace]:
            update, probability = self._decide(state)
            if update:
                return self.step(x_t, state)
            *before, _ = groups(state)
            levels = before[0]
            return levels, (*before, (update, probability)), StepTrace(update.expand(-1, len(levels)))

        return step

    def _advance(self, drive: Float[Tensor, "B GH"], state: State) -> tuple[Levels, State, StepTrace]:
        """A step from the input's part of it."""
        *before, _ = groups(state)
        update, probability = self._decide(state)
        by_layer = list(zip(*before, strict=True))
        after = [
            tuple(update * n + (1 - update) * old for n, old in zip(new, previous, strict=True))
            for new, previous in zip(self._candidates(drive, by_layer), by_layer, strict=True)
        ]
        by_kind = tuple(zip(*after, strict=True))
        return by_kind[0], (*by_kind, (update, probability)), StepTrace(update.expand(-1, len(after)))

    def _candidates(self, drive: Tensor, by_layer: Sequence[CellState]) -> list[CellState]:
        """S(s_{t-1}, x_t): what an update makes of every layer."""
        found: list[CellState] = []
        for layer, previous in zip(self.layers, by_layer, strict=True):
            weight_ih, weight_hh, bias_ih, bias_hh = layer.parameters()
            u = F.linear(found[-1][0], weight_ih, bias_ih) if found else drive
            new = CELLS[self.cell](u, F.linear(previous[0], weight_hh, bias_hh), previous)
            found.append(zone_out_each(new, previous, self.zoneout, self.training))
        return found

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {"hoisted": None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        return fold_steps(self._advance, self._drive(x).unbind(1), state, trace)
