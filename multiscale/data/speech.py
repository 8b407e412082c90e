"""Spoken digits as cepstral features (Free Spoken Digit Dataset, Jackson et al.)."""

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from scipy.fft import dct, rfft
from scipy.signal import get_window
from torch import Tensor

from multiscale.checks import InvalidInput
from multiscale.data.facts import LabelFacts
from multiscale.data.files import RECORDINGS, DataError, Remote, checksum, fetch, recordings
from multiscale.data.module import SPLITS, Samples, SequenceDataModule, count_sequences
from multiscale.data.wav import read_wav

ARCHIVE = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz"
FILES = Remote("fsdd/recordings", "a47bbce9b54711a7e196bfcd517d4cf1", ARCHIVE, RECORDINGS)
RATE = 8000  # Hz
WINDOW, HOP, BINS = 200, 80, 256  # samples: 25 ms every 10 ms; of the Fourier transform
FILTERS, COEFFICIENTS = 26, 12
EMPHASIS = 0.97
FLOOR = 1e-10  # under every logarithm
TEST_INDICES = range(5)  # the official test recordings of each speaker and digit
NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]+)\.wav")


@cache
def mel_filters() -> Float[np.ndarray, "F K"]:
    """F triangles over K = BINS / 2 + 1 frequencies that overlap by half, evenly spaced in mel up to RATE / 2."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, FILTERS + 2) / 2595) - 1)
    bins = np.arange(BINS // 2 + 1) * RATE / BINS
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rise, fall))


def features(sound: Shaped[np.ndarray, " N"]) -> Float32[np.ndarray, "T 13"]:
    """Of a sound: 12 mel-frequency cepstral coefficients (the first to the twelfth) and the log energy.

    T windows of 25 ms begin every 10 ms; what does not fill a window at the end is left out, and a sound shorter than
    one is filled up with silence.
    """
    sound = np.pad(sound, (0, max(0, WINDOW - len(sound))))
    sharp = np.append(sound[:1], sound[1:] - EMPHASIS * sound[:-1])

    def windows(signal: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP]

    power = np.abs(rfft(windows(sharp) * get_window("hamming", WINDOW, fftbins=False), BINS)) ** 2
    bands = np.log(power @ mel_filters().T + FLOOR)
    cepstrum = dct(bands, type=2, norm="ortho", axis=1)[:, 1 : COEFFICIENTS + 1]
    energy = np.log((windows(sound) ** 2).sum(1) + FLOOR)
    return np.column_stack([cepstrum, energy]).astype(np.float32)


class SpokenDigits(SequenceDataModule):
    """Which digit was said? 3,000 recordings of 6 speakers at 8 kHz, of different lengths.

    The official split: recordings 0 to 4 of each speaker and digit are the 300 of the test, the 2,700 others train;
    those numbered in ``validation`` are kept out of them. The 13 features of a step (:func:`features`) are
    standardised by the mean and deviation of each over the training part.

    Files: ``fsdd/recordings/{digit}_{speaker}_{number}.wav``.

    Args:
        batch_size: B, recordings over all devices together.
        validation: numbers of the recordings for validation, of each speaker and digit.
        verify: compare the files with their checksum.
    """

    kind = "labels"

    def __init__(self, batch_size: int, validation: Sequence[int] = (5, 6, 7, 8, 9), verify: bool = True) -> None:
        super().__init__(batch_size)
        self.validation = tuple(validation)
        if not self.validation or set(self.validation) & set(TEST_INDICES):
            raise InvalidInput(
                "validation must be numbers of recordings that are not in the test, from 5 upwards; "
                f"got {list(validation)!r}."
            )
        self.verify = verify

    def load(self) -> tuple[LabelFacts, dict[str, Samples]]:
        folder = fetch(FILES, self.verify)
        parts: dict[str, list[tuple[Tensor, int]]] = {split: [] for split in SPLITS}
        for path in recordings(folder):
            match = NAME.fullmatch(path.name)
            if match is None:
                raise DataError(f"{path} must be named digit_speaker_number.wav.")
            frames = torch.from_numpy(features(read_wav(path, RATE).samples))
            parts[self._split(int(match[3]))].append((frames, int(match[1])))
        if missing := [split for split, part in parts.items() if not part]:
            raise DataError(f"{folder} has no recording for {missing[0]}.")
        seen = torch.cat([frames for frames, _ in parts["train"]])
        mean, deviation = seen.mean(0), seen.std(0).clamp(min=1e-6)
        facts = LabelFacts(
            source="Free Spoken Digit Dataset",
            sha256=checksum(folder, "sha256"),
            sequences=count_sequences(parts),
            input_size=COEFFICIENTS + 1,
            output_size=10,
        )
        return facts, {
            split: Samples([(f - mean) / deviation for f, _ in part], torch.tensor([digit for _, digit in part]))
            for split, part in parts.items()
        }

    def _split(self, number: int) -> str:
        return "test" if number in TEST_INDICES else "val" if number in self.validation else "train"
