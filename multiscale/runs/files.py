"""Files that are whole or not there: written aside, flushed and renamed."""

import errno
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DIGITS = 20  # of a whole number in a JSON file
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


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Put plain values in the place of ``path`` as JSON that any reader takes: what is no finite number is null."""
    write(path, (json.dumps(_strict(value), indent=indent, allow_nan=False) + "\n").encode())


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(content: bytes) -> Any:
    """The values of strict JSON; raises :class:`ValueError` for other content, and for numbers that no float holds."""
    try:
        value = json.loads(content, parse_float=_finite, parse_int=_fitting, parse_constant=_finite)
        json.dumps(value, ensure_ascii=False).encode()  # halves of characters cannot be written
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return value


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it has a number that is not finite, {text:.30}")
    return number


def _fitting(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"it has a number of {len(text)} digits")
    return int(text)


def tidy(folder: Path) -> None:
    """Remove what processes that were killed had begun to write in ``folder``, which nobody else writes to now."""
    for aside in (*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")):
        aside.unlink(missing_ok=True)


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
