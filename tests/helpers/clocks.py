"""Every kind of learned clock, and what their tests compare."""

from functools import partial

import torch
from torch import Tensor

from multiscale import DCTClock, DirectClock, PulseClock, SparsePulseClock

CLOCKS = {  # each takes num_modules, max_period and what all clocks take
    "binary, softmax": partial(PulseClock, phases=2),
    "binary, l1": partial(SparsePulseClock, phases=2, l1=0.01),
    "square, softmax": partial(PulseClock, phases=2, duty=0.5),
    "square, l1": partial(SparsePulseClock, phases=2, duty=0.5, l1=0.01),
    "dct": partial(DCTClock, l1=0.01),
    "direct": DirectClock,
}


def pulses(period: int, steps: int, phase: int = 0) -> Tensor:
    """[steps], 1 at every ``period``-th step from ``phase`` on."""
    return ((torch.arange(steps) - phase) % period == 0).float()


def make_one_hot(clock: PulseClock, periods: list[int], phases: list[int]) -> None:
    """Weights so far apart that the softmax is one-hot to the last bit."""
    with torch.no_grad():
        clock.logits.fill_(-1e4)
        for m, (period, phase) in enumerate(zip(periods, phases, strict=True)):
            clock.logits[m, (clock.atom_period == period) & (clock.atom_phase == phase)] = 1e4


def everything(model, x: Tensor, state: tuple) -> dict[str, Tensor]:
    """Outputs and gradients with random cotangents."""
    h, t = state
    x, h = x.clone().requires_grad_(), h.clone().requires_grad_()
    result = model(x, (h, t), trace=True)
    generator = torch.Generator().manual_seed(0)
    loss = result.penalty
    for level in result.levels:
        loss = loss + (level * torch.randn(level.shape, generator=generator, dtype=level.dtype)).sum()
    loss = loss + (result.state[0] * torch.randn(h.shape, generator=generator, dtype=h.dtype)).sum()
    wanted = {"x": x, "h": h, **dict(model.named_parameters())}
    grads = torch.autograd.grad(loss, list(wanted.values()))
    named = {f"gradient of {name}": grad for name, grad in zip(wanted, grads, strict=True)}
    levels = {f"level {i}": level for i, level in enumerate(result.levels)}
    return named | levels | {"penalty": result.penalty, "update": result.trace.update, "t": result.state[1]}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert (value - b[name]).abs().max() <= tolerance * max(1.0, value.abs().max().item()), name
