"""The cascade: a Clockwork RNN over a whole sequence, module after module.

A module reads only itself and slower ones. So the slowest is an ordinary recurrent network over its own ticks, held in
between; then the next, which sees the slower ones' states as one more input; and so on to the fastest. What slower
modules send to faster ones is computed when they tick, at the slow rate, and held. Where modules read faster ones
instead, the fastest comes first, and a slower one reads at its ticks what the faster ones were a step before.
Time-major, [T, B, .], within.

Letters: L modules, fastest first; module i has H_i units, ticks at (t - phase_i) mod P_i = 0; G gates.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from multiscale.kernels.recurrence import recur
from multiscale.nn.cells import CELLS, CellState, GateNorm, no_norm

Rows: TypeAlias = Tensor | slice
"""Which rows of a tensor, along time."""


class ModuleWeights(NamedTuple):
    """The parameters of L modules of one cell, side by side; the gates in torch's order."""

    input: Tensor  # [G H, D]
    recurrent: Tensor  # [G H, H], read only where a unit reads its own module or a slower one
    bias: Tensor | None  # [G H]
    hidden_bias: Tensor | None  # [G H], added to what the gates receive from the states
    norm: GateNorm | None


class ModulePlan(NamedTuple):
    """When one module ticks, and what it reads and sends.

    The signal that faster modules receive is constant over segments; it changes at the step after a tick.
    """

    ticks: slice  # of the T steps
    hold: Rows  # [T]: the state shown at each step, 0 the initial one, k that of the k-th tick
    read: Rows  # [ticks]: the slower modules' segment that each tick reads
    widen: Rows  # [segments]: the slower modules' segment that each segment of their and its own signal lies in
    sent: Rows  # [segments]: its own state during each segment
    before: Tensor  # [T]: the state before each step, numbered as in hold


def cascade(
    x: Float[Tensor, "B T D"],
    state: CellState,
    counters: Int[Tensor, "B"],
    weights: ModuleWeights,
    cell: str,
    sizes: Sequence[int],
    periods: Sequence[int],
    phases: Sequence[int],
    connected: bool = True,
    fast_first: bool = False,
    native: bool = False,
) -> tuple[tuple[Float[Tensor, "B T _"], ...], CellState]:
    """Levels, L of [B, T, H_i], and the next state, of x [B, T, D] from ``state``, tensors [B, H].

    Without ``connected`` a module reads only itself; with ``fast_first`` faster modules and no slower ones. ``native``:
    what a module of tanh units does over its ticks runs in C++. Samples of different step counters [B] are run in
    groups, each exactly. The number of ticks decides shapes, so a call waits once for the counters' values; no step
    does.
    """
    with torch.autocast(x.device.type, enabled=False):
        dtype = weights.recurrent.dtype
        x, state = x.to(dtype), tuple(part.to(dtype) for part in state)
        clocks = (tuple(periods), tuple(phases), x.size(1), x.device)

        def run(start: int, x: Tensor, state: CellState) -> tuple[tuple[Tensor, ...], CellState]:
            parts, plans = _split(x, state, weights, sizes), plan(start, *clocks)
            modules = (
                _fast_first(parts, cell, plans, native)
                if fast_first
                else _slow_first(parts, cell, plans, connected, native)
            )
            levels, lasts = zip(*modules, strict=True)
            return levels, tuple(torch.cat(part, 1) for part in zip(*lasts, strict=True))

        return by_counter(run, x, state, counters)


def by_counter(
    run: Callable[[int, Tensor, CellState], tuple[tuple[Tensor, ...], CellState]],
    x: Tensor,
    state: CellState,
    counters: Tensor,
) -> tuple[tuple[Tensor, ...], CellState]:
    """``run`` (counter, x, state) -> levels, next state, for each group of samples whose counters [B] are equal."""
    starts, group = torch.unique(counters, return_inverse=True)
    if len(starts) == 1:
        return run(int(starts), x, state)
    members = [(group == g).nonzero()[:, 0] for g in range(len(starts))]
    parts = [
        run(start, x[who], tuple(part[who] for part in state))
        for start, who in zip(starts.tolist(), members, strict=True)
    ]
    back = torch.argsort(torch.cat(members))
    levels, states = (zip(*part, strict=True) for part in zip(*parts, strict=True))
    return tuple(torch.cat(level)[back] for level in levels), tuple(torch.cat(part)[back] for part in states)


class _Parts(NamedTuple):
    """What a cascade is computed from, apart for each module, time-major."""

    x: Tensor  # [T, B, D]
    rows: list[int]  # G H_i
    inputs: Sequence[Tensor]
    recurrent: Tensor  # [G H, H], the rows module after module
    biases: Sequence[Tensor | None]
    hidden_biases: Sequence[Tensor | None]
    firsts: list[CellState]
    norms: Sequence[GateNorm | None]


