"""Checkpoints as files that are whole or not there, each with its own SHA-256 at its end, verified when read.

A checkpoint is a zip archive with a CRC of each of its records; yet a flipped bit elsewhere, such as in the attributes
of a record, lets ``torch.load`` return tensors of arbitrary content. So the archive's comment is a digest of all before
it.
"""

import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from multiscale.checks import InvalidInput, free_memory, read_file
from multiscale.runs.files import write

END, END_SIZE = b"PK\5\6", 22  # the last record of an archive: its first bytes, and how many there are
DIGEST = 64  # characters


class Damaged(InvalidInput):
    """A checkpoint that cannot be read, or is not what was written."""


def save(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint; raises :class:`DiskFull` if it does not fit, with what stood there untouched."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    buffer.seek(-2, io.SEEK_END)  # the length of the archive's comment
    buffer.write(DIGEST.to_bytes(2, "little"))
    buffer.write(_digest(buffer.getbuffer()))
    write(Path(path), buffer.getvalue())


def keep(path: Path, name: str) -> None:
    """Let the checkpoint at ``path``, if there is one, also stand under ``name`` beside it."""
    if not path.exists():
        return
    aside = path.with_name(f".{name}.{os.getpid()}.tmp")
    aside.unlink(missing_ok=True)
    try:
        os.link(path, aside)
    except OSError:  # a file system without links
        shutil.copyfile(path, aside)
    aside.replace(path.with_name(name))


def load(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """A checkpoint, verified, of plain values and tensors only.

    Raises:
        Damaged: (an :class:`InvalidInput`) if it is missing, not whole, or holds anything else; offers another one
            beside it that is whole.
    """
    path = Path(path)
    try:
        content = read_file(path, free_memory())
    except OSError as error:
        raise Damaged(f"checkpoint must be a file written by a run; {str(path)!r}: {error.strerror}.") from error
    if not is_whole(content):
        raise Damaged(f"{path} is damaged, or no checkpoint: its SHA-256 is not that at its end.{_offer(path)}")
    try:
        checkpoint = torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Damaged(f"{path} is no checkpoint that can be loaded: {reason}{_offer(path)}") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "recipe"} <= checkpoint.keys():
        raise Damaged(f"{path} is no checkpoint of a run: it has no state_dict and recipe.{_offer(path)}")
    return checkpoint


def is_whole(content: bytes) -> bool:
    """Whether ``content`` ends with its own digest, or is an archive without one, as ``torch.save`` alone writes it."""
    if content[-END_SIZE:].startswith(END) and content.endswith(b"\0\0"):  # a comment of length 0
        try:
            with ZipFile(io.BytesIO(content)) as archive:
                return archive.testzip() is None
        except Exception:  # zipfile has no one kind for what damage makes it read
            return False
    return content[-DIGEST:] == _digest(memoryview(content)[:-DIGEST])


def _digest(content: memoryview) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _offer(path: Path) -> str:
    """Another checkpoint beside ``path`` to go on from, if there is one that is whole."""
    other = path.with_name("previous.ckpt")
    try:
        whole = other != path and is_whole(read_file(other, free_memory()))
    except OSError:
        return ""
    return f" The one before it is whole: resume={other}" if whole else ""
