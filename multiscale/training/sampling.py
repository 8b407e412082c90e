"""Scheduled sampling (Bengio, Vinyals, Jaitly and Shazeer 2015, arXiv 1506.03099): a network is trained to go on from
what it wrote itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from multiscale.backbones.base import Backbone, State
from multiscale.checks import InvalidInput, in_range
from multiscale.nn.schedules import Schedule

LATE = 1e9  # epochs


def check_epsilon(schedule: Schedule) -> Schedule:
    """The schedule; raises :class:`multiscale.checks.InvalidInput` if it is no probability at the first epoch or the
    last, between which the schedules here only rise or only fall."""
    if not callable(schedule):
        raise InvalidInput(f"sampling must be a schedule, a function of the epoch; got {schedule!r}.")
    for epoch in (0.0, LATE):
        in_range(f"sampling at epoch {epoch:g}", schedule(epoch), 0, 1)
    return schedule


def flip_coins(inputs: Int[Tensor, "B T"], epsilon: float) -> Bool[Tensor, "B T"]:
    """Where a sample is to stand, on the CPU: at each step but the first, with probability 1 - ``epsilon``."""
    due = torch.rand(inputs.shape) >= epsilon
    due[:, 0] = False
    return due


@torch.no_grad()
def sample_inputs(
    network: tuple[nn.Module, Backbone, nn.Module],
    draw: Callable[[Tensor], Tensor],
    inputs: Int[Tensor, "B T"],
    state: State | None,
    due: Bool[Tensor, "B T"],
    reset: Bool[Tensor, "B T"] | None = None,
) -> Int[Tensor, "B T"]:
    """The symbols to be read in place of ``inputs``: where ``due`` (on the CPU), one drawn from the prediction made of
    those before it, of which some may be drawn themselves.

    Each step t >= 1 at which any row is due ends a piece, of which the head reads the last step. The pieces are run as
    in evaluation: without noise, and nothing is observed. No gradient goes through a draw, so that what is
    learned from these symbols is what is learned from any that are given: the caller reads them once more, at a
    stretch and with gradient.

    Args:
        network: encoder, backbone and head.
        draw: logits [B, 1, symbols] to symbols [B, 1].
        state: that the first step begins with; None for the initial one.
        reset: where the initial one is put back; what is read there is never drawn.
    """
    encoder, backbone, head = network
    inputs, begin = inputs.clone(), 0
    sampled = due.to(inputs.device, non_blocking=True)
    sampled = sampled if reset is None else sampled & ~reset
    with _evaluating(*network):
        for stop in due.any(0).nonzero()[:, 0].tolist():
            anew = None if reset is None else reset[:, begin:stop]
            hidden = backbone(encoder(inputs[:, begin:stop]), state, reset=anew)
            drawn = draw(head([level[:, -1:] for level in hidden.levels]))
            inputs[:, stop] = torch.where(sampled[:, stop], drawn[:, 0], inputs[:, stop])
            begin, state = stop, hidden.state
    return inputs


def draw_symbols(logits: Float[Tensor, "*B symbols"]) -> Int[Tensor, "*B"]:
    """A symbol from each distribution: the first to come of exponential clocks whose rates are the probabilities."""
    probabilities = logits.float().softmax(-1)  # of which none need be finite: the loss is what tells
    return (probabilities / torch.empty_like(probabilities).exponential_()).argmax(-1)


@contextmanager
def _evaluating(*parts: nn.Module) -> Iterator[None]:
    """The parts in evaluation, and afterwards each module of them as it was."""
    modules = [(module, module.training) for part in parts for module in part.modules()]
    try:
        for part in parts:
            part.eval()
        yield
    finally:
        for module, training in modules:
            module.training = training