def _split(x: Tensor, state: CellState, weights: ModuleWeights, sizes: Sequence[int]) -> _Parts:
    gates = len(weights.recurrent) // sum(sizes)
    rows = [gates * size for size in sizes]
    # Split, not sliced: the gradient of all slices is then put together once, not padded and summed.
    inputs = _module_major(weights.input, gates, sizes).split(rows)
    biases, hidden_biases = (
        [None] * len(sizes) if b is None else _module_major(b, gates, sizes).split(rows)
        for b in (weights.bias, weights.hidden_bias)
    )
    recurrent, norms = _module_major(weights.recurrent, gates, sizes), _split_norm(weights.norm, sizes)
    firsts = list(zip(*(part.split(tuple(sizes), 1) for part in state), strict=True))
    return _Parts(x.transpose(0, 1), rows, inputs, recurrent, biases, hidden_biases, firsts, norms)


def _show(states: CellState, plan_: ModulePlan) -> tuple[Tensor, CellState]:
    """A module's level [B, T, H_i] and last state, of its states at its ticks."""
    return take(states[0], plan_.hold).transpose(0, 1), tuple(part[-1] for part in states)


def _slow_first(
    p: _Parts, cell: str, plans: Sequence[ModulePlan], connected: bool, native: bool
) -> list[tuple[Tensor, CellState]]:
    """The modules, each of which reads slower ones."""
    columns = p.recurrent.split([first[0].size(1) for first in p.firsts], 1)
    modules: list[tuple[Tensor, CellState]] = []
    signal: Tensor | None = None
    for i in reversed(range(len(plans))):
        faster, received = sum(p.rows[:i]), None
        to_faster, own, _ = columns[i].split((faster, p.rows[i], sum(p.rows[i + 1 :])))
        if signal is not None:
            signal, received = signal.split((faster, p.rows[i]), -1)
            received = take(received, plans[i].read)
        if (bias := p.hidden_biases[i]) is not None:
            received = bias if received is None else received + bias
        drive = F.linear(p.x[plans[i].ticks], p.inputs[i], p.biases[i])
        states = scan(cell, drive, received, own, p.firsts[i], p.norms[i], native)
        modules.append(_show(states, plans[i]))
        if i and connected:
            sent = take(F.linear(states[0], to_faster), plans[i].sent)
            signal = sent if signal is None else take(signal, plans[i].widen) + sent
    return modules[::-1]


def _fast_first(p: _Parts, cell: str, plans: Sequence[ModulePlan], native: bool) -> list[tuple[Tensor, CellState]]:
    """The modules, each of which reads faster ones."""
    modules: list[tuple[Tensor, CellState]] = []
    ticked: list[Tensor] = []
    for i, (rows, plan_) in enumerate(zip(p.recurrent.split(p.rows), plans, strict=True)):
        faster, own = sum(hidden.size(2) for hidden in ticked), p.firsts[i][0].size(1)
        from_faster, to_own, _ = rows.split((faster, own, rows.size(1) - faster - own), 1)
        received = p.hidden_biases[i]
        if i:
            pairs = zip(ticked, plans[:i], strict=True)
            read = [hidden.index_select(0, other.before[plan_.ticks]) for hidden, other in pairs]
            received = F.linear(torch.cat(read, -1), from_faster, received)
        drive = F.linear(p.x[plan_.ticks], p.inputs[i], p.biases[i])
        states = scan(cell, drive, received, to_own, p.firsts[i], p.norms[i], native)
        modules.append(_show(states, plan_))
        ticked.append(states[0])
    return modules


def take(sequence: Tensor, rows: Rows) -> Tensor:
    """These rows of a tensor, along its first dimension."""
    return sequence[rows] if isinstance(rows, slice) else sequence.index_select(0, rows)


def _module_major(weight: Tensor, gates: int, sizes: Sequence[int]) -> Tensor:
    """Rows from gate after gate to module after module, so that the faster modules' rows come first."""
    if gates == 1:
        return weight
    units = np.split(np.arange(gates * sum(sizes)).reshape(gates, -1), np.cumsum(sizes)[:-1], axis=1)
    order = torch.from_numpy(np.concatenate([block.reshape(-1) for block in units]))
    return weight.index_select(0, order.to(weight.device))


def _split_norm(norm: GateNorm | None, sizes: Sequence[int]) -> Sequence[GateNorm | None]:
    """The normalisation of each module alone."""
    if norm is None:
        return [None] * len(sizes)
    gain, bias = norm.gain.split(tuple(sizes), 1), norm.bias.split(tuple(sizes), 1)
    return [GateNorm(g, b, (size,)) for g, b, size in zip(gain, bias, sizes, strict=True)]


