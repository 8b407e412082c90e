"""Files that are whole or not there: written aside, flushed and renamed."""

import errno
import os
import shutil
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(OSError):
    """A file did not fit; what stood in its place before is untouched."""


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
