"""What a model reads at a time: sequences side by side, padded at their ends, and a mask that tells what is real."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Sample: TypeAlias = tuple[Shaped[Tensor, "_ ..."], Shaped[Tensor, "..."]]
"""The inputs and the target of one sequence."""

IGNORE = -100  # target of a padded position; torch's cross-entropy skips it


class Batch(NamedTuple):
    """B sequences of up to T steps.

    Padding stands at the end of a sequence only, so that no real step of a causal network can see it.
    """

    inputs: Int[Tensor, "B T"] | Float[Tensor, "B T D"]  # symbols, or numbers
    targets: Shaped[Tensor, "B T *target"] | Shaped[Tensor, "B *target"]  # of each step, or of the whole sequence
    mask: Bool[Tensor, "B T"]  # True at the real steps, or at those that count
    overlap: int = 0  # of streams: how many of its last steps the next batch begins with again
    reset: Bool[Tensor, "B T"] | None = None  # of streams: where a document begins, with the initial state


def pad(samples: Sequence[Sample], per_step: bool) -> Batch:
    """The samples as one batch: inputs [T_b, ...], targets [T_b, ...] if ``per_step``, else [...].

    Inputs are padded with zeros, targets with IGNORE if they are integers, else with zeros.
    """
    lengths = torch.tensor([len(inputs) for inputs, _ in samples])
    targets = [target for _, target in samples]
    fill = 0 if targets[0].is_floating_point() else IGNORE
    return Batch(
        pad_sequence([inputs for inputs, _ in samples], batch_first=True),
        pad_sequence(targets, batch_first=True, padding_value=fill) if per_step else torch.stack(targets),
        torch.arange(int(lengths.max())) < lengths[:, None],
    )


def delay(sequence: Shaped[Tensor, "T *step"]) -> Shaped[Tensor, "T *step"]:
    """The sequence one step later, after a step of zeros."""
    return torch.cat([torch.zeros_like(sequence[:1]), sequence[:-1]])


def last_step(sequence: Shaped[Tensor, "B T *step"], mask: Bool[Tensor, "B T"]) -> Shaped[Tensor, "B 1 *step"]:
    """Each row of ``sequence`` at the last real step of ``mask``."""
    rows = torch.arange(len(sequence), device=sequence.device)
    return sequence[rows, mask.sum(1) - 1][:, None]
