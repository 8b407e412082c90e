"""The functions of :mod:`multiscale.kernels.hmlstm.gates` and whole sequences of them in C++, for CPU tensors of
float32 or float64."""

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from multiscale.kernels import compiler
from multiscale.kernels.compiler import end, struct_fields
from multiscale.kernels.hmlstm.gates import Gradients, Layer

SOURCE = Path(__file__).with_name("native.cpp")
HEADERS = {"Layer": "gates.h", "Norm": "norms.h", "Loop": "rows.h"}
COPY_BOUNDARY = {"recompute": 0, "hold": 1, "zero": 2, "nested": 3}

T = TypeVar("T")


class _Struct(ctypes.Structure):
    """``Layer`` of the C++ files."""

    _fields_ = struct_fields(SOURCE.with_name(HEADERS["Layer"]), "Layer")


class _NormStruct(ctypes.Structure):
    """``Norm`` of the C++ files."""

    _fields_ = struct_fields(SOURCE.with_name(HEADERS["Norm"]), "Norm")


class _LoopStruct(ctypes.Structure):
    """``Loop`` of the C++ files."""

    _fields_ = struct_fields(SOURCE.with_name(HEADERS["Loop"]), "Loop")


@cache
def library() -> ctypes.CDLL:
    """The compiled functions.

    Raises:
        CannotCompile: without a compiler, or if it fails.
        RuntimeError: if a struct has another size here than there.
    """
    found = compiler.load(SOURCE)
    for name, mirror in (("Layer", _Struct), ("Norm", _NormStruct), ("Loop", _LoopStruct)):
        there, here = getattr(found, f"sizeof_{name}")(), ctypes.sizeof(mirror)
        if there != here:
            raise RuntimeError(f"{name} has {there} bytes in {HEADERS[name]} and {here} in {mirror.__name__}.")
    return found


class _Function:
    """One function of the library over a struct of buffers, which it keeps alive."""

    def __init__(self, name: str, dtype: torch.dtype, struct: ctypes.Structure, *owners: object) -> None:
        self.function = getattr(library(), f"{name}_{end(dtype)}")
        self.function.restype = None
        self.address = ctypes.addressof(struct)
        self.owners = (struct, owners)


class Step(_Function):
    """One function of the library over the buffers of layer l."""

    def __init__(self, name: str, layers: Sequence[Layer], l: int, gradients: Sequence[Gradients] = ()) -> None:
        super().__init__(name, layers[l].cell.dtype, _struct(layers, l, gradients), layers, gradients)
        self.function.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)

    def __call__(self, t: int, rows: Tensor) -> None:
        self.function(self.address, t, rows.data_ptr())


class NormStep(NamedTuple):
    """The normalisation of one product in the loop over time; R rows are kept, N = 4H columns."""

    gain: Tensor  # [N]
    offset: Tensor
    normed: Tensor  # [R, N or more]
    inverse: Tensor  # [R], of the deviation
    draw: Tensor | None = None  # [T B, N], the gradient of the product before its gate
    dgain: Tensor | None = None  # [B, N]
    doffset: Tensor | None = None


class LoopStep(NamedTuple):
    """What the loop over time reads and writes of one layer, beside its ``Layer``; rows are of [T B]."""

    skip: bool  # the products that a closed gate hides
    shortened: bool  # multiply in bfloat16
    first_z_matters: bool  # the boundary before the first step gets a gradient that is asked for
    recurrent: Tensor  # [>= 4H, H]
    bottom_up: Tensor
    top_down: Tensor | None
    norms: Sequence[NormStep]  # of the three; none without layer norm
    packed: Tensor  # room for the three
    products: Tensor  # room for 4H columns of B rows
    operand_gradients: Tensor | None  # room for K columns of B rows
    alive: Tensor | None  # [T + 1, B], which z pass gradient on; None at the top
    alive_below: Tensor | None
    written: Tensor  # [T + 1], how many rows of the steps before are in
    written_rows: Tensor  # [T B], those that update or flush
    compared: Tensor
    compared_rows: Tensor  # [T B], those that copy and whose gates are computed
    slots: Tensor  # [B]
    dlevel: Tensor | None = None  # [B, T, H], rows without gaps
    dboundary: Tensor | None = None  # [T + 1, B]
    drecurrent: Tensor | None = None  # of the matrices; None if they are not asked for
    dbottom_up: Tensor | None = None
    dtop_down: Tensor | None = None


