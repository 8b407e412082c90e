"""One C++ file to a library that ctypes can call: compiled for this machine on first use, kept for the next."""

import ctypes
import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch  # which is slow to load, and here no value is of it

log = logging.getLogger(__name__)

DTYPES = ("float32", "float64")  # of which there are functions, by the ends of their names

FLAGS = (
    *("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp"),
    # exp and tanh vectorise only where errno and floating-point traps need no care; values are untouched.
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
)


class CannotCompile(RuntimeError):
    """No library on this machine; the message is the reason."""


def compiler() -> str:
    """The C++ compiler: $CXX, or the first of c++, g++ and clang++ on the path."""
    wanted = (os.environ["CXX"],) if os.environ.get("CXX") else ("c++", "g++", "clang++")
    for name in wanted:
        if path := shutil.which(name):
            return path
    raise CannotCompile(f"no C++ compiler ({', '.join(wanted)}) on the path")


def cache_folder() -> Path:
    """Where libraries are kept: $XDG_CACHE_HOME/multiscale, or ~/.cache/multiscale, or a folder for temporary files."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "multiscale"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # a user without a home
        return Path(tempfile.mkdtemp(prefix="multiscale-"))


@cache
def load(source: Path) -> ctypes.CDLL:
    """The library of a C++ file and its headers; one that was kept is used if it is whole, as its digest
    tells.

    Raises:
        CannotCompile: without a compiler, or if it fails.
    """
    cxx = compiler()
    # What -march=native means, and the compiler's version: a home folder may be shared by unlike machines.
    target = _run([cxx, "-march=native", "-dM", "-E", "-x", "c++", os.devnull])
    key = hashlib.sha256("\0".join((*_texts(source), target, *FLAGS)).encode()).hexdigest()[:16]
    library = cache_folder() / f"{source.stem}-{key}.so"
    if not _is_whole(library):
        log.info("compiling %s into %s", source.name, library)
        # Another process may be compiling the same file: each writes its own, and the last one moved in stays.
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            fresh = Path(folder) / library.name
            build(source, fresh)
            _digest_path(fresh).write_text(_digest(fresh))
            for path in (fresh, _digest_path(fresh)):
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            fresh.replace(library)
            _digest_path(fresh).replace(_digest_path(library))
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise CannotCompile(f"{library} does not load: {error}") from error


def unavailable(source: Path, device: "torch.device | None" = None, dtype: "torch.dtype | None" = None) -> str | None:
    """Why this machine cannot run the functions of a C++ file, or not on tensors of that kind, or None; compiles it if
    that was not yet done."""
    if (device is not None and device.type != "cpu") or (dtype is not None and end(dtype) not in DTYPES):
        return f"it works on CPU tensors of float32 or float64; got {dtype} on {device}"
    return _cannot_load(source)


def end(dtype: "torch.dtype") -> str:
    """How the names of the functions for numbers of this type end."""
    return str(dtype).removeprefix("torch.")


@cache
def _cannot_load(source: Path) -> str | None:
    try:
        load(source)
    except CannotCompile as reason:
        return str(reason)
    return None


def struct_fields(path: Path, struct: str) -> list[tuple[str, type]]:
    """The fields of a struct of a C++ file, as it declares them: pointers, and whole numbers of 64 bits."""
    found = re.search(rf"^struct {struct} {{.*?\n(.*?)^}};", path.read_text(), re.M | re.S)
    assert found is not None
    declared = [name for line in found[1].splitlines() for name in line.strip(" ;").split(" ", 1)[1].split(",")]
    return [(name.strip(" *"), ctypes.c_void_p if "*" in name else ctypes.c_int64) for name in declared]


def _texts(source: Path) -> list[str]:
    """What is compiled: the file, and every header that it may include, beside it or for all kernels."""
    headers = {*source.parent.glob("*.h"), *Path(__file__).parent.glob("*.h")}
    return [path.read_text() for path in (source, *sorted(headers))]


def _is_whole(library: Path) -> bool:
    """Whether a library is the one that was built: to load one that is cut short ends the process."""
    try:
        return _digest_path(library).read_text() == _digest(library)
    except (OSError, ValueError):
        return False


def _digest_path(library: Path) -> Path:
    return library.with_name(f"{library.name}.sha256")


def _digest(library: Path) -> str:
    return hashlib.sha256(library.read_bytes()).hexdigest()


def build(source: Path, library: Path) -> None:
    """Compile, whether or not it was done before; raises :class:`CannotCompile`."""
    _run([compiler(), *FLAGS, "-o", str(library), str(source)])


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompile(f"{command[0]} does not run: {error}") from error
    if done.returncode != 0:
        complaints = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise CannotCompile(f"{command[0]} fails: {complaints[0]}")
    return done.stdout
