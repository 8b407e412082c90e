"""HM-LSTMs and states for their tests."""

import torch

from multiscale import HMLSTM

KERNELS = ["reference", "auto"]


def network(*sizes: int, **options) -> HMLSTM:
    """Float64, and no parameter at a special value such as a bias of zero."""
    made = HMLSTM(5, list(sizes), len(sizes), **options).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return made


def state_of(net: HMLSTM, batch: int, z: float | list[float]):
    """A state with random h and c and the given boundaries, one for each layer below the top."""
    h, c, zs = net.initial_state(batch, torch.device("cpu"), torch.float64)
    z = [z] * len(zs) if isinstance(z, float) else z
    return (
        tuple(torch.randn_like(p).tanh() for p in h),
        tuple(torch.randn_like(p) for p in c),
        tuple(torch.full_like(p, value) for p, value in zip(zs, z, strict=True)),
    )


def force(net: HMLSTM, layer: int, fire: bool) -> None:
    """Make a layer's boundary always, or never, fire."""
    row = net.layers[layer]
    with torch.no_grad():
        for weight in (row.recurrent, row.bottom_up, row.top_down):
            if weight is not None:
                weight[-1] = 0
        row.bias[-1] = 5.0 if fire else -5.0
