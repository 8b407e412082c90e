"""Fast whole-sequence functions for clocked layers of tanh units with any connections between the modules."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from multiscale.kernels.clockwork import by_counter
from multiscale.kernels.recurrence import recur
from multiscale.nn.cells import CellState


def hoisted(
    x: Float[Tensor, "B T D"],
    h: Float[Tensor, "B H"],
    active: Float[Tensor, "_ T H"],
    weight_x: Float[Tensor, "H D"],
    weight_h: Float[Tensor, "H H"],
    bias: Float[Tensor, "H"],
    native: bool = False,
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B H"]]:
    """h_t = A_t tanh(W_x x_t + W_h h_{t-1} + b) + (1 - A_t) h_{t-1}, for all t [B, T, H] and the last [B, H].

    x is [B, T, D] and h [B, H]. ``active``, A [B or 1, T, H], was computed for all steps at once, as is W_x x_t + b;
    what remains in the loop is what must be there; ``native``: and runs in C++.
    """
    with torch.autocast(x.device.type, enabled=False):
        dtype = weight_h.dtype
        h, transposed = h.to(dtype), weight_h.t()
        drives = F.linear(x.to(dtype).transpose(0, 1), weight_x, bias)
        if native:
            all_states = recur(drives, weight_h, h, active.to(dtype).transpose(0, 1))
            return all_states[1:].transpose(0, 1), all_states[-1]
        states = []
        for drive, active_t in zip(drives.unbind(0), active.to(dtype).unbind(1), strict=True):
            h = torch.lerp(h, torch.tanh(torch.addmm(drive, h, transposed)), active_t)
            states.append(h)
        return torch.stack(states, 1), h


def skipping(
    x: Float[Tensor, "B T D"],
    h: Float[Tensor, "B H"],
    counters: Int[Tensor, "B"],
    weight_x: Float[Tensor, "H D"],
    weight_h: Float[Tensor, "H H"],
    bias: Float[Tensor, "H"],
    sizes: Sequence[int],
    periods: Sequence[int],
    phases: Sequence[int],
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B H"]]:
    """The same where A_t = 1[(t - phase) mod period = 0]: only the rows of modules that tick are computed.

    Samples whose step counters [B] differ are run in groups of equal counters.
    """
    with torch.autocast(x.device.type, enabled=False):
        dtype = weight_h.dtype

        def run(start: int, x: Tensor, state: CellState) -> tuple[tuple[Tensor, ...], CellState]:
            ticking = [
                tuple(i for i, (p, phase) in enumerate(zip(periods, phases, strict=True)) if (t - phase) % p == 0)
                for t in range(start, start + x.size(1))
            ]
            states, last = _skip(x, state[0], ticking, weight_x, weight_h, bias, sizes)
            return (states,), (last,)

        levels, state = by_counter(run, x.to(dtype), (h.to(dtype),), counters)
        return levels[0], state[0]


def _skip(
    x: Tensor,
    h: Tensor,
    ticking: Sequence[tuple[int, ...]],
    weight_x: Tensor,
    weight_h: Tensor,
    bias: Tensor,
    sizes: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """One group; ``ticking`` names the modules that tick at each step."""
    units = torch.arange(sum(sizes), device=x.device).split(tuple(sizes))
    steps: dict[tuple[int, ...], list[int]] = {}
    for t, modules in enumerate(ticking):
        steps.setdefault(modules, []).append(t)
    rows, own, drives = {}, {}, {}
    for modules, when in steps.items():
        if modules:
            rows[modules] = torch.cat([units[i] for i in modules])
            own[modules] = weight_h[rows[modules]].t()
            inputs = x[:, torch.tensor(when, device=x.device)].transpose(0, 1)
            drives[modules] = iter(F.linear(inputs, weight_x[rows[modules]], bias[rows[modules]]).unbind(0))
    if not rows:
        # No tick: no rows join the batch, so that every parameter still gets its gradient, of zero.
        h = torch.cat([h, torch.tanh(F.linear(x[:0, 0], weight_x, bias) + F.linear(h[:0], weight_h))])
    states = []
    for modules in ticking:
        if modules:
            new = torch.tanh(torch.addmm(next(drives[modules]), h, own[modules]))
            h = new if len(modules) == len(sizes) else h.index_copy(1, rows[modules], new)
        states.append(h)
    return torch.stack(states, 1), h
