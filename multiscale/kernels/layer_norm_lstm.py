"""A layer of an LSTM with layer norm as one function in C++: an HM-LSTM of one layer, which always updates."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiscale.kernels.hmlstm import native, sequence
from multiscale.kernels.hmlstm.operations import Options
from multiscale.kernels.hmlstm.products import LayerWeights

OPTIONS = Options(layer_norm=True)


def unavailable(x: Tensor | None, network: nn.Module) -> str | None:
    """Why it cannot run on x with the weights of a network, or None; without x, why it can never run here."""
    kind = (None, None) if x is None else (x.device, next(network.parameters()).dtype)
    return native.unavailable(*kind)


def run(
    x: Float[Tensor, "B T D"],
    state: tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]],
    weights: Sequence[Tensor],
    norms: Sequence[Tensor],
) -> tuple[Float[Tensor, "B T H"], tuple[Tensor, ...]]:
    """The hidden sequence, and (h, c) after it, of Eq. 20-22 of Ba, Kiros, Hinton 2016 (arXiv 1607.06450).

    Args:
        x: what the layer reads.
        state: (h, c) before the first step.
        weights: those of ``torch.nn.LSTM``: W [4H, D], U [4H, H] and their biases [4H], the gates i, f, g, o.
        norms: gain and offset of W x and of U h [4H] each, and of c [H].
    """
    dtype = weights[0].dtype
    weight_ih, weight_hh, bias = (_ordered(w) for w in (*weights[:2], weights[2] + weights[3]))
    input_gain, input_offset, state_gain, state_offset = (_ordered(n) for n in norms[:4])
    of_products = (state_gain, state_offset, input_gain, input_offset)
    layer = LayerWeights(weight_hh, weight_ih, None, bias, *of_products, None, None, norms[4], norms[5])
    x = x.to(dtype)  # under autocast the products alone are short
    h, c = ((s.to(dtype),) for s in state)
    plan = sequence.plan(OPTIONS, x, dtype, "native")
    out = sequence.sequence(x, (h, c, ()), [layer], x.new_ones(()), None, plan)
    return out.levels[0], (out.h[0], out.c[0])


def _ordered(parameter: Tensor) -> Tensor:
    """Rows of i, f, g, o as the HM-LSTM has them: f, i, o, g."""
    i, f, g, o = parameter.chunk(4)
    return torch.cat((f, i, o, g))
