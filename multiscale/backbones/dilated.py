"""Dilated RNN (Chang et al. 2017, arXiv 1710.02224).

| symbol       | variable                         | shape                                                             |
|--------------|----------------------------------|-------------------------------------------------------------------|
| h_t^l, c_t^l | state[0][l], state[1][l]         | [B, s^l, H_l], the last s^l states of layer l, the oldest first   |
| s^l          | dilations                        | L numbers of steps, the skip length of each layer                 |
| W^l, U^l, b^l | layer.weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 | as in torch.nn                           |
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, StepTrace, groups
from multiscale.backbones.stacked import layer_products, make_layers, run_layer, step_layer
from multiscale.checks import InvalidInput, one_of, positive_int, sizes
from multiscale.nn.cells import CELLS, STATES, CellState
from multiscale.nn.zoneout import zone_out_each, zoneout_rates


class DilatedRNN(Backbone):
    """Layers whose cells read their own state of s^l steps before, each on top of the one below; all are levels.

    h_t^l = cell(h_t^{l-1}, h_{t-s^l}^l) with h^0 = x (Eq. 2): a layer is s^l recurrences that take turns, which know
    of each other only through the layers below. What comes before the first step is zero. The paper's fusion layer
    for stacks whose first dilation is above 1 is the head's part here.

    Args:
        input_size: D, units of the input.
        hidden_size: H_l, one number for all layers or one for each, from the input upwards.
        dilations: s^l in steps, one a layer, from the input upwards; the paper's are powers of 2 (Eq. 5).
        cell: ``tanh``, ``lstm`` or ``gru``.
        zoneout: probability with which a unit keeps the h of s^l steps before (Krueger et al. 2016, arXiv 1606.01305;
            not in the paper), and
        zoneout_c: its c, of lstm; in evaluation both are the expectation.
        kernel: ``auto``, ``folded`` (each layer's turns side by side as one batch, in torch's fused layers, which know
            no zoneout; Fig. 1 of the paper) or ``reference``.

    Raises:
        InvalidInput: for sizes or dilations below 1, no dilations, an unknown cell or kernel, rates outside [0, 1], a
            zoneout_c of other cells than lstm, or ``folded`` with zoneout.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        dilations: Sequence[int],
        cell: str = "gru",
        zoneout: float = 0.0,
        zoneout_c: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        if isinstance(dilations, (str, int)) or not len(dilations):
            raise InvalidInput(f"dilations must be a list of at least one whole number of steps; got {dilations!r}.")
        self.dilations = [positive_int(f"dilations[{i}]", s) for i, s in enumerate(dilations)]
        self.cell = one_of("cell", cell, tuple(CELLS))
        self.zoneout = zoneout_rates(zoneout, zoneout_c, cell)
        level_sizes = sizes("hidden_size", hidden_size, len(self.dilations))
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        self.layers = make_layers(cell, input_size, level_sizes)

    @property
    def level_names(self) -> tuple[str, ...]:
        return tuple(f"layer {l}, dilation {s}" for l, s in enumerate(self.dilations, 1))

    def products(self) -> tuple[Product, ...]:
        """G H_l (H_{l-1} + H_l) of each layer, at every step."""
        return layer_products(self.layers)

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h,), or (h, c) for lstm: L tensors of zeros each."""

        def zeros() -> tuple[Tensor, ...]:
            widths = zip(self.dilations, self.level_sizes, strict=True)
            return tuple(torch.zeros(batch_size, s, n, device=device, dtype=dtype) for s, n in widths)

        return tuple(zeros() for _ in range(STATES[self.cell]))

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """Eq. 2 of the paper for every layer, from the input upwards."""
        below, levels, after = x_t, [], []
        for layer, *last in zip(self.layers, *groups(state), strict=True):
            before = tuple(part[:, 0] for part in last)
            new = zone_out_each(step_layer(self.cell, layer, below, before), before, self.zoneout, self.training)
            below = new[0]
            levels.append(below)
            after.append(tuple(torch.cat([old[:, 1:], h[:, None]], 1) for old, h in zip(last, new, strict=True)))
        return tuple(levels), tuple(zip(*after, strict=True)), StepTrace(x_t.new_ones(len(x_t), len(levels)))

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {"folded": "torch's fused layers have no zoneout" if any(self.zoneout) else None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        below, levels, after = x, [], []
        for layer, dilation, *last in zip(self.layers, self.dilations, *groups(state), strict=True):
            whole = x.size(1) // dilation * dilation  # the steps of full rounds, in which each turn comes once
            rounds = [part for part in below.split([whole, x.size(1) - whole], 1) if part.size(1)]
            hidden, kept = [], tuple(last)
            for part in rounds:
                turns = min(dilation, part.size(1))
                taken, rest = zip(*(k.split([turns, dilation - turns], 1) for k in kept), strict=True)
                out, new = _take_turns(layer, part, taken)
                hidden.append(out)
                kept = tuple(torch.cat(pair, 1) for pair in zip(rest, new, strict=True))
            below = torch.cat(hidden, 1)
            levels.append(below)
            after.append(kept)
        steps = StepTrace(x.new_ones(*x.shape[:2], len(levels))) if trace else None
        return tuple(levels), tuple(zip(*after, strict=True)), steps


def _take_turns(
    layer: torch.nn.Module, x: Float[Tensor, "B T _"], state: CellState
) -> tuple[Float[Tensor, "B T _"], CellState]:
    """Run the s recurrences of a layer, of which each has every s-th step, side by side as one batch, over a multiple
    of s steps; ``state`` is that of each, [B, s, H_l], as is what comes of it."""
    turns = state[0].size(1)
    apart = x.unflatten(1, (-1, turns)).transpose(1, 2).flatten(0, 1)  # [B s, T / s, .]
    hidden, last = run_layer(layer, apart, tuple(part.flatten(0, 1) for part in state))
    together = hidden.unflatten(0, (-1, turns)).transpose(1, 2).flatten(1, 2)
    return together, tuple(part.unflatten(0, (-1, turns)) for part in last)
