"""J. S. Bach's chorales as a piano roll (Boulanger-Lewandowski, Bengio, Vincent 2012)."""

import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from multiscale.checks import one_of
from multiscale.data.batch import delay
from multiscale.data.facts import BinaryFacts
from multiscale.data.files import DataError, Remote, checksum, fetch
from multiscale.data.module import Samples, SequenceDataModule, count_sequences

SOURCE = "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset/master"
LOWEST, KEYS = 21, 88  # MIDI pitch of the piano's first key, and how many it has
CHECKSUMS = {"16th": "1c4febf715dcacdae074591e347dcaa3", "quarter": "3bf6c38f846f08869f8ae53078e34902"}


class JSBChorales(SequenceDataModule):
    """Which of 88 keys sound at the next step, given all steps before? 229 / 76 / 77 chorales of different lengths.

    The first step is predicted from silence, so that every step of a chorale counts.

    Files: ``jsb/jsb-chorales-{resolution}.json``, lists of steps of MIDI pitches.

    Args:
        batch_size: B, chorales over all devices together.
        resolution: a step is a ``quarter`` or a ``16th`` note.
        verify: compare the file with its checksum.
    """

    kind = "switches"

    def __init__(self, batch_size: int, resolution: str = "quarter", verify: bool = True) -> None:
        super().__init__(batch_size)
        self.resolution = one_of("resolution", resolution, tuple(CHECKSUMS))
        self.verify = verify

    def load(self) -> tuple[BinaryFacts, dict[str, Samples]]:
        name = f"jsb-chorales-{self.resolution}.json"
        path = fetch(Remote(f"jsb/{name}", CHECKSUMS[self.resolution], f"{SOURCE}/{name}"), self.verify)
        rolls = read_chorales(path)
        parts = {"train": rolls["train"], "val": rolls["valid"], "test": rolls["test"]}
        facts = BinaryFacts(
            source=f"JSB chorales, {self.resolution} notes",
            sha256=checksum(path, "sha256"),
            sequences=count_sequences(parts),
            input_size=KEYS,
            output_size=KEYS,
            per_step=True,
        )
        return facts, {split: Samples([delay(roll) for roll in part], part) for split, part in parts.items()}


def read_chorales(path: Path) -> dict[str, list[Float[Tensor, "_ 88"]]]:
    """Piano rolls of the parts of a file; raises :class:`DataError` if it is not of this form."""
    try:
        parts = json.loads(path.read_bytes())
        return {part: [piano_roll(chorale) for chorale in parts[part]] for part in ("train", "valid", "test")}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{path} must be JSON with lists of chorales, of steps, of MIDI pitches from {LOWEST} to "
            f"{LOWEST + KEYS - 1}, as train, valid and test; it is not: {type(error).__name__}: {error}"
        ) from error


def piano_roll(chorale: list[list[int]]) -> Float[Tensor, "T 88"]:
    """1 where a key sounds."""
    roll = torch.zeros(len(chorale), KEYS)
    for step, pitches in zip(roll, chorale, strict=True):
        for pitch in pitches:
            if not 0 <= int(pitch) - LOWEST < KEYS:
                raise ValueError(f"pitch {pitch}")
            step[int(pitch) - LOWEST] = 1
    if not len(roll):
        raise ValueError("a chorale without steps")
    return roll
