"""A waveform to be generated without input (Koutnik, Greff, Gomez, Schmidhuber 2014, section 4.1)."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from multiscale.checks import InvalidInput, expand, in_range, positive_int
from multiscale.data.facts import WaveFacts
from multiscale.data.files import DataError
from multiscale.data.module import SPLITS, Samples, SequenceDataModule
from multiscale.data.wav import read_wav


class Waveform(SequenceDataModule):
    """One target sequence in [-1, 1], which the network makes from its state alone: its input is zero at every step.

    The target is ``samples`` of a WAV file of the user's (mono, 16 bits), or a sum of sines with amplitudes and phases
    drawn from ``seed``. There is one sequence, so that val and test are the training sequence: the task is
    to reproduce it.

    Args:
        batch_size: B, copies of the sequence a step; 1 is enough.
        samples: T.
        periods: of the sines, in samples.
        seed: of amplitudes and phases.
        path: a WAV file instead; ``~`` is the home folder.
        start: where in the file the samples begin, in seconds.
        rate: Hz that the file is brought to, by interpolation of its Fourier series; by default its own.
        repeats: steps of training an epoch.
    """

    kind = "waveform"

    def __init__(
        self,
        batch_size: int,
        samples: int,
        periods: Sequence[float] = (8, 32, 80, 160),
        seed: int = 0,
        path: str | None = None,
        start: float = 0.0,
        rate: int | None = None,
        repeats: int = 100,
    ) -> None:
        super().__init__(batch_size)
        self.length = int(in_range("samples", positive_int("samples", samples), 2))
        if not periods:
            raise InvalidInput("periods must be at least one period in samples; got [].")
        self.periods = [in_range(f"periods[{i}]", period, 2) for i, period in enumerate(periods)]
        self.seed, self.repeats = int(in_range("seed", seed, 0)), positive_int("repeats", repeats)
        self.path = expand(str(path)) if path else None
        self.start = in_range("start", start, 0)
        self.rate = None if rate is None else positive_int("rate", rate)

    def load(self) -> tuple[WaveFacts, dict[str, Samples]]:
        target = self._target()
        target = target / np.abs(target).max()
        facts = WaveFacts(
            source=str(self.path)
            if self.path
            else f"sum of sines of periods {', '.join(f'{p:g}' for p in self.periods)}",
            sha256=hashlib.sha256(target.tobytes()).hexdigest(),
            sequences=(1, 1, 1),
            input_size=1,
            output_size=1,
            per_step=True,
        )
        one = torch.from_numpy(target)[None, :, None]
        copies = {split: self.repeats * self.batch_size if split == "train" else 1 for split in SPLITS}
        return facts, {
            split: Samples(torch.zeros_like(one).expand(n, -1, -1), one.expand(n, -1, -1))
            for split, n in copies.items()
        }

    def _target(self) -> np.ndarray:
        if self.path is None:
            rng = np.random.default_rng(self.seed)
            t = np.arange(self.length)
            waves = [rng.uniform(0.5, 1) * np.sin(2 * np.pi * (t / period + rng.random())) for period in self.periods]
            return np.sum(waves, axis=0).astype(np.float32)
        sound, rate = read_wav(self.path)
        if self.rate is not None:
            n = max(1, round(len(sound) * self.rate / rate))
            sound, rate = np.fft.irfft(np.fft.rfft(sound), n).astype(np.float32), self.rate
        end = round(self.start * rate) + self.length
        if len(sound) < end:
            raise DataError(f"{self.path} must have at least {end} samples of {rate} Hz; it has {len(sound)}.")
        sound = sound[end - self.length : end]
        if not sound.any():
            raise DataError(f"{self.path} must not be silent where its {self.length} samples are; it is.")
        return sound
