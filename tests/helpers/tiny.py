"""Small files of the same form as the public data sets, in a folder that MULTISCALE_DATA may name."""

import gzip
import json
import wave
from pathlib import Path

import numpy as np

PROSE = "the quick brown fox jumps over the lazy dog again and again "


def text_sets(folder: Path) -> None:
    """ptb, text8, enwik8 and tinyshakespeare."""
    for name in ("ptb", "text8", "enwik8", "tinyshakespeare"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 60), ("valid", 6), ("test", 6)):
        (folder / f"ptb/ptb.{part}.txt").write_text(f" {PROSE.strip()} <unk> N \n" * count)
    (folder / "text8/text8").write_text(PROSE * 100)
    (folder / "enwik8/enwik8").write_bytes(("<page>Æther & Größe, " + PROSE + "\n").encode() * 100)
    (folder / "tinyshakespeare/input.txt").write_text("First Citizen:\nBefore we proceed, hear me speak.\n\n" * 100)


def idx(array: np.ndarray) -> bytes:
    """A gzipped IDX file of bytes."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)  # the same bytes at any time


def wav(path: Path, samples: np.ndarray, rate: int = 8000, width: int = 2, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def digits(folder: Path) -> None:
    """mnist, 40 + 10 digits."""
    rng = np.random.default_rng(0)
    (folder / "mnist").mkdir()
    for part, count in (("train", 40), ("t10k", 10)):
        (folder / f"mnist/{part}-images-idx3-ubyte.gz").write_bytes(idx(rng.integers(256, size=(count, 28, 28))))
        (folder / f"mnist/{part}-labels-idx1-ubyte.gz").write_bytes(idx(rng.integers(10, size=count)))


def speech(folder: Path) -> None:
    """fsdd, two speakers, three digits, recordings 0 to 7 of different lengths."""
    rng = np.random.default_rng(0)
    (folder / "fsdd/recordings").mkdir(parents=True)
    for speaker in ("ann", "bob"):
        for digit in range(3):
            for number in range(8):
                sound = rng.uniform(-0.5, 0.5, size=150 + 100 * number)
                wav(folder / f"fsdd/recordings/{digit}_{speaker}_{number}.wav", sound)


def chorales(folder: Path) -> None:
    """jsb, a few chorales of 3 to 9 steps."""
    rng = np.random.default_rng(0)
    (folder / "jsb").mkdir()

    def some(count: int) -> list:
        return [[sorted(rng.integers(40, 90, size=4).tolist()) for _ in range(3 + i % 7)] for i in range(count)]

    parts = {"train": some(20), "valid": some(6), "test": some(5)}
    for resolution in ("quarter", "16th"):
        (folder / f"jsb/jsb-chorales-{resolution}.json").write_text(json.dumps(parts))


def strokes(folder: Path) -> None:
    """iam_ondb, two lines of each of six forms."""
    rng = np.random.default_rng(0)
    forms = [f"a01-{number:03d}u" for number in range(6)]
    for form in forms:
        place = folder / f"iam_ondb/lineStrokes/a01/{form[:-1]}"
        place.mkdir(parents=True)
        for line in (1, 2):
            pens = rng.integers(500, 900, size=(3, 5, 2)).tolist()
            inside = "".join(
                "<Stroke>" + "".join(f'<Point x="{x}" y="{y}" time="1.5"/>' for x, y in pen) + "</Stroke>"
                for pen in pens
            )
            text = f"<WhiteboardCaptureSession><StrokeSet>{inside}</StrokeSet></WhiteboardCaptureSession>"
            (place / f"{form}-0{line}.xml").write_text(text)
    for name, part in (("trainset", forms[:4]), ("testset_v", forms[4:5]), ("testset_f", forms[5:])):
        (folder / f"iam_ondb/{name}.txt").write_text("".join(f" {form}\n" for form in part))


def series(folder: Path, steps: int = 240, name: str = "series.csv") -> Path:
    """Two columns of waves of 8 and of 24 steps with noise, the second of other units and of a phase of its own."""
    rng, t = np.random.default_rng(0), np.arange(steps)
    load = np.sin(2 * np.pi * t / 8) + np.sin(2 * np.pi * t / 24) + 0.3 * rng.standard_normal(steps)
    heat = 20 + 5 * np.cos(2 * np.pi * t / 24) + rng.standard_normal(steps)
    rows = [f"{i},{a:.4f},{b:.4f}" for i, a, b in zip(t, load, heat, strict=True)]
    (folder / name).write_text("\n".join(["hour,load,heat", *rows]) + "\n")
    return folder / name


# What makes the experiment of a data set small, beside its files: batch sizes that tiny files fill.
SMALL = {
    "ptb": ["data.batch_size=4", "data.steps=16", "data.verify=false"],
    "text8": ["data.batch_size=4", "data.steps=16", "data.verify=false"],
    "enwik8": ["data.batch_size=4", "data.steps=16", "data.verify=false"],
    "tinyshakespeare": ["data.batch_size=4", "data.steps=16", "data.verify=false"],
    "python_docs": ["data.batch_size=4", "data.steps=16"],
    "artificial_language": ["data.batch_size=4", "data.steps=16", "data.length=4000"],
    "smnist": ["data.batch_size=4", "data.held_out=8", "data.verify=false"],
    "psmnist": ["data.batch_size=4", "data.held_out=8", "data.verify=false"],
    "spoken_digits": ["data.batch_size=4", "data.validation=[5]", "data.verify=false"],
    "adding": ["data.batch_size=4", "data.steps=9", "data.sequences=[20,8,8]"],
    "frequency": ["data.batch_size=4", "data.duration=[8,12]", "data.sequences=[20,8,8]"],
    "clocked_symbols": ["data.batch_size=4", "data.steps=9", "data.sequences=[20,8,8]"],
    "first_symbol": ["data.batch_size=4", "data.delay=4", "data.sequences=[20,8,8]"],
    "embedded_reber": ["data.batch_size=4", "data.strings=2", "data.sequences=[20,8,8]"],
    "copy_memory": ["data.batch_size=4", "data.delay=5", "data.sequences=[20,8,8]"],
    "jsb_chorales": ["data.batch_size=4", "data.verify=false"],
    "iam_ondb": ["data.batch_size=4"],
    "waveform": ["data.samples=40", "data.repeats=4"],
    "series_file": ["data.batch_size=4", "data.context=16", "data.season=8", "data.path=series.csv"],
    "text_file": ["data.batch_size=4", "data.steps=16", "data.path=text8/text8"],
}


def data_sets(folder: Path) -> None:
    """Files for every data set that reads files."""
    for write in (text_sets, digits, speech, chorales, strokes, series):
        write(folder)
