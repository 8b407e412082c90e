"""Files of public data sets: found under one folder, fetched once, verified, never half written.

The folder is what the environment variable ``MULTISCALE_DATA`` names, by default a cache folder of the user's.
"""

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock
from platformdirs import user_cache_dir
from rich.progress import Progress

from multiscale.checks import InvalidInput

VARIABLE = "MULTISCALE_DATA"
BLOCK = 1 << 20  # bytes read at a time
PATIENCE = 30.0  # seconds without an answer


class DataError(InvalidInput):
    """A file of a data set is missing, damaged or cannot be fetched; the message alone says what to do."""


@dataclass(frozen=True)
class Remote:
    """One file of a public data set.

    ``md5`` is that of the content: of what is inside of a ``.gz``, whose wrapping differs between copies. ``member``
    names what to take out of the zip archive that ``url`` is, if it is one.
    """

    name: str  # below the data folder
    md5: str
    url: str
    member: str | None = None


def data_folder() -> Path:
    """Where data sets are looked for."""
    return Path(os.environ.get(VARIABLE) or user_cache_dir("multiscale")).expanduser()


def fetch(remote: Remote, verify: bool = True) -> Path:
    """The file, which is downloaded if it is not there yet, and has the content that is expected.

    Args:
        remote: which file.
        verify: compare the content with the checksum; without, a file that is there is taken as it is.

    Raises:
        DataError: if it is neither there nor can be had, or has another content; says which file, where it was
            looked for, and how to get it.
    """
    path = data_folder() / remote.name
    if not path.is_file():
        with writing(path, f"Download {remote.url}"):
            if not path.is_file():  # another process may have fetched it meanwhile
                _download(remote, path)
                return path
    if verify:
        check(path, remote.md5)
    return path


def check(path: Path, md5: str) -> None:
    """Raise :class:`DataError` unless the content of ``path`` has this checksum."""
    try:
        found = checksum(path)
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is damaged or cannot be read: {error}. Remove it to have it fetched anew.") from error
    if found != md5:
        raise DataError(
            f"{path} has the MD5 checksum {found}; expected {md5}. Remove it to have it fetched anew, or accept it as "
            "it is with data.verify=false."
        )


def checksum(path: Path, kind: str = "md5") -> str:
    """The checksum of a file's content, unpacked if it is a ``.gz``."""
    digest = hashlib.new(kind)
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for block in _blocks(file):  # type: ignore[arg-type]
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def writing(path: Path, how: str) -> Iterator[None]:
    """The right to write ``path``, which one process has at a time; what goes wrong is a :class:`DataError`.

    ``how`` tells how to get the file by hand.
    """
    advice = f"{how}, and put it there as {path.name}, or name another folder with the environment variable {VARIABLE}."
    missing = f"{path.relative_to(data_folder())} is missing; looked for {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            yield
    except DataError:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, KeyError) as error:
        raise DataError(f"{missing}, and it could not be fetched: {error}. {advice}") from error


def _download(remote: Remote, path: Path) -> None:
    """Fetch, take out of an archive, verify and only then give the file its name."""
    with temporary(path) as part:
        stream(remote.url, part, path.name)
        whole = part
        if remote.member is not None:
            whole = part.with_name("member")
            with zipfile.ZipFile(part) as archive, archive.open(remote.member) as inside, whole.open("wb") as out:
                shutil.copyfileobj(inside, out, BLOCK)  # type: ignore[misc]
        named = whole.with_name(path.name)  # its suffix says whether the content is packed
        whole.rename(named)
        check_fresh(named, remote)
        settle(named, path)


def check_fresh(part: Path, remote: Remote) -> None:
    """Raise :class:`DataError` if what was just fetched is not what was expected."""
    try:
        found = checksum(part)
    except (OSError, EOFError) as error:
        found = f"none, as it is damaged ({error})"
    if found != remote.md5:
        raise DataError(
            f"{remote.url} gave a file with the MD5 checksum {found}; expected {remote.md5} for {remote.name}. "
            "It was not kept; try again later."
        )


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A name in a new folder beside ``path``, which is gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "download"


def settle(part: Path, path: Path) -> None:
    """Give a finished file its name, in one step, after its content has reached the disk."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def stream(url: str, to: Path, title: str) -> None:
    """Download ``url`` with a progress bar; a connection that breaks off early raises OSError."""
    with (
        urllib.request.urlopen(url, timeout=PATIENCE) as answer,
        to.open("wb") as file,
        Progress(transient=True) as bar,
    ):
        length = answer.headers.get("Content-Length")
        size = int(length) if length and length.isdigit() else None
        task = bar.add_task(f"fetching {title}", total=size)
        got = 0
        for block in _blocks(answer):
            file.write(block)
            got += len(block)
            bar.update(task, completed=got)
    if size is not None and got != size:
        raise OSError(f"the connection broke off after {got} of {size} bytes")


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    read: Callable[[], bytes] = lambda: file.read(BLOCK)  # noqa: E731
    return iter(read, b"")


def fetch_recordings(folder: str, url: str, md5: str, suffix: str, verify: bool = True) -> list[Path]:
    """The files of a folder below the data folder, sorted by name; if it is missing, out of the tar archive ``url``.

    Every file of the archive with this suffix is taken, whatever folders it is in. ``md5`` is that of the names and
    contents of all (:func:`folder_checksum`). Raises :class:`DataError` as :func:`fetch` does.
    """
    place = data_folder() / folder
    if not place.is_dir():
        with writing(place, f"Download {url} and unpack its {suffix} files"):
            if not place.is_dir():
                _unpack(url, place, suffix, md5)
    found = sorted((path for path in place.iterdir() if path.suffix == suffix), key=lambda path: path.name)
    if verify and (digest := folder_checksum(found)) != md5:
        raise DataError(
            f"{place} has {len(found)} {suffix} files with the MD5 checksum {digest}; expected {md5}. Remove the "
            "folder to have it fetched anew, or accept it as it is with data.verify=false."
        )
    return found


def folder_checksum(paths: list[Path], kind: str = "md5") -> str:
    """The checksum of each file's name, a zero byte, and its content, one after the other."""
    digest = hashlib.new(kind)
    for path in paths:
        digest.update(path.name.encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _unpack(url: str, place: Path, suffix: str, md5: str) -> None:
    with temporary(place) as part:
        stream(url, part, place.name)
        fresh = part.with_name("unpacked")
        fresh.mkdir()
        with tarfile.open(part) as archive:
            for member in archive:
                inside = archive.extractfile(member) if member.isfile() and member.name.endswith(suffix) else None
                if inside is not None:
                    (fresh / Path(member.name).name).write_bytes(inside.read())
        found = folder_checksum(sorted(fresh.iterdir(), key=lambda path: path.name))
        if found != md5:
            raise DataError(f"{url} gave files with the MD5 checksum {found}; expected {md5}. They were not kept.")
        for path in fresh.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(fresh, place)
