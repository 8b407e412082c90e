"""Small files of the same form as the public data sets, in a folder that MULTISCALE_DATA may name."""

from pathlib import Path

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


# What makes the experiment of a data set small, beside its files: batch sizes that tiny files fill.
SMALL = {
    "ptb": ["data.batch_size=4", "data.steps=16", "data.verify=false"],
    "text8": ["data.batch_size=4", "data.steps=16", "data.verify=false"],
    "enwik8": ["data.batch_size=4", "data.steps=16", "data.verify=false"],
    "tinyshakespeare": ["data.batch_size=4", "data.steps=16", "data.verify=false"],
    "python_docs": ["data.batch_size=4", "data.steps=16"],
    "artificial_language": ["data.batch_size=4", "data.steps=16", "data.length=4000"],
    "text_file": ["data.batch_size=4", "data.steps=16", "data.path=text8/text8"],
}


def data_sets(folder: Path) -> None:
    """Files for every data set that reads files."""
    text_sets(folder)
