"""Compiled libraries are kept for the next run, and never loaded when they are not whole."""

import os
import subprocess
import sys

import pytest

from multiscale.kernels import compiler

SOURCE = 'extern "C" int answer() { return 42; }\n'
LOAD = """
import sys
from pathlib import Path
from multiscale.kernels.compiler import load
print(load(Path(sys.argv[1])).answer())
"""


@pytest.fixture
def source(tmp_path):
    try:
        compiler.compiler()
    except compiler.CannotCompile as error:
        pytest.skip(str(error))
    (tmp_path / "answer.cpp").write_text(SOURCE)
    return tmp_path / "answer.cpp"


def answer(source, **environment) -> str:
    """What a process of its own gets from the library."""
    words = [sys.executable, "-c", LOAD, str(source)]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return done.stdout.strip() or f"{done.returncode} {done.stderr}"


@pytest.mark.parametrize("left", [0, 64, 4096, -1])
def test_a_library_that_was_cut_short_is_built_again(source, tmp_path, left):
    """Cut at 4096 bytes, it maps and dies of a bus error."""
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert answer(source, **cache) == "42"
    (library,) = (tmp_path / "cache/multiscale").glob("*.so")
    whole = library.read_bytes()
    library.write_bytes(whole[:left])
    assert answer(source, **cache) == "42"
    assert library.read_bytes() == whole
    changed = library.stat().st_mtime_ns
    assert answer(source, **cache) == "42"
    assert library.stat().st_mtime_ns == changed
    assert sorted(path.suffix for path in library.parent.iterdir()) == [".sha256", ".so"]


def test_a_library_without_its_digest_is_built_again(source, tmp_path):
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert answer(source, **cache) == "42"
    (digest,) = (tmp_path / "cache/multiscale").glob("*.sha256")
    digest.unlink()
    assert answer(source, **cache) == "42"
    assert digest.exists()


def test_a_user_without_a_home_has_a_folder_for_libraries(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(compiler.Path, "home", homeless)
    assert compiler.cache_folder().is_dir()


def test_a_header_that_changed_is_compiled_again(source, tmp_path):
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    source.write_text('#include "number.h"\nextern "C" int answer() { return number; }\n')
    for number in (42, 43):
        (tmp_path / "number.h").write_text(f"constexpr int number = {number};\n")
        assert answer(source, **cache) == f"{number}"
