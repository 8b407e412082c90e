"""The functions of :mod:`multiscale.kernels.hmlstm.gates` in C++, for CPU tensors of float32 or float64."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from multiscale.kernels.compiler import CannotCompile, load
from multiscale.kernels.hmlstm.gates import Gradients, Layer

SOURCE = Path(__file__).with_name("gates.cpp")
COPY_BOUNDARY = {"recompute": 0, "hold": 1, "zero": 2}
DTYPES = {torch.float32: "float32", torch.float64: "float64"}

_NUMBERS = ("batch", "size", "below", "above", "keep", "flush", "copy", "mix", "copy_boundary", "gated_gradient")
_OPERANDS = ("operands", "operands_below", "operands_above")
_STRIDES = ("columns", "columns_below", "columns_above", "offset_below", "offset_above")
_STATE = ("cell", "gates", "z", "z_below", "threshold", "decided", "surrogate")
_WEIGHTS = ("bias", "boundary_weight", "slope", "norm_gain", "norm_offset")
_GRADIENTS = ("dpre", "dpre_boundary", "dh", "dc", "dz", "dh_below", "dz_below", "dh_above", "dinput", "scratch")
_NORM_GRADIENTS = ("dgain", "doffset")
_NORM = ("gain", "offset", "gate", "raw", "draw", "dgate", "dgain", "doffset")
_INPUT_STRIDES = ("input_step", "input_row")


T = TypeVar("T")


def _fields(names: tuple[str, ...], kind: type) -> list[tuple[str, type]]:
    return [(name, kind) for name in names]


class _Struct(ctypes.Structure):
    """``Layer`` of the C++ file, field by field."""

    _fields_ = [
        *_fields(_NUMBERS, ctypes.c_int64),
        *_fields(_OPERANDS, ctypes.c_void_p),
        *_fields(_STRIDES, ctypes.c_int64),
        *_fields((*_STATE, *_WEIGHTS, *_GRADIENTS, *_NORM_GRADIENTS), ctypes.c_void_p),
        *_fields(_INPUT_STRIDES, ctypes.c_int64),
    ]


class _NormStruct(ctypes.Structure):
    """``Norm`` of the C++ file, field by field."""

    _fields_ = [
        *_fields(("batch", "columns", "keep"), ctypes.c_int64),
        *_fields(_NORM, ctypes.c_void_p),
    ]


@cache
def library() -> ctypes.CDLL:
    """The compiled functions.

    Raises:
        CannotCompile: without a compiler, or if it fails.
        RuntimeError: if a struct has another size here than there.
    """
    found = load(SOURCE)
    for name, mirror in (("Layer", _Struct), ("Norm", _NormStruct)):
        there, here = getattr(found, f"sizeof_{name}")(), ctypes.sizeof(mirror)
        if there != here:
            raise RuntimeError(f"{name} has {there} bytes in {SOURCE.name} and {here} in {mirror.__name__}.")
    return found


class NormBuffers(Protocol):
    """``Norm`` of :mod:`multiscale.kernels.hmlstm.norms`."""

    raw: Tensor
    keep: bool


class Step:
    """One function of the library over the buffers of layer l, which it keeps alive."""

    def __init__(self, name: str, layers: Sequence[Layer], l: int, gradients: Sequence[Gradients] = ()) -> None:
        self.function = getattr(library(), f"{name}_{DTYPES[layers[l].cell.dtype]}")
        self.function.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
        self.function.restype = None
        struct = _struct(layers, l, gradients)
        self.address = ctypes.addressof(struct)
        self.owners = (struct, layers, gradients)

    def __call__(self, t: int, rows: Tensor) -> None:
        self.function(self.address, t, rows.data_ptr())


class Norm:
    """One function of the library over the buffers of one product's normalisation, which it keeps alive."""

    def __init__(self, name: str, norm: NormBuffers) -> None:
        self.function = getattr(library(), f"{name}_{DTYPES[norm.raw.dtype]}")
        self.function.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
        self.function.restype = None
        tensors = {name: getattr(norm, name) for name in _NORM}
        _, batch, columns = norm.raw.shape
        pointers = {k: None if v is None else v.data_ptr() for k, v in tensors.items()}
        struct = _NormStruct(batch=batch, columns=columns, keep=norm.keep, **pointers)
        self.address = ctypes.addressof(struct)
        self.owners = (struct, norm, tensors)

    def __call__(self, t: int, rows: Tensor, out: Tensor) -> None:
        self.function(self.address, t, rows.data_ptr(), out.data_ptr())


def unavailable(device: torch.device | None = None, dtype: torch.dtype | None = None) -> str | None:
    """Why this machine cannot run these functions, or not on tensors of that kind, or None; compiles them if that was
    not yet done."""
    if (device is not None and device.type != "cpu") or (dtype is not None and dtype not in DTYPES):
        return f"it works on CPU tensors of float32 or float64; got {dtype} on {device}"
    return _cannot_load()


@cache
def _cannot_load() -> str | None:
    try:
        library()
    except CannotCompile as reason:
        return str(reason)
    return None


def _beside(layers: Sequence[T], l: int) -> tuple[T | None, T | None]:
    """What is below and above."""
    return layers[l - 1] if l else None, layers[l + 1] if l + 1 < len(layers) else None


def _struct(layers: Sequence[Layer], l: int, gradients: Sequence[Gradients]) -> _Struct:
    layer, options = layers[l], layers[l].options
    lower, upper = _beside(layers, l)
    values: dict[str, int | Tensor | None] = {
        "batch": layer.cell.size(1),
        "size": layer.size,
        "below": layer.below,
        "above": layer.above,
        "keep": layer.keep,
        "flush": options.flush,
        "copy": options.copy,
        "mix": options.choice == "mix",
        "copy_boundary": COPY_BOUNDARY[options.copy_boundary],
        "operands": layer.operands,
        "operands_below": None if lower is None else lower.operands,
        "operands_above": None if upper is None else upper.operands,
        "columns": layer.operands.size(2),
        "columns_below": 0 if lower is None else lower.operands.size(2),
        "columns_above": 0 if upper is None else upper.operands.size(2),
        # 0: the layer below does not read this one.
        "offset_below": 0 if lower is None or not lower.above else lower.size + lower.below,
        "offset_above": 0 if upper is None else upper.size,
        "z_below": layer.z_under,
    }
    values |= {name: getattr(layer, name) for name in ("cell", "gates", "z", "threshold", "decided", "surrogate")}
    values |= {name: getattr(layer, name) for name in _WEIGHTS}
    if gradients:
        d, (d_lower, d_upper) = gradients[l], _beside(gradients, l)
        values |= {
            "gated_gradient": d.gated,
            "dpre": d.pre,
            "dpre_boundary": d.pre_boundary,
            "dh": d.h,
            "dc": d.c,
            "dz": d.z,
            "dh_below": None if d_lower is None else d_lower.h,
            "dz_below": None if d_lower is None else d_lower.z,
            "dh_above": None if d_upper is None else d_upper.h,
            "dinput": d.input,
            "input_step": 0 if d.input is None else d.input.stride(0),
            "input_row": 0 if d.input is None else d.input.stride(1),
            "scratch": d.scratch,
            "dgain": d.norm_gain,
            "doffset": d.norm_offset,
        }
    return _Struct(**{k: v.data_ptr() if isinstance(v, Tensor) else v for k, v in values.items()})