def scan(
    cell: str,
    drive: Tensor,
    received: Tensor | None,
    weight: Tensor,
    first: CellState,
    norm: GateNorm | None,
    native: bool,
) -> CellState:
    """A recurrent network over n steps: each state tensor over time, [n + 1, B, H], the initial one included.

    The gates' arguments have the input's part ``drive`` [n, B, G H] and the states' part: what comes from outside,
    ``received`` (broadcast to drive), and the own state times ``weight`` [G H, H].
    """
    if cell == "tanh" and norm is None:
        drive = drive if received is None else drive + received
        return (recur(drive, weight, first[0]) if native else TanhScan.apply(drive, weight, first[0]),)
    step = CELLS[cell]
    from_outside = drive.new_zeros(()) if received is None else received
    from_outside = from_outside.expand(drive.shape)
    if not len(drive):
        # No tick: the cell over no rows, so that every parameter still gets its gradient, of zero.
        none = tuple(part.expand(0, *part.shape) for part in first)
        empty = step(drive, from_outside + F.linear(none[0], weight), none, norm or no_norm)
        return tuple(torch.cat((part[None], new)) for part, new in zip(first, empty, strict=True))
    states = [first]
    for u, v in zip(drive.unbind(0), from_outside.unbind(0), strict=True):
        recurrent = torch.addmm(v, states[-1][0], weight.t())
        states.append(step(u, recurrent, states[-1], norm or no_norm))
    return tuple(torch.stack(part) for part in zip(*states, strict=True))


class TanhScan(torch.autograd.Function):
    """h_k = tanh(drive_k + W h_{k-1}) over drive [n, B, H] from h_0 [B, H]: h_0 .. h_n, [n + 1, B, H].

    By hand, because a step of a small module costs little more than its bookkeeping: two calls a step forward and two
    backward, and the gradient of W in a single product.
    """

    @staticmethod
    def forward(ctx: Any, drive: Tensor, weight: Tensor, first: Tensor) -> Tensor:
        states = drive.new_empty(len(drive) + 1, *first.shape)
        states[0] = first
        h = states.unbind(0)
        transposed = weight.t()
        for k, drive_k in enumerate(drive.unbind(0)):
            torch.addmm(drive_k, h[k], transposed, out=h[k + 1])
            h[k + 1].tanh_()
        ctx.save_for_backward(states, weight)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states, weight = ctx.saved_tensors
        slope = states[1:].square().neg_().add_(1)
        delta = torch.empty_like(slope)  # of the argument of tanh
        upstream = grad.unbind(0)
        last = len(delta) - 1
        for k, (delta_k, slope_k) in reversed(list(enumerate(zip(delta.unbind(0), slope.unbind(0), strict=True)))):
            if k == last:
                torch.mul(upstream[k + 1], slope_k, out=delta_k)
            else:
                torch.addmm(upstream[k + 1], delta[k + 1], weight, out=delta_k)
                delta_k.mul_(slope_k)
        grad_first = upstream[0] + delta[0] @ weight if len(delta) else upstream[0]
        return delta, delta.flatten(0, 1).t() @ states[:-1].flatten(0, 1), grad_first


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # a validation under inference mode must not leave tensors that a training cannot use
def plan(
    start: int, periods: tuple[int, ...], phases: tuple[int, ...], length: int, device: torch.device
) -> tuple[ModulePlan, ...]:
    """The plan of each module, fastest first, for ``length`` steps of which the first has the counter ``start``."""
    steps = np.arange(length)
    plans: list[ModulePlan] = []
    segments = np.zeros(0, dtype=np.int64)  # first steps of the segments of the slower modules' signal
    for period, phase in reversed(list(zip(periods, phases, strict=True))):
        first = (phase - start) % period
        ticks = np.arange(first, length, period)
        changes = ticks[ticks + 1 < length] + 1
        merged = np.union1d(segments, np.append(changes, 0))
        plans.append(
            ModulePlan(
                slice(first, None, period),
                _rows(np.searchsorted(ticks, steps, side="right"), len(ticks) + 1, device),
                _rows(np.searchsorted(segments, ticks, side="right") - 1, len(segments), device),
                _rows(np.searchsorted(segments, merged, side="right") - 1, len(segments), device),
                _rows(np.searchsorted(ticks, merged, side="left"), len(ticks) + 1, device),
                torch.from_numpy(np.searchsorted(ticks, steps, side="left")).to(device),
            )
        )
        segments = merged
    return tuple(reversed(plans))


def _rows(index: np.ndarray, size: int, device: torch.device) -> Rows:
    """The index as a slice if it is one: a view costs nothing, and its gradient is not a scatter."""
    if len(index) and np.array_equal(index, np.arange(index[0], index[0] + len(index))):
        return slice(int(index[0]), int(index[0]) + len(index))
    return torch.from_numpy(index).to(device)
