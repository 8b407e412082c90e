"""The HM-LSTM's gates in C++: where they can be had, and what runs where they cannot."""

import ctypes

import pytest
import torch

from multiscale.backbones import base
from multiscale.backbones.hmlstm import HMLSTM
from multiscale.checks import InvalidInput
from multiscale.kernels import compiler
from multiscale.kernels.hmlstm import native
from tests.helpers.hmlstm_kernels import HAS_COMPILER, KERNELS, SIZES, D

CACHES = (compiler.load, native.library, compiler._cannot_load, base._log_choice)


@pytest.fixture
def afresh():
    """Nothing compiled, found missing or said before."""
    for known in CACHES:
        known.cache_clear()
    yield
    for known in CACHES:
        known.cache_clear()


@pytest.fixture
def no_compiler(monkeypatch, afresh):
    monkeypatch.setenv("CXX", "no-such-compiler")


def test_without_a_compiler_auto_runs_torchs_gates_and_says_so(no_compiler, caplog):
    found = HMLSTM(D, SIZES)
    for _ in range(2):
        sum(level.sum() for level in found(torch.randn(2, 4, D)).levels).backward()
    assert found.kernel == "fused"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "HMLSTM: kernel fused (native: no C++ compiler (no-such-compiler) on the path)")
    ]


def test_without_a_compiler_native_by_name_is_refused(no_compiler):
    with pytest.raises(InvalidInput, match="kernel 'native' of HMLSTM cannot run here: no C\\+\\+ compiler"):
        HMLSTM(D, SIZES, kernel="native")


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
def test_a_compiler_that_fails_is_asked_once(afresh, monkeypatch):
    asked = []

    def fails(source):
        asked.append(source)
        raise compiler.CannotCompile("c++ fails: no memory")

    monkeypatch.setattr(compiler, "load", fails)
    found = HMLSTM(D, SIZES)
    for _ in range(3):
        found(torch.randn(2, 4, D))
    assert (found.kernel, len(asked)) == ("fused", 1)


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
@pytest.mark.parametrize(("mirror", "name"), [("_Struct", "Layer"), ("_NormStruct", "Norm")])
def test_a_struct_that_is_not_the_librarys_is_refused(mirror, name, afresh, monkeypatch):
    class Longer(ctypes.Structure):
        _fields_ = [*getattr(native, mirror)._fields_, ("one_more", ctypes.c_int64)]

    monkeypatch.setattr(native, mirror, Longer)
    with pytest.raises(RuntimeError, match=f"{name} has .* bytes in .*\.h and .* in Longer"):
        HMLSTM(D, SIZES)


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
def test_a_compiler_that_fails_is_a_reason_too(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "broken.cpp").write_text("int answer() { return forty_two; }")
    with pytest.raises(compiler.CannotCompile, match="forty_two"):
        compiler.load(tmp_path / "broken.cpp")
    assert not list((tmp_path / "multiscale").iterdir())


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
def test_native_by_name_refuses_what_it_cannot_work_on_and_auto_says_what_it_takes(afresh, caplog):
    found, x = HMLSTM(D, SIZES, kernel="native").to(torch.bfloat16), torch.randn(2, 3, D, dtype=torch.bfloat16)
    why = "it works on CPU tensors of float32 or float64; got torch.bfloat16 on cpu"
    with pytest.raises(InvalidInput, match=f"kernel 'native' of HMLSTM cannot run here: {why}"):
        found(x)
    assert found.use("auto").kernel == "native"  # what would run, were the parameters float32
    assert found(x).levels[0].dtype == torch.bfloat16
    assert found.kernel == "fused"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"HMLSTM: kernel fused (native: {why})")
    ]
    assert found.float()(x.float()).levels[0].dtype == torch.float32
    assert found.kernel == "native"


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
def test_short_inputs_under_autocast_are_no_reason_to_leave_the_native_gates():
    found = HMLSTM(D, SIZES)
    with torch.autocast("cpu", torch.bfloat16):
        found(torch.randn(2, 3, D).bfloat16())
    assert found.kernel == "native"


@pytest.mark.parametrize("kernel", KERNELS)
def test_inputs_of_another_type_than_the_parameters_are_refused(kernel):
    with pytest.raises(InvalidInput, match=r"x must be of the weights' type, torch.float32; got torch.float64"):
        HMLSTM(D, SIZES, kernel=kernel)(torch.randn(2, 3, D).double())
