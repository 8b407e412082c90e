"""Reference segmentations of a text: where words and sentences end."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor


def segmentations(symbols: Shaped[Tensor, " N"], vocabulary: Sequence[str]) -> dict[str, Bool[Tensor, " N-1"]]:
    """A mask for each way of cutting a text of N symbols, the last of which is only looked ahead at.

    ``spaces``: white space. ``word_ends``: the last letter or digit of a run of them. ``sentence_ends``: one of . ! ?
    before white space.
    """

    def of_kind(kind: Sequence[bool]) -> np.ndarray:
        return np.array(kind)[symbols.numpy()]

    space = of_kind([c.isspace() for c in vocabulary])
    letter = of_kind([c.isalnum() for c in vocabulary])
    stop = of_kind([c in ".!?" for c in vocabulary])
    cuts = {
        "spaces": space[:-1],
        "word_ends": letter[:-1] & ~letter[1:],
        "sentence_ends": stop[:-1] & space[1:],
    }
    return {name: torch.from_numpy(cut) for name, cut in cuts.items()}
