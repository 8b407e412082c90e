"""What a network does on a passage of validation data, step by step: to be drawn, and written for a report to read."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from multiscale.backbones.base import BackboneOutput
from multiscale.backbones.bidirectional import flip, join
from multiscale.data.module import DataModule, Passage
from multiscale.runs import files
from multiscale.training.module import SequenceModule

LENGTH, WARM_UP = 270, 256  # steps shown, and read before them so that the state is not new
DIGITS = 4  # of a number written


class Excerpt(NamedTuple):
    """T steps of a passage, and what each of L levels did at them, on the CPU; level 0 is the fastest."""

    symbols: tuple[str, ...]  # T, what is written under each step; empty strings if nothing is
    names: tuple[str, ...]  # L
    update: Float[Tensor, "T L"]  # in [0, 1]
    boundary: Float[Tensor, "T L"] | None  # in {0, 1}
    probability: Float[Tensor, "T L"] | None  # in [0, 1], what the boundary was decided from
    truth: dict[str, list[int]]  # by segmentation, the steps at which something ends
    true_periods: tuple[int, ...]  # in steps, that the data are made with
    start: int  # the network's step counter at the first step
    matrices: dict[str, Float[Tensor, "_ _"]]  # what the backbone tells of pairs of its levels, in [0, 1]


@torch.no_grad()
def read(module: SequenceModule, data: DataModule) -> Excerpt:
    """Let the network, by its definition and not its kernel, read the start of the validation split."""
    passage = data.passage(WARM_UP + LENGTH)
    hidden = _run(module, passage.inputs.to(module.device), passage.reset)
    trace = hidden.trace
    assert trace is not None
    start = max(len(passage.symbols) - LENGTH, 0)

    def shown(sequence: Tensor) -> Tensor:
        return sequence[0, start:].float().cpu()

    return Excerpt(
        passage.symbols[start:],
        trace.names,
        shown(trace.update),
        None if trace.boundary is None else shown(trace.boundary),
        None if trace.probability is None else shown(trace.probability),
        find_ends(data, passage, start),
        data.true_periods(),
        start,
        {name: matrix.float().cpu() for name, matrix in module.backbone.matrices().items()},
    )


def find_ends(data: DataModule, passage: Passage, start: int) -> dict[str, list[int]]:
    """The steps of ``passage[start:]`` at which something ends, by the name of the segmentation."""
    first = passage.first + start
    length = len(passage.symbols) - start
    known = data.segmentations("val").items()
    return {name: marks[first : first + length].nonzero()[:, 0].tolist() for name, marks in known}


def _run(module: SequenceModule, inputs: Tensor, reset: Tensor | None) -> BackboneOutput:
    """What the backbone, or the two of them, make of ``inputs``, as the fold of their steps."""
    reset = None if reset is None else reset.to(inputs.device)
    x = module.encoder(inputs)
    copy = deepcopy(module.backbone)  # so that the network keeps its kernel
    hidden = copy.use("reference")(x, trace=True, reset=reset)
    if module.reverse is None:
        return hidden
    mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return join(hidden, deepcopy(module.reverse).use("reference")(flip(x, mask), trace=True), mask)


def write(excerpt: Excerpt, periods: Sequence[Tensor], path: Path) -> None:
    """Write an excerpt as JSON, with the ``periods`` [L] of clocks that learn after each epoch.

    ``symbols`` [T], ``levels`` [L], ``update``, ``boundary`` and ``probability`` [L][T] (or null), ``truth`` {name:
    steps}, ``periods`` [epochs][L], null for none, ``true_periods`` and ``start`` in steps, and ``matrices``
    {name: [L][L]}. The file is there whole or not at all.
    """
    content: dict[str, Any] = {
        "symbols": list(excerpt.symbols),
        "levels": list(excerpt.names),
        "update": _round(excerpt.update),
        "boundary": None if excerpt.boundary is None else excerpt.boundary.int().T.tolist(),
        "probability": None if excerpt.probability is None else _round(excerpt.probability),
        "truth": excerpt.truth,
        "periods": [[round(period, DIGITS) for period in epoch.tolist()] for epoch in periods],
        "true_periods": list(excerpt.true_periods),
        "start": excerpt.start,
        "matrices": {name: _round(matrix.T) for name, matrix in excerpt.matrices.items()},
    }
    files.write_json(path, content, indent=None)


def _round(values: Float[Tensor, "T L"]) -> list[list[float]]:
    """[L][T] of [T, L], rounded."""
    return [[round(value, DIGITS) for value in level] for level in values.T.tolist()]
