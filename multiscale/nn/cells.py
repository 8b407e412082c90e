"""Recurrent cells as functions of what drives their gates, shared by whoever computes that drive.

A cell takes the input's part u and the state's part v of its gates' arguments, both [..., G H], the gates in torch's
order, and the state; it returns the next state. H units, G gates.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

GATES = {"tanh": 1, "lstm": 4, "gru": 3}
"""G of each cell; lstm: i, f, g, o; gru: r, z, n."""

STATES = {"tanh": 1, "lstm": 2, "gru": 1}
"""How many tensors a cell carries: (h,), or (h, c) for lstm."""

CellState: TypeAlias = tuple[Tensor, ...]
"""What a cell carries, at one step or, in a kernel, at several."""

State: TypeAlias = tuple[Float[Tensor, "*batch H"], ...]
Drive: TypeAlias = Float[Tensor, "*batch GH"]
Norm: TypeAlias = Callable[[Tensor, int], Tensor]
"""(arguments of some neighbouring gates [..., g H], the number of the first) -> the same, normalised."""


def no_norm(argument: Float[Tensor, "*batch gH"], gate: int) -> Float[Tensor, "*batch gH"]:
    """The argument itself."""
    return argument


class GateNorm(NamedTuple):
    """Layer normalisation (Ba, Kiros, Hinton 2016, Eq. 4) of each gate's argument over the units of each module,
    then gain and bias."""

    gain: Float[Tensor, "G _"]  # [G, H]
    bias: Float[Tensor, "G _"]  # [G, H]
    sizes: Sequence[int]  # H_i, units of the modules, summing to H

    def __call__(self, argument: Float[Tensor, "*batch gH"], gate: int) -> Float[Tensor, "*batch gH"]:
        gates = argument.unflatten(-1, (-1, self.gain.size(1)))
        chosen = slice(gate, gate + gates.size(-2))
        parts = [F.layer_norm(part, part.shape[-1:]) for part in gates.split(tuple(self.sizes), -1)]
        return (torch.cat(parts, -1) * self.gain[chosen] + self.bias[chosen]).flatten(-2)


def tanh_cell(u: Drive, v: Drive, state: State, norm: Norm = no_norm) -> State:
    """h = tanh(u + v) (Elman 1990), state (h,)."""
    return (torch.tanh(norm(u + v, 0)),)


def lstm_cell(
    u: Drive, v: Drive, state: State, norm: Norm = no_norm, norm_c: Callable[[Tensor], Tensor] | None = None
) -> State:
    """i, f, g, o = u + v; c = sigma(f) c + sigma(i) tanh(g); h = sigma(o) tanh(c) (Gers et al. 2000), state (h, c);
    ``norm_c`` is done to c inside the tanh."""
    i, f, g, o = norm(u + v, 0).chunk(4, -1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c if norm_c is None else norm_c(c)), c


def gru_cell(u: Drive, v: Drive, state: State, norm: Norm = no_norm) -> State:
    """r, z = sigma(u + v); n = tanh(u_n + r v_n); h = (1 - z) n + z h, as in torch.nn.GRU (Cho et al. 2014),
    state (h,)."""
    size = u.size(-1) // 3
    r, z = torch.sigmoid(norm(u[..., : 2 * size] + v[..., : 2 * size], 0)).chunk(2, -1)
    n = torch.tanh(norm(u[..., 2 * size :] + r * v[..., 2 * size :], 2))
    return ((1 - z) * n + z * state[0],)


CELLS: dict[str, Callable[..., CellState]] = {"tanh": tanh_cell, "lstm": lstm_cell, "gru": gru_cell}
