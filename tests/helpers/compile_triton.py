"""Compiles the HM-LSTM's Triton kernels, down to machine code, for a GPU that need not be here: ``python -m
tests.helpers.compile_triton CAPABILITY``; prints the bytes of memory that the programs share."""

import sys

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from multiscale.backbones.hmlstm import HMLSTM
from multiscale.kernels.hmlstm import triton_backward, triton_forward, triton_loop


class Absent:
    """Of a driver, what is asked for before anything runs."""

    def get_current_target(self):
        return GPUTarget("cuda", int(sys.argv[1]), 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


class Compiled:
    """Compiles where it should be launched."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return lambda *given, **constants: self.report(self.kernel.warmup(*given, grid=grid, **constants))

    def report(self, found):
        print(found.metadata.name, found.metadata.shared)
        assert found.asm["cubin"]


def main():
    driver.set_active(Absent())
    triton_forward.forward, triton_backward.backward = map(Compiled, (triton_forward.forward, triton_backward.backward))
    triton_loop.unavailable = lambda *asked: None
    for sizes, short, options in (
        ((256, 40, 16), None, {}),
        ((32, 16), torch.bfloat16, {"copy_boundary": "hold", "boundary_source": "hidden"}),
    ):
        network = HMLSTM(64, sizes, kernel="triton", **options)
        with torch.autocast("cpu", short or torch.bfloat16, enabled=short is not None):
            levels = network(torch.randn(32, 5, 64)).levels
        levels[1].sum().backward()


if __name__ == "__main__":
    main()
