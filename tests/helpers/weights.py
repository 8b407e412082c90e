"""Networks whose weights hide nothing."""

import torch
from torch import nn


def perturbed(model: nn.Module) -> nn.Module:
    """The model in float64, with no parameter at a special value, such as a bias of zero or a weight masked away."""
    model.double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    return model
