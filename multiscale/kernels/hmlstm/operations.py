"""The options of an HM-LSTM and the operation (UPDATE, COPY or FLUSH) that they choose from the boundaries."""

from dataclasses import dataclass

import torch
from torch import Tensor

from multiscale.checks import InvalidInput, flag, in_range, one_of, real
from multiscale.nn.detectors.base import DECISIONS
from multiscale.nn.straight_through import scale_gradient

CHOICES = ("mix", "select")
COPY_BOUNDARIES = ("recompute", "hold", "zero", "nested")
SOURCES = ("preact", "hidden", "change")
INITS = ("orthogonal", "uniform")


@dataclass(frozen=True)
class Options:
    """What may vary in an HM-LSTM, faithful by default; described at :class:`multiscale.backbones.hmlstm.HMLSTM`.

    Raises:
        InvalidInput: for an unknown word, a switch that is neither true nor false, a forget bias that is no number,
            rates of zoneout outside [0, 1], or ``choice="select"`` of soft boundaries, which leave nothing to select.
    """

    boundary: str = "step"
    choice: str = "mix"
    copy_boundary: str = "recompute"
    layer_norm: bool = False
    top_down: bool = True
    flush: bool = True
    copy: bool = True
    boundary_bias: bool = True
    forget_bias: float = 1.0
    init: str = "orthogonal"
    source: str = "preact"
    choice_share: float = 1.0
    zoneout: float = 0.0
    zoneout_c: float = 0.0

    def __post_init__(self) -> None:
        one_of("boundary", self.boundary, DECISIONS)
        one_of("choice", self.choice, CHOICES)
        one_of("copy_boundary", self.copy_boundary, COPY_BOUNDARIES)
        one_of("init", self.init, INITS)
        one_of("boundary_source", self.source, SOURCES)
        for name in ("layer_norm", "top_down", "flush", "copy", "boundary_bias"):
            flag(name, getattr(self, name))
        real("forget_bias", self.forget_bias)
        for name in ("choice_share", "zoneout", "zoneout_c"):
            in_range(name, getattr(self, name), 0, 1)
        if self.choice == "select" and self.boundary == "soft":
            raise InvalidInput("choice must be mix with boundary='soft', which decides nothing; got 'select'.")


def operation(z_prev: Tensor, z_below: Tensor, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """How much of FLUSH, UPDATE and COPY a layer does, each [B, 1] and summing to 1 (Eq. 2, and its ablations).

    z_prev = z_{t-1}^l, z_below = z_t^{l-1}. Without COPY or FLUSH its steps become UPDATE. With hard boundaries one
    is exactly 1 and the others 0.
    """
    copy = (1 - z_prev) * (1 - z_below) if options.copy else z_prev * 0
    flush = z_prev if options.flush else z_prev * 0
    update = 1 - copy - flush
    if options.choice == "select":
        return flush.detach(), update.detach(), copy.detach()
    if options.choice_share == 1:
        return flush, update, copy
    flush, update, copy = (scale_gradient(part, options.choice_share) for part in (flush, update, copy))
    return flush, update, copy


def after_copy(
    z: Tensor, z_prev: Tensor, z_below: Tensor, operations: tuple[Tensor, Tensor, Tensor], options: Options
) -> Tensor:
    """z_t^l of what was decided, by the rule for steps that copy, or that follow no boundary below."""
    flush, update, copy = operations
    if options.copy_boundary == "hold":
        return (flush + update) * z + copy * z_prev
    if options.copy_boundary == "zero":
        return (flush + update) * z
    return z_below * z if options.copy_boundary == "nested" else z


def is_open(z_below: Tensor, operations: tuple[Tensor, Tensor, Tensor], options: Options) -> Tensor:
    """1 where z_t^l is decided, 0 where the rule of :func:`after_copy` leaves nothing to decide."""
    if options.copy_boundary == "recompute":
        return torch.ones_like(z_below)
    flush, update, _ = operations
    return (z_below if options.copy_boundary == "nested" else flush + update).detach()