class Loop:
    """A sequence of all layers in one call, ``forward`` or ``backward``."""

    def __init__(
        self, name: str, layers: Sequence[Layer], steps: Sequence[LoopStep], gradients: Sequence[Gradients] = ()
    ) -> None:
        dtype = layers[0].cell.dtype
        self.structs = [_struct(layers, l, gradients, steps[l].skip) for l in range(len(layers))]
        self.norms = [_norm_structs(step.norms) for step in steps]
        three = zip(self.structs, self.norms, steps, strict=True)
        self.loops = [_loop_struct(ctypes.addressof(layer), norms, step) for layer, norms, step in three]
        self.function = getattr(library(), f"{name}_sequence_{end(dtype)}")
        self.function.restype = None
        self.function.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

    def __call__(self, steps: int) -> None:
        pointers = (ctypes.c_void_p * len(self.loops))(*(ctypes.addressof(loop) for loop in self.loops))
        self.function(pointers, len(self.loops), steps)


def _norm_structs(norms: Sequence[NormStep]) -> "ctypes.Array[_NormStruct]":
    return (_NormStruct * len(norms))(*(_NormStruct(**_addresses(norm._asdict())) for norm in norms))


def _loop_struct(layer: int, norms: "ctypes.Array[_NormStruct]", step: LoopStep) -> _LoopStruct:
    strides = (0, 0) if step.dlevel is None else (step.dlevel.stride(1), step.dlevel.stride(0))
    address = ctypes.addressof(norms) if step.norms else None
    values = step._asdict() | {"layer": layer, "norms": address, "dlevel_step": strides[0], "dlevel_row": strides[1]}
    return _LoopStruct(**_addresses(values))


def padded(columns: int, dtype: torch.dtype) -> int:
    """As how many columns the library packs so many."""
    panel = int(library().panel_bytes()) // dtype.itemsize
    return -(-columns // panel) * panel


def multiplies(dtype: torch.dtype, product_dtype: torch.dtype) -> bool:
    """Whether the library has products in ``product_dtype`` for a state of ``dtype``."""
    short = (dtype, product_dtype) == (torch.float32, torch.bfloat16)
    return dtype == product_dtype or (short and bool(library().short_products()))


def unavailable(device: torch.device | None = None, dtype: torch.dtype | None = None) -> str | None:
    """Why this machine cannot run these functions, or not on tensors of that kind, or None; compiles them if that was
    not yet done."""
    if (why := compiler.unavailable(SOURCE, device, dtype)) is None:
        library()
    return why


def _beside(layers: Sequence[T], l: int) -> tuple[T | None, T | None]:
    """What is below and above."""
    return layers[l - 1] if l else None, layers[l + 1] if l + 1 < len(layers) else None


def _struct(layers: Sequence[Layer], l: int, gradients: Sequence[Gradients], gathers: bool = False) -> _Struct:
    layer, options = layers[l], layers[l].options
    lower, upper = _beside(layers, l)
    fields = dict(_Struct._fields_)
    # What has the same name there is handed over as it is.
    values = {name: value for name, value in vars(layer).items() if name in fields} | {
        "batch": layer.cell.size(1),
        "flush": options.flush,
        "copy": options.copy,
        "mix": options.choice == "mix",
        "copy_boundary": COPY_BOUNDARY[options.copy_boundary],
        "reads_hidden": layer.reads_hidden,
        "gathers": gathers and not layer.keep,
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
    if gradients:
        d, (d_lower, d_upper) = gradients[l], _beside(gradients, l)
        # The gradient of x is dx there.
        values |= {f"d{name}": value for name, value in vars(d).items() if f"d{name}" in fields} | {
            "gated_gradient": d.gated,
            "dh_below": None if d_lower is None else d_lower.h,
            "dz_below": None if d_lower is None else d_lower.z,
            "dh_above": None if d_upper is None else d_upper.h,
            "input_step": 0 if d.input is None else d.input.stride(0),
            "input_row": 0 if d.input is None else d.input.stride(1),
            "scratch": d.scratch,
            "dgain": d.norm_gain,
            "doffset": d.norm_offset,
        }
    return _Struct(**_addresses(values))


def _addresses(values: Mapping[str, Any]) -> dict[str, int | None]:
    """Tensors as their addresses, numbers as they are."""
    return {name: value.data_ptr() if isinstance(value, Tensor) else value for name, value in values.items()}
