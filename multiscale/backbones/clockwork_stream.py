"""Clocked modules that read one sequence a step at a time, without gradient: of the weights only the rows of modules
that tick are multiplied, and of these the columns from the first unit that the module reads to the last.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from multiscale.backbones.base import Levels, State, Step, StepTrace, tensors
from multiscale.kernels.clockwork import ModuleWeights
from multiscale.nn.cells import CELLS, CellState, GateNorm, no_norm
from multiscale.nn.layout import by_columns


class ModuleStep(NamedTuple):
    """What one module of N units and G gates does at its ticks, (t - phase) mod period = 0."""

    period: int
    phase: int
    own: slice  # its units
    read: slice  # K units, among which are all that it reads
    input: Tensor  # [G N, D]
    recurrent: Tensor  # [G N, K]
    bias: Tensor | None  # [G N]
    hidden_bias: Tensor | None  # [G N]
    norm: GateNorm | None

    def __call__(self, cell: str, x: Float[Tensor, "1 D"], state: CellState) -> CellState:
        """Its next state, of x and the state before of all modules."""
        u = F.linear(x, self.input, self.bias)
        v = F.linear(state[0][:, self.read], self.recurrent, self.hidden_bias)
        return CELLS[cell](u, v, tuple(part[:, self.own] for part in state), self.norm or no_norm)


def split_modules(
    weights: ModuleWeights, sizes: Sequence[int], periods: Sequence[int], phases: Sequence[int]
) -> list[ModuleStep]:
    """The modules of weights that are masked; these are read here, and not again."""
    found = []
    for size, end, period, phase in zip(sizes, accumulate(sizes), periods, phases, strict=True):
        own = slice(end - size, end)

        def rows(part: Tensor, own: slice = own) -> Tensor:
            """The module's, gate by gate."""
            return part.detach().unflatten(0, (-1, sum(sizes)))[:, own].flatten(0, 1)

        recurrent = rows(weights.recurrent)
        used = recurrent.any(0).nonzero()[:, 0].tolist() or [0]
        read = slice(used[0], used[-1] + 1)
        matrices = by_columns(rows(weights.input)), by_columns(recurrent[:, read])
        bias, hidden_bias = [None if part is None else rows(part) for part in (weights.bias, weights.hidden_bias)]
        norm = weights.norm and GateNorm(weights.norm.gain[:, own], weights.norm.bias[:, own], (size,))
        found.append(ModuleStep(period, phase, own, read, *matrices, bias, hidden_bias, norm))
    return found


def stepper(modules: Sequence[ModuleStep], cell: str) -> Step:
    """The step of all modules for B = 1, from states (h, t) or (h, c, t)."""
    sizes = [module.own.stop - module.own.start for module in modules]

    def step(x_t: Float[Tensor, "1 D"], state: State) -> tuple[Levels, State, StepTrace]:
        *before, t = tensors(state)
        now = int(t)
        after = tuple(part.clone() for part in before)
        ticks = [(now - module.phase) % module.period == 0 for module in modules]
        for module, due in zip(modules, ticks, strict=True):
            if due:
                for part, new in zip(after, module(cell, x_t, tuple(before)), strict=True):
                    part[:, module.own] = new
        return after[0].split(sizes, 1), (*after, t + 1), StepTrace(x_t.new_tensor([ticks]))

    return step
