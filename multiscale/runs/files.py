"""Files that are whole or not there: written aside, flushed and renamed; checkpoints with a SHA-256 beside each."""

import errno
import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from multiscale.checks import InvalidInput

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(OSError):
    """A file did not fit; what stood in its place before is untouched."""


class Damaged(InvalidInput):
    """A checkpoint that cannot be read, or is not what was written."""


def write(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of ``path`` at once; raises :class:`DiskFull` with what it needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        if error.errno not in FULL:
            raise
        free = shutil.disk_usage(path.parent).free
        kept = "the one before it is intact" if path.exists() else "there was none before it"
        raise DiskFull(
            error.errno, f"{path} needs {_size(len(content))}, and {_size(free)} are free; {kept}"
        ) from error


def tidy(folder: Path) -> None:
    """Remove what processes that were killed had begun to write in ``folder``, which nobody else writes to now."""
    for aside in (*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")):
        aside.unlink(missing_ok=True)


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"


def save(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint and its checksum; while they change, the checksums of both are valid."""
    path = Path(path)
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    content = buffer.getvalue()
    line = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    before = checksum(path)
    write(before, line.encode() + (before.read_bytes() if before.exists() else b""))
    write(path, content)
    write(before, line.encode())


def keep(path: Path, name: str) -> None:
    """Let the checkpoint at ``path``, if there is one, also stand under ``name`` beside it."""
    if not path.exists():
        return
    other, stored = path.with_name(name), checksum(path)
    if stored.exists():
        lines = stored.read_text().replace(path.name, name)
        valid = checksum(other).read_text() if checksum(other).exists() else ""
        write(checksum(other), (lines + valid).encode())
    aside = path.with_name(f".{name}.{os.getpid()}.tmp")
    aside.unlink(missing_ok=True)
    try:
        os.link(path, aside)
    except OSError:  # a file system without links
        shutil.copyfile(path, aside)
    aside.replace(other)


def checksum(path: Path) -> Path:
    """Where the SHA-256 of a checkpoint stands."""
    return path.with_name(path.name + ".sha256")


def verify(path: Path, content: bytes) -> None:
    """Raise :class:`Damaged` unless ``content`` is what was written to ``path``, as far as can be told."""
    stored = checksum(path)
    if stored.exists() and hashlib.sha256(content).hexdigest() not in stored.read_text():
        raise Damaged(f"{path} is damaged: its SHA-256 is not the one in {stored.name}.{_offer(path)}")


def load(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """A checkpoint, verified, of plain values and tensors only.

    Raises:
        Damaged: (an :class:`InvalidInput`) if it is missing, not whole, or holds anything else; offers another one
            beside it that is whole.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Damaged(f"checkpoint must be a file written by a run; {str(path)!r}: {error.strerror}.") from error
    verify(path, content)
    try:
        checkpoint = torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Damaged(f"{path} is no checkpoint that can be loaded: {reason}{_offer(path)}") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "recipe"} <= checkpoint.keys():
        raise Damaged(f"{path} is no checkpoint of a run: it has no state_dict and recipe.{_offer(path)}")
    return checkpoint


def _offer(path: Path) -> str:
    """Another checkpoint beside ``path`` to go on from, if there is one that is whole."""
    other = path.with_name("previous.ckpt")
    try:
        if other == path or not other.exists():
            return ""
        verify(other, other.read_bytes())
    except (OSError, Damaged):
        return ""
    return f" The one before it is whole: resume={other}"
