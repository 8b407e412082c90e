"""WAV files, with what is wrong with one that cannot be used."""

import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from multiscale.data.files import DataError


class Sound(NamedTuple):
    """Samples in [-1, 1), and how many there are a second."""

    samples: Float32[np.ndarray, " N"]
    rate: int


def read_wav(path: Path, rate: int | None = None) -> Sound:
    """The sound of a mono WAV file of 16 bits a sample.

    Raises:
        DataError: if it is not that, is cut short, or has another sampling rate than ``rate`` Hz.
    """
    try:
        with wave.open(str(path), "rb") as file:
            found = (file.getnchannels(), 8 * file.getsampwidth())
            if found != (1, 16):
                raise DataError(f"{path} must have 1 channel of 16 bits; it has {found[0]} of {found[1]} bits.")
            if rate is not None and file.getframerate() != rate:
                raise DataError(f"{path} must have {rate} samples a second; it has {file.getframerate()}.")
            expected, content = file.getnframes(), file.readframes(file.getnframes())
            rate = file.getframerate()
    except (OSError, EOFError, wave.Error) as error:
        raise DataError(f"{path} must be a WAV file; it cannot be read as one: {error or 'it ends early'}") from error
    if len(content) != 2 * expected or not expected:
        raise DataError(f"{path} must hold {expected} samples, as its head says, and at least 1; it is cut short.")
    return Sound(np.frombuffer(content, dtype="<i2").astype(np.float32) / 32768, rate)
