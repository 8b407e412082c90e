"""A trained language model of a checkpoint, for those who let it read and write."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from multiscale.checks import InvalidInput
from multiscale.data.facts import TextFacts
from multiscale.training.build import load
from multiscale.training.module import SequenceModule


def load_language_model(path: str, trust: Sequence[str] = ()) -> tuple[SequenceModule, TextFacts]:
    """The model of a checkpoint and what it knows of text, its classes from our packages and those of ``trust`` alone;
    raises :class:`InvalidInput` if it is of another kind."""
    module = load(path, trust)
    if not isinstance(module.facts, TextFacts):
        source = "unknown data" if module.facts is None else module.facts.source
        raise InvalidInput(f"checkpoint must be that of a language model; {path!r} is one for {source}.")
    return module, module.facts


class Reader:
    """A language model that reads one symbol at a time, from the beginning of a text.

    ``stream`` is its backbone's, whose trace tells what the last symbol did.
    """

    def __init__(self, module: SequenceModule) -> None:
        self.encoder, self.head, self.stream = module.encoder, module.head, module.backbone.stream()

    @torch.no_grad()
    def __call__(self, symbol: int) -> Float[Tensor, " _"]:
        """The logits of what follows ``symbol``."""
        levels = self.stream(self.encoder(torch.tensor([[symbol]]))[:, 0])
        return self.head([level[:, None] for level in levels])[0, 0]


@torch.no_grad()
def check_boundaries(module: SequenceModule, message: str) -> None:
    """Raise :class:`InvalidInput` with ``message`` unless the model's backbone finds boundaries."""
    trace = module(torch.zeros(1, 1, dtype=torch.long), trace=True)[1].trace
    if trace is None or trace.boundary is None or len(trace.names) < 2:
        raise InvalidInput(message)
