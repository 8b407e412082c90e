"""Memory for the buffers of a sequence, kept for the next one.

A fresh buffer of tens of megabytes costs the operating system more time, page by page, than the arithmetic that fills
it. Without this a training pass of ``multiscale.benchmark model=hmlstm`` took 1.08 and 1.21 times as long at 512 units,
B 64, T 100, in two measurements side by side (1.43 with layer norm); at 128 units, whose buffers malloc keeps itself,
0.98 and 0.97 (one thread, glibc).
"""

import weakref
from math import prod

import torch
from torch import Tensor

_LIMIT = 1 << 30  # bytes kept while no sequence needs them
_BLOCK = 1 << 18  # numbers taken at once, for small buffers to share: to look for each of them costs what it saves
_ALIGNED = 16  # numbers between whose multiples buffers begin
_SLACK = 4  # a kept buffer may be this many times larger than what is asked for

_free: dict[int, Tensor] = {}  # by identity, the oldest first


class Workspace:
    """Buffers shaped as asked for, of one tensor's type; they go back when the workspace itself is let go."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        taken: list[Tensor] = []
        self.taken = taken
        self.rest = like.new_empty(0)  # of the last block
        weakref.finalize(self, _give_back, taken).atexit = False

    def empty(self, *shape: int) -> Tensor:
        """An uninitialised tensor [*shape], good while this workspace lives."""
        if self.like.device.type != "cpu":
            return self.like.new_empty(shape)  # other devices' allocators keep what is freed
        size = prod(shape)
        if size > self.rest.numel():
            self.rest = _take(max(size, _BLOCK), self.like)
            self.taken.append(self.rest)
        found = self.rest[:size].view(shape)
        self.rest = self.rest[-(-size // _ALIGNED) * _ALIGNED :]
        return found


def _take(size: int, like: Tensor) -> Tensor:
    kept = list(_free.values())
    fitting = [t for t in kept if t.dtype == like.dtype and size <= t.numel() <= max(_SLACK * size, 1024)]
    for flat in sorted(fitting, key=Tensor.numel):
        if _free.pop(id(flat), None) is not None:  # else another thread was faster
            return flat
    with torch.inference_mode(False):  # or training could not use it after an evaluation
        return torch.empty(size, dtype=like.dtype)


def _give_back(taken: list[Tensor]) -> None:
    _free.update({id(t): t for t in taken})
    kept = sum(t.nbytes for t in list(_free.values()))
    while _free and kept > _LIMIT:
        kept -= _free.pop(next(iter(_free))).nbytes
