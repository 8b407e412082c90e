"""What a model reads at a time: sequences side by side, padded at their ends, and a mask that tells what is real."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

IGNORE = -100  # target of a padded position; torch's cross-entropy skips it


class Batch(NamedTuple):
    """B sequences of up to T steps.

    Padding stands at the end of a sequence only, so that no real step of a causal network can see it.
    """

    inputs: Tensor  # [B, T] int64 symbols, or [B, T, D] numbers
    targets: Tensor  # [B, T, ...] for each step, or [B, ...] for the whole sequence
    mask: Tensor  # [B, T] bool, True at the real steps


def pad(samples: Sequence[tuple[Tensor, Tensor]], per_step: bool) -> Batch:
    """The samples as one batch: inputs [T_b, ...], targets [T_b, ...] if ``per_step``, else [...].

    Inputs are padded with zeros, targets with IGNORE if they are integers, else with zeros.
    """
    lengths = torch.tensor([len(inputs) for inputs, _ in samples])
    steps = int(lengths.max())
    targets = [target for _, target in samples]
    whole = IGNORE if not targets[0].is_floating_point() else 0
    return Batch(
        _join([inputs for inputs, _ in samples], steps, 0),
        _join(targets, steps, whole) if per_step else torch.stack(targets),
        torch.arange(steps) < lengths[:, None],
    )


def _join(parts: Sequence[Tensor], steps: int, fill: int) -> Tensor:
    joined = parts[0].new_full((len(parts), steps, *parts[0].shape[1:]), fill)
    for row, part in zip(joined, parts, strict=True):
        row[: len(part)] = part
    return joined


def last_step(sequence: Tensor, mask: Tensor) -> Tensor:
    """[B, 1, ...], each row of ``sequence`` [B, T, ...] at the last real step of ``mask`` [B, T]."""
    rows = torch.arange(len(sequence), device=sequence.device)
    return sequence[rows, mask.sum(1) - 1][:, None]
