"""What a network has to compute for a step, by what it was seen to do, and what it has to remember.

Counted are the multiply-accumulates (MACs) of products with weights, forward, for one sequence. ``dense``: all weights
in use at every step; a weight that a mask sets to zero is not in use. ``done``: each product only at the steps at which
the level that needs it is rewritten and what it reads is let through, as measured on a split. An HM-LSTM layer that
copies has no product but that of its boundary, and any layer its bottom-up and top-down ones only where the boundary on
their way is 1. A Clockwork module has none between its ticks. A learned clock's module has none where its activation is
exactly 0, which it is once the clock is hard; a soft one, however small, saves nothing.

Not counted are what is done to each unit (gates, activations, norms, blends), the encoder (those here look up or copy
and have no products), and the backward pass. ``done`` is what the equations ask for, not what a kernel saves: the
HM-LSTM's compute more, in batches; the Clockwork cascade less, as it holds what slow modules send. It is a count, and
no forecast of seconds.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from multiscale.backbones.base import Backbone, Product, State, any_weight

if TYPE_CHECKING:  # a benchmark of backbones need not wait for Lightning
    from multiscale.training.module import SequenceModule

Rates = Sequence[Mapping[str, Any]]
"""Of each level, how often per step it was ``active``, and with boundaries also ``boundary`` and ``flush``."""


def macs(module: "SequenceModule", rates: Rates, steps: int = 1) -> dict[str, float]:
    """Multiply-accumulates of one sequence over so many ``steps``.

    ``dense`` and ``done`` are those of the backbones, with the ``rates`` measured of the levels of ``module``, in its
    order; ``head`` those of the head, at every step, or once if the task reads a sequence as a whole.

    Raises:
        ValueError: if there are not as many rates as levels, or one that is needed is missing.
    """
    first = len(module.backbone.level_sizes)
    total = backbone_macs(module.backbone, rates[:first])
    if module.reverse is not None:
        total = {key: total[key] + more for key, more in backbone_macs(module.reverse, rates[first:]).items()}
    elif len(rates) > first:
        raise ValueError(f"rates must be of {first} levels; got {len(rates)}.")
    like = next(module.parameters())
    read = module.task.read(like.new_zeros(1, 2, 1), torch.ones(1, 2, dtype=torch.bool, device=like.device))
    readings = steps if read.size(1) == 2 else 1
    wide = [n * (1 if module.reverse is None else 2) for n in module.backbone.level_sizes]
    return {**{key: steps * one for key, one in total.items()}, "head": readings * head_macs(module.head, wide)}


def parameters(module: "SequenceModule") -> int:
    """Parameters of the whole network that are in use: those that a mask holds at zero are not."""
    backbones = [module.backbone] if module.reverse is None else [module.backbone, module.reverse]
    return sum(p.numel() for p in module.parameters()) - sum(backbone.idle_weights() for backbone in backbones)


def backbone_macs(backbone: Backbone, rates: Rates) -> dict[str, float]:
    """``dense`` and ``done`` multiply-accumulates of one step of one sequence, at these rates of its levels.

    Raises:
        ValueError: if there are not as many rates as levels, or one that is needed is missing.
    """
    if len(rates) != len(backbone.level_sizes):
        raise ValueError(f"rates must be of {len(backbone.level_sizes)} levels; got {len(rates)}.")
    dense, done = 0, 0.0
    for level, amount, due, of in backbone.products() or seen_products(backbone):
        share = 1.0
        if due != "always":
            event = level if of is None else of
            if event is None or due not in rates[event]:
                raise ValueError(f"rates[{event}] must have {due!r}, on which a product depends.")
            share = float(rates[event][due])
        dense += amount
        done += share * amount
    return {"dense": dense, "done": done}


def seen_products(backbone: Backbone) -> tuple[Product, ...]:
    """What a backbone that does not say itself is seen to do in a step: due where a single level is active, and else
    always, as nothing tells which of it several levels may skip."""
    like = any_weight(backbone)
    state = backbone.initial_state(1, like.device, like.dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone.step(like.new_zeros(1, backbone.input_size), state)
    macs = counter.get_total_flops() // 2
    return (Product(0, macs) if len(backbone.level_sizes) == 1 else Product(None, macs, "always"),)


def head_macs(head: nn.Module, level_sizes: Sequence[int]) -> int:
    """Multiply-accumulates of a head for one step of levels of these sizes."""
    like = next(head.parameters(), torch.zeros(()))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        head([like.new_zeros(1, 1, n) for n in level_sizes])
    return counter.get_total_flops() // 2


def state_size(module: "SequenceModule") -> int:
    """Numbers carried from one step to the next for one sequence, by all backbones together."""
    backbones = [module.backbone] if module.reverse is None else [module.backbone, module.reverse]
    return sum(backbone_state_size(backbone) for backbone in backbones)


def backbone_state_size(backbone: Backbone) -> int:
    """Numbers carried from one step to the next for one sequence; a counter of steps, which is whole, is not one."""
    like = any_weight(backbone)
    return _numbers(backbone.initial_state(1, like.device, like.dtype))


def _numbers(state: State) -> int:
    if isinstance(state, torch.Tensor):
        return state.numel() if state.is_floating_point() else 0
    return sum(_numbers(part) for part in state)
