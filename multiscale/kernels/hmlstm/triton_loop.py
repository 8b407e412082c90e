"""The loop over time and layers as one Triton kernel each way, for GPUs; in Triton's interpreter also on a CPU."""

import os
import shutil
import sysconfig
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from multiscale.kernels.hmlstm.gates import Gradients, Layer
from multiscale.kernels.hmlstm.native import COPY_BOUNDARY
from multiscale.kernels.hmlstm.operations import Options
from multiscale.kernels.hmlstm.products import Given, LayerWeights, Plan, bias_gradient, with_boundary
from multiscale.kernels.product import outer
from multiscale.kernels.workspace import Workspace

MOST_UNITS = 256  # of a layer; every step reads all weights again
BLOCK = 32  # columns that a program works on at a time, a power of two of at least 16
LEAST_CAPABILITY = (8, 0)  # the first that multiplies bfloat16
PRODUCTS = (torch.float32, torch.float16, torch.bfloat16)
INSTALLED = find_spec("triton") is not None


class Fields(NamedTuple):
    """The buffers of one layer as the kernels take them; see ``Layer`` and ``Gradients`` of ``gates``."""

    size: int
    below: int
    columns: int  # of the operand
    joint: Tensor  # [4H, K], the three matrices side by side, in the products' type
    bias: Tensor
    boundary_weight: Tensor
    operands: Tensor
    cell: Tensor
    gates: Tensor
    z: Tensor | None
    decided: Tensor | None
    surrogate: Tensor | None
    threshold: Tensor | None
    # For the backward pass.
    dlevel: Tensor | None = None  # [B, T, H]
    dboundary: Tensor | None = None  # [T + 1, B]
    pre: Tensor | None = None
    pre_boundary: Tensor | None = None
    dh: Tensor | None = None
    dc: Tensor | None = None
    dz: Tensor | None = None
    dinput: Tensor | None = None


def interpreted() -> bool:
    """Whether Triton interprets its kernels instead of compiling them."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")


@cache
def _cannot_launch() -> str | None:
    """Why Triton could not build what launches a kernel, or None."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler, gcc or clang, and there is none on the path"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Triton needs the headers of Python (Python.h)"
    return None


def unavailable(
    options: Options, sizes: Sequence[int], device: torch.device | None = None, dtype: torch.dtype | None = None
) -> str | None:
    """Why this machine cannot run these functions for such a network, or not on tensors of that kind, or None."""
    if options.layer_norm:
        return "the triton kernel has no layer norm"
    if max(sizes) > MOST_UNITS:
        return f"the triton kernel has at most {MOST_UNITS} units a layer; got {max(sizes)}"
    if not INSTALLED:
        return "Triton is not installed: pip install 'multiscale-rnn[triton]'"
    if not interpreted() and (not torch.cuda.is_available() or torch.version.hip):
        return "there is no NVIDIA GPU"
    if not interpreted() and (why := _cannot_launch()) is not None:
        return why
    if device is None:
        return None
    if dtype != torch.float32 or (device.type != "cuda" and not interpreted()):
        return f"it works on GPU tensors of float32; got {dtype} on {device}"
    if not interpreted() and torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return f"it works on GPUs of compute capability {LEAST_CAPABILITY[0]}.{LEAST_CAPABILITY[1]} or more"
    if torch.is_autocast_enabled(device.type):
        short = torch.get_autocast_dtype(device.type)
        if short not in PRODUCTS or (interpreted() and short == torch.bfloat16):
            return f"it has no products in {short} {'in the interpreter' * interpreted()}".rstrip()
    return None


class Launched:
    """One sequence over the buffers of its layers, without layer norm."""

    def __init__(self, layers: Sequence[Layer], weights: Sequence[LayerWeights], plan: Plan, keep: bool) -> None:
        self.layers, self.weights, self.plan, self.keep = layers, weights, plan, keep
        self.length, self.batch = len(layers[0].operands) - 1, layers[0].cell.size(1)
        self.fields = [self._fields(layer, w) for layer, w in zip(layers, weights, strict=True)]

    def _fields(self, layer: Layer, w: LayerWeights) -> Fields:
        matrices = [m[: 4 * layer.size] for m in (w.recurrent, w.bottom_up, w.top_down) if m is not None]
        return Fields(
            layer.size, layer.below, layer.operands.size(2),
            torch.cat(matrices, 1).to(self.plan.product_dtype), layer.bias.contiguous(), layer.boundary_weight,
            layer.operands, layer.cell, layer.gates, layer.z, layer.decided, layer.surrogate, layer.threshold,
        )  # fmt: skip

    def forward(self) -> None:
        from multiscale.kernels.hmlstm import triton_forward as kernels

        options, slope = self.plan.options, self.layers[0].slope
        with torch.cuda.device_of(slope):
            kernels.forward[self._grid(kernels.ROWS.value)](
                tuple(self.fields), slope, self.length, self.batch, COUNT=len(self.layers),
                RULE=COPY_BOUNDARY[options.copy_boundary], FLUSH=options.flush, COPY=options.copy,
                HIDDEN=self.layers[0].reads_hidden, TOP_DOWN=options.top_down, SOFT=options.boundary == "soft",
                KEEP=self.keep, PRODUCT=self._product(), BLOCK=BLOCK,
            )  # fmt: skip

    def backward(self, gradients: Sequence[Gradients], given: Given, workspace: Workspace) -> None:
        from multiscale.kernels.hmlstm import triton_backward as kernels

        options, filled = self.plan.options, []
        for fields, d, dlevel, dboundary in zip(self.fields, gradients, *given, strict=True):
            own = fields._replace(
                dlevel=None if dlevel is None else dlevel.contiguous(),
                dboundary=None if dboundary is None else dboundary.contiguous(),
                pre=d.pre, pre_boundary=d.pre_boundary, dh=d.h, dc=d.c, dz=d.z, dinput=d.input,
            )  # fmt: skip
            filled.append(own)
        with torch.cuda.device_of(self.layers[0].slope):
            kernels.backward[self._grid(kernels.ROWS.value)](
                tuple(filled), options.choice_share, self.length, self.batch, COUNT=len(self.layers),
                RULE=COPY_BOUNDARY[options.copy_boundary], FLUSH=options.flush, COPY=options.copy,
                HIDDEN=self.layers[0].reads_hidden, TOP_DOWN=options.top_down, MIX=options.choice == "mix",
                PRODUCT=self._product(), BLOCK=BLOCK,
            )  # fmt: skip

    def weight_gradients(self, gradients: Sequence[Gradients]) -> list[tuple[Tensor | None, ...]]:
        found: list[tuple[Tensor | None, ...]] = []
        for layer, w, d in zip(self.layers, self.weights, gradients, strict=True):
            dpre = d.pre.flatten(0, 1)
            full = outer(dpre, layer.operands[:-1].flatten(0, 1), self.plan.product_dtype)
            found.append((*with_boundary(layer, d, full), bias_gradient(d, dpre, len(w.bias)), *(None,) * 8))
        return found

    def _grid(self, rows: int) -> tuple[int]:
        return (-(-self.batch // rows),)

    def _product(self) -> object:
        """Triton's name of the products' type."""
        import triton.language as tl

        return getattr(tl, str(self.plan.product_dtype).removeprefix("torch."))
