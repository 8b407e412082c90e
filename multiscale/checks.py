"""Checks of what a user gives; every error names the argument, the value and what is allowed."""

import os
import re
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any

SMALL = 2**26  # bytes: far more than any file that a run writes beside its checkpoints


class InvalidInput(ValueError):
    """Something the user gave cannot be used; the message alone says what to change."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its kind if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def describe_error(error: BaseException) -> str:
    """What went wrong, in a line: of a failed system call without its number and its path, which the caller names."""
    return getattr(error, "strerror", None) or first_line(error)


def expand(path: str | Path) -> Path:
    """The path with the folder of a user in the place of ``~``; as it is where there is no such folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def read_file(path: Path, most: int = SMALL) -> bytes:
    """The content of a regular file of at most ``most`` bytes.

    Raises:
        OSError: for a larger one, and for what is none and might have no end.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError(None, "it is no regular file", str(path))
    if about.st_size > most:
        raise OSError(None, f"it has {about.st_size} bytes, more than the {most} that may be read", str(path))
    with path.open("rb") as file:
        return file.read(about.st_size)


def free_memory() -> int:
    """Bytes of memory that are free, or all of them where the system does not tell; within a container, its share."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError):
        free += [1024 * int(kib) for kib in re.findall(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())]
    with suppress(OSError, ValueError):
        cgroup = Path("/sys/fs/cgroup")
        free.append(int((cgroup / "memory.max").read_text()) - int((cgroup / "memory.current").read_text()))
    return max(0, min(free))


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A hint that names the allowed word closest to ``name``, or nothing if none is close."""
    match = get_close_matches(str(name), list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""


def one_of(argument: str, value: Any, allowed: Sequence[str]) -> str:
    """Return ``value`` if it is one of the ``allowed`` words, else raise :class:`InvalidInput`."""
    if value not in allowed:
        raise InvalidInput(f"{argument} must be one of {', '.join(allowed)}; got {value!r}.{nearest(value, allowed)}")
    return value


def positive_int(argument: str, value: Any) -> int:
    """Return ``value`` if it is an integer of at least 1, else raise :class:`InvalidInput`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{argument} must be a whole number of at least 1; got {value!r}.")
    return value


def natural(argument: str, value: Any) -> int:
    """Return ``value`` if it is an integer of at least 0, else raise :class:`InvalidInput`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInput(f"{argument} must be a whole number of at least 0; got {value!r}.")
    return value


def flag(argument: str, value: Any) -> bool:
    """Return ``value`` if it is true or false, else raise :class:`InvalidInput`."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{argument} must be true or false; got {value!r}.")
    return value


def real(argument: str, value: Any) -> float:
    """Return ``value`` if it is a finite number, else raise :class:`InvalidInput`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise InvalidInput(f"{argument} must be a finite number; got {value!r}.")
    return value


def in_range(
    argument: str,
    value: Any,
    low: float,
    high: float = float("inf"),
    *,
    open_low: bool = False,
) -> float:
    """Return ``value`` if it is a number in [low, high] (or (low, high]), else raise :class:`InvalidInput`."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (low < value if open_low else low <= value) or not value <= high:
        bounds = f"{'above' if open_low else 'at least'} {low:g}"
        bounds += "" if high == float("inf") else f" and at most {high:g}"
        raise InvalidInput(f"{argument} must be a number {bounds}; got {value!r}.")
    return value


def sizes(argument: str, value: Any, count: int) -> tuple[int, ...]:
    """One positive integer repeated ``count`` times, or a sequence of exactly ``count`` of them."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return (positive_int(argument, value),) * count
    if len(value) != count:
        raise InvalidInput(f"{argument} must be one number or {count} of them; got {list(value)!r}.")
    return tuple(positive_int(f"{argument}[{i}]", v) for i, v in enumerate(value))


def stack_sizes(argument: str, value: Any, counted: str, count: Any, default: int) -> tuple[int, ...]:
    """The sizes of a stack of ``count`` layers, as :func:`sizes`; without a count, of as many as are listed, or of
    ``default`` layers of one size. ``counted`` is the count's own argument."""
    if count is None:
        listed = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        count = max(1, len(value)) if listed else default
    return sizes(argument, value, positive_int(counted, count))


def seed_number(argument: str, value: Any) -> int:
    """Return ``value`` if it may seed a generator, 0 to 2^32 - 1, else raise :class:`InvalidInput`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise InvalidInput(f"{argument} must be a whole number from 0 to 2^32 - 1; got {value!r}.")
    return value
