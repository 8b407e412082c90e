"""Reading a sequence in both directions with two backbones, neither of which knows of it."""

import torch
from torch import Tensor

from multiscale.backbones.base import BackboneOutput, Trace


def flip(sequence: Tensor, mask: Tensor) -> Tensor:
    """``sequence`` [B, T, ...] with the real steps of each row in reverse and the padding left where it is."""
    steps = torch.arange(mask.size(1), device=mask.device)
    index = torch.where(mask, mask.sum(1, keepdim=True) - 1 - steps, steps)
    return sequence[torch.arange(len(sequence), device=mask.device)[:, None], index]


def join(forwards: BackboneOutput, backwards: BackboneOutput, mask: Tensor) -> BackboneOutput:
    """What two backbones made of sequences that are real at ``mask`` [B, T], one of them reading from the end.

    Level l becomes [h_l; h'_l], both in the order of reading: at the last real step each has read the whole sequence.
    The trace keeps the levels of both, those that read backwards last, and tells all in the order of time.
    """
    levels = tuple(torch.cat(pair, -1) for pair in zip(forwards.levels, backwards.levels, strict=True))
    trace = None
    if forwards.trace is not None and backwards.trace is not None:
        update = torch.cat([forwards.trace.update, flip(backwards.trace.update, mask)], -1)
        boundary = _levels(forwards.trace.boundary, backwards.trace.boundary, mask)
        probability = _levels(forwards.trace.probability, backwards.trace.probability, mask)
        names = forwards.trace.names + tuple(f"{name}, backwards" for name in backwards.trace.names)
        trace = Trace(update, boundary, names, probability)
    return BackboneOutput(levels, (forwards.state, backwards.state), forwards.penalty + backwards.penalty, trace)


def _levels(forwards: Tensor | None, backwards: Tensor | None, mask: Tensor) -> Tensor | None:
    """The levels of both, in the order of time; None unless both tell."""
    return None if forwards is None or backwards is None else torch.cat([forwards, flip(backwards, mask)], -1)
