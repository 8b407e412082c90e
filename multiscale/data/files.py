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
import zlib
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_dir
from rich.progress import Progress

from multiscale.checks import InvalidInput, expand

VARIABLE = "MULTISCALE_DATA"
RECORDINGS = "*.wav"
BLOCK = 1 << 20  # bytes read at a time
PATIENCE = 30.0  # seconds without an answer
DAMAGED = (OSError, EOFError, zlib.error)  # what reading a .gz may raise


class DataError(InvalidInput):
    """A file of a data set is missing, damaged or cannot be fetched; the message alone says what to do."""


@dataclass(frozen=True)
class Remote:
    """One file of a public data set, or a folder of recordings; ``md5`` is that of the content (:func:`checksum`).

    ``member`` names what to take out of the archive that ``url`` is, if it is one: a file of a zip archive, or
    RECORDINGS for the folder of all those of a tar archive, whatever folders they are in there.
    """

    name: str  # below the data folder
    md5: str
    url: str
    member: str | None = None


def data_folder() -> Path:
    """Where data sets are looked for."""
    try:
        return expand(os.environ.get(VARIABLE) or user_cache_dir("multiscale"))
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / "multiscale"


def recordings(folder: Path) -> list[Path]:
    """The sound files of a folder, sorted by name."""
    return sorted(folder.glob(RECORDINGS))


def checksum(path: Path, kind: str = "md5") -> str:
    """The checksum of the content, which does not depend on how it is wrapped.

    Of a ``.gz``, that of what is inside; of a folder, that of each recording's name, a zero byte, and its content.
    """
    if path.is_dir():
        digest = hashlib.new(kind)
        for file in recordings(path):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as content:
        return hashlib.file_digest(content, kind).hexdigest()  # type: ignore[arg-type]


def fetch(remote: Remote, verify: bool = True) -> Path:
    """The file or folder, which is downloaded if it is not there yet, and has the content that is expected.

    Args:
        remote: which.
        verify: compare the content with the checksum; without, what is there is taken as it is.

    Raises:
        DataError: if it is neither there nor can be had, or has another content; says which file, where it was
            looked for, and how to get it.
    """
    path = data_folder() / remote.name
    if not path.exists():
        _obtain(remote, path)  # which verifies it
    elif verify:
        _check(path, remote.md5)
    return path


def _check(path: Path, md5: str) -> None:
    try:
        found = checksum(path)
    except DAMAGED as error:
        raise DataError(f"{path} is damaged or cannot be read: {error}. Remove it to have it fetched anew.") from error
    if found != md5:
        counted = f"{len(recordings(path))} recordings with " if path.is_dir() else ""
        raise DataError(
            f"{path} has {counted}the MD5 checksum {found}; expected {md5}. Remove it to have it fetched anew, or "
            "accept it as it is with data.verify=false."
        )


def _obtain(remote: Remote, path: Path) -> None:
    """Download what is missing, one process at a time; what goes wrong is a :class:`DataError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if not path.exists():  # another process may have fetched it meanwhile
                _download(remote, path)
    except (*DAMAGED, zipfile.BadZipFile, tarfile.TarError, KeyError) as error:
        put = f"as it is into {path.parent}" if remote.member else f"there as {path.name}"
        raise DataError(
            f"{remote.name} is missing; looked for {path}, and it could not be had: {error}. Download {remote.url} and "
            f"put it {put}, or name another folder with the environment variable {VARIABLE}."
        ) from error


def _download(remote: Remote, path: Path) -> None:
    """Fetch, take out of an archive, verify and only then give the name; what is half done is never left."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-", ignore_cleanup_errors=True) as folder:
        fresh = Path(folder) / path.name  # its suffix says whether the content is packed
        beside = path.with_name(remote.url.rpartition("/")[2])  # an archive that a user has put there
        archive = beside if remote.member and beside.exists() else Path(folder) / "download"
        if archive != beside:
            stream(remote.url, archive, path.name)
        if remote.member is None:
            archive.rename(fresh)
        elif remote.member == RECORDINGS:
            _take_recordings(archive, fresh)
        else:
            with zipfile.ZipFile(archive) as files, files.open(remote.member) as inside, fresh.open("wb") as file:
                shutil.copyfileobj(inside, file, BLOCK)
        try:
            found = checksum(fresh)
        except DAMAGED as error:
            found = f"none, as it is damaged ({error})"
        if found != remote.md5:
            raise DataError(
                f"{remote.url} gave content with the MD5 checksum {found}; expected {remote.md5} for {remote.name}. "
                "It was not kept; try again later."
            )
        settle(fresh, path)


def stream(url: str, to: Path, title: str) -> None:
    """Download ``url`` with a progress bar; a connection that breaks off early raises OSError."""
    with (
        urllib.request.urlopen(url, timeout=PATIENCE) as answer,
        to.open("wb") as file,
        Progress(transient=True) as bar,
    ):
        length = answer.headers.get("Content-Length", "")
        size = int(length) if length.isdigit() else None
        shutil.copyfileobj(bar.wrap_file(answer, size, description=f"fetching {title}"), file, BLOCK)
        got = file.tell()
    if size is not None and got != size:
        raise OSError(f"the connection broke off after {got} of {size} bytes")


def _take_recordings(archive: Path, folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(archive) as files:
        for member in files:
            name = Path(member.name)
            inside = files.extractfile(member) if member.isfile() and name.match(RECORDINGS) else None
            if inside is not None:
                (folder / name.name).write_bytes(inside.read())


def settle(fresh: Path, path: Path) -> None:
    """Give what is finished its name, in one step, after its content has reached the disk."""
    for part in recordings(fresh) if fresh.is_dir() else [fresh]:
        with part.open("rb+") as file:
            os.fsync(file.fileno())
    os.replace(fresh, path)
