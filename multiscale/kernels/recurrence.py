"""The loop over time of a layer of tanh units in C++, for CPU tensors of float32 or float64."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from multiscale.kernels import compiler
from multiscale.kernels.product import outer
from multiscale.kernels.workspace import Workspace

SOURCE = Path(__file__).with_name("recurrence.cpp")


class _Struct(ctypes.Structure):
    """``Recurrence`` of the C++ file."""

    _fields_ = compiler.struct_fields(SOURCE, "Recurrence")


@cache
def _library() -> ctypes.CDLL:
    found = compiler.load(SOURCE)
    if found.sizeof_Recurrence() != ctypes.sizeof(_Struct):
        raise RuntimeError(f"Recurrence has {found.sizeof_Recurrence()} bytes there and {ctypes.sizeof(_Struct)} here.")
    return found


def unavailable(x: Tensor | None = None, network: nn.Module | None = None) -> str | None:
    """Why it cannot run on x with the weights of a network, or None; without x, why it can never run here."""
    kind = (None, None) if x is None or network is None else (x.device, next(network.parameters()).dtype)
    if (why := compiler.unavailable(SOURCE, *kind)) is None:
        _library()
    return why


def recur(
    drive: Float[Tensor, "T B H"],
    weight: Float[Tensor, "H H"],
    first: Float[Tensor, "B H"],
    active: Float[Tensor, "T _ H"] | None = None,
) -> Float[Tensor, "T+1 B H"]:
    """h_0 .. h_T of h_t = A_t tanh(d_t + W h_{t-1}) + (1 - A_t) h_{t-1}, from the first state on.

    ``active``, A [T, 1 or B, H]; None for 1 everywhere. Differentiable once, in all of them.
    """
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (drive, weight, first, active))
    states: Tensor = _Recurrence.apply(keep, drive, weight, first, active)
    return states


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keep: bool, drive: Tensor, weight: Tensor, first: Tensor, active: Tensor | None) -> Tensor:
        drive, active = drive.contiguous(), None if active is None else active.contiguous()
        states = drive.new_empty(len(drive) + 1, *first.shape)
        states[0] = first
        ctx.workspace, ctx.fresh = Workspace(drive), None
        if active is not None:
            ctx.fresh = ctx.workspace.empty(len(drive) if keep else 1, *first.shape)
        _run("forward", states, weight, active, ctx.fresh, drive=drive)
        ctx.save_for_backward(weight, active, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dstates: Tensor) -> tuple[Tensor | None, ...]:
        weight, active, states = ctx.saved_tensors
        ddrive, dactive = torch.empty_like(states[1:]), None if active is None else torch.empty_like(active)
        dstates = dstates.contiguous()
        given = {"dstates": dstates, "ddrive": ddrive, "dactive": dactive}
        dfirst = _run("backward", states, weight, active, ctx.fresh, **given) + dstates[0]
        dweight = outer(ddrive.flatten(0, 1), states[:-1].flatten(0, 1), weight.dtype)
        return None, ddrive, dweight, dfirst, dactive


def _run(
    name: str, states: Tensor, weight: Tensor, active: Tensor | None, fresh: Tensor | None, **tensors: Tensor | None
) -> Tensor:
    """Call a function of the library; returns what it leaves in its room, of the backward one the first state's
    gradient [B, H] but for what is given to that itself."""
    library, workspace = _library(), Workspace(states)
    batch, size = states.shape[1:]
    panel = library.panel_bytes() // states.itemsize
    columns = -(-size // panel) * panel
    room, packed = workspace.empty(batch, columns), workspace.empty(size, columns)
    tensors |= {"weight": weight, "active": active, "states": states, "fresh": fresh, "packed": packed, "room": room}
    struct = _Struct(
        steps=len(states) - 1,
        batch=batch,
        size=size,
        weight_row=weight.stride(0),
        weight_column=weight.stride(1),
        active_batch=0 if active is None else active.size(1),
        fresh_step=0 if fresh is None or len(fresh) == 1 else batch * size,
        **{key: tensor.data_ptr() for key, tensor in tensors.items() if tensor is not None},
    )
    function = getattr(library, f"{name}_{compiler.end(states.dtype)}")
    function.restype, function.argtypes = None, (ctypes.c_void_p,)
    function(ctypes.addressof(struct))
    return room[:, :size].clone()
