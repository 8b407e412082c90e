"""Fast-Slow RNN (Mujika, Meier, Steger 2017, arXiv 1705.08639).

| symbol         | variable   | shape                                                                      |
|----------------|------------|----------------------------------------------------------------------------|
| h_t^F, c_t^F   | state[0]   | [B, H_F] each: the state that runs through the fast cells, after the last  |
| h_t^S, c_t^S   | state[1]   | [B, H_S] each, of the slow cell                                            |
| f^F1 ... f^Fk  | fast       | k LSTM cells; the first reads x_t, the second h_t^S, the others nothing    |
| f^S            | slow       | LSTM cell, reads h_t^F1                                                    |
| k              | fast_cells | how many fast cells                                                        |
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, StepTrace, fold_steps, groups
from multiscale.checks import InvalidInput, flag, in_range, positive_int, sizes
from multiscale.nn.cells import CellState, GateNorm, Norm, lstm_cell, no_norm
from multiscale.nn.zoneout import zone_out_each


class Regularisers(NamedTuple):
    """What is done within each cell."""

    zoneout_h: float
    zoneout_c: float
    layer_norm: bool


class FastSlowCell(nn.Module):
    """An LSTM cell with torch's parameters, which can normalise its gates and zone out."""

    def __init__(self, reads: int, size: int, options: Regularisers) -> None:
        super().__init__()
        self.options = options
        self.cell = nn.LSTMCell(reads, size)
        self.gain = nn.Parameter(torch.empty(4, size)) if options.layer_norm else None
        self.offset = nn.Parameter(torch.empty(4, size)) if options.layer_norm else None
        self.norm_c = nn.LayerNorm(size) if options.layer_norm else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Orthogonal weights, biases 0 but 1 for the forget gate, which the norm does not take away, gains 1."""
        for weight in (self.cell.weight_ih, self.cell.weight_hh):
            nn.init.orthogonal_(weight)
        for bias in (self.cell.bias_ih, self.cell.bias_hh):
            bias.zero_()
        forget = self.cell.bias_ih.chunk(4)[1]
        if self.gain is not None and self.offset is not None:
            self.gain.fill_(1.0)
            self.offset.zero_()
            forget = self.offset[1]
        forget.fill_(1.0)

    def drive(self, read: Float[Tensor, "B *T _"]) -> Float[Tensor, "B *T _"]:
        """The part of the gates' arguments [B, *T, 4 H] that hangs on what the cell reads."""
        return F.linear(read, self.cell.weight_ih, self.cell.bias_ih)

    def forward(self, u: Float[Tensor, "B _"], state: CellState) -> CellState:
        """The state (h, c) after a step that is driven by ``u``."""
        v = F.linear(state[0], self.cell.weight_hh, self.cell.bias_hh)
        norm: Norm = no_norm
        if self.gain is not None and self.offset is not None:
            # To mypy a named tuple that can be called is no function.
            norm = GateNorm(self.gain, self.offset, (self.cell.hidden_size,)).__call__
        new = lstm_cell(u, v, state, norm, self.norm_c)
        return zone_out_each(new, state, (self.options.zoneout_h, self.options.zoneout_c), self.training)


class FastSlowRNN(Backbone):
    """Fast cells in series, through which one state runs at each step, and a slow cell between the first two of them.

    h^F1 = f^F1(h_{t-1}^Fk, x_t), h_t^S = f^S(h_{t-1}^S, h^F1), h^F2 = f^F2(h^F1, h_t^S), h^Fi = f^Fi(h^F(i-1)) for
    i = 3, ..., k (Eq. 1-5), with LSTM cells, whose c goes the way of h. So the fast state takes k transitions a step,
    and the slow one; both levels, h_t^Fk and h_t^S, are rewritten at every step. The paper predicts from h_t^Fk alone,
    which no head here does: ``concat`` and ``gated`` read both, and ``top`` the slow one.

    Layer norm and start are those of the authors' code: each gate's whole argument is normalised, and c inside the
    tanh, but with torch's epsilon; a cell that reads nothing has no input weights. The paper's dropout between the
    cells is left out.

    Args:
        input_size: D, units of the input.
        hidden_size: H_F and H_S: one number for both, or [fast, slow].
        fast_cells: k.
        zoneout_h: probability that a unit's h, of any cell, keeps the value that the cell was given.
        zoneout_c: that of its c.
        layer_norm: normalise each gate's argument and c over the units of the cell.
        kernel: ``auto``, ``hoisted`` (the first cell's product with the input for all steps at once) or ``reference``.

    Raises:
        InvalidInput: for sizes below 1, fewer than 2 fast cells, rates outside [0, 1], layer norm over single units, or
            an unknown kernel.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        fast_cells: int = 2,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
        layer_norm: bool = False,
        kernel: str = "auto",
    ) -> None:
        fast, slow = sizes("hidden_size", hidden_size, 2)
        super().__init__(positive_int("input_size", input_size), (fast, slow), kernel)
        if positive_int("fast_cells", fast_cells) < 2:
            raise InvalidInput(
                f"fast_cells must be at least 2, one before the slow cell and one after; got {fast_cells}."
            )
        rates = (in_range("zoneout_h", zoneout_h, 0, 1), in_range("zoneout_c", zoneout_c, 0, 1))
        if flag("layer_norm", layer_norm) and min(fast, slow) == 1:
            raise InvalidInput(f"layer_norm needs at least 2 units in every cell; got {fast} and {slow}.")
        options = Regularisers(*rates, layer_norm)
        reads = (input_size, slow, *[0] * (fast_cells - 2))
        self.fast_cells = nn.ModuleList(FastSlowCell(n, fast, options) for n in reads)
        self.slow_cell = FastSlowCell(fast, slow, options)

    @property
    def level_names(self) -> tuple[str, ...]:
        return "fast", "slow"

    def products(self) -> tuple[Product, ...]:
        """4 H_F (D + H_S + k H_F) of the fast cells, 4 H_S (H_F + H_S) of the slow one, at every step."""
        parts: tuple[nn.Module, ...] = (self.fast_cells, self.slow_cell)
        weights = [sum(p.numel() for name, p in part.named_parameters() if "cell.weight" in name) for part in parts]
        return tuple(Product(level, amount) for level, amount in enumerate(weights))

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """((h^F, c^F), (h^S, c^S)): zeros."""
        return tuple(
            tuple(torch.zeros(batch_size, n, device=device, dtype=dtype) for _ in "hc") for n in self.level_sizes
        )

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """Eq. 1-5 of the paper."""
        return self._advance(self._drive(x_t), state)

    def _drive(self, x: Float[Tensor, "B *T D"]) -> Float[Tensor, "B *T _"]:
        """The first fast cell's product with the input."""
        return cast(FastSlowCell, self.fast_cells[0]).drive(x)

    def _advance(self, u: Float[Tensor, "B _"], state: State) -> tuple[Levels, State, StepTrace]:
        """A step of which :meth:`_drive` is given."""
        fast, slow = groups(state)
        first, second, *more = cast(Iterable[FastSlowCell], self.fast_cells)
        fast = first(u, fast)
        slow = self.slow_cell(self.slow_cell.drive(fast[0]), slow)
        fast = second(second.drive(slow[0]), fast)
        for cell in more:
            fast = cell(cell.drive(u[:, :0]), fast)
        return (fast[0], slow[0]), (fast, slow), StepTrace(fast[0].new_ones(len(u), 2))

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {"hoisted": None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        return fold_steps(self._advance, self._drive(x).unbind(1), state, trace)
