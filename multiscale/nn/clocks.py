"""Learned clocks: periodic waves with learned weights over a fixed basis.

A clock maps step counters t [B] to the activations a [B, M] of M modules, each in [0, 1]. K basis functions.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from multiscale.checks import InvalidInput, in_range, positive_int
from multiscale.nn.schedules import Schedule


class Clock(nn.Module, ABC):
    """a_m(t) for M modules; ``anneal`` takes its temperature or slope along."""

    @abstractmethod
    def forward(self, t: Tensor) -> Tensor:
        """Activations [B, M] at step counters t [B]; always computed in the parameters' own precision."""

    @abstractmethod
    def periods(self) -> Tensor:
        """The read-out period [M] of each module, in steps."""

    @abstractmethod
    def anneal(self, epoch: float) -> None:
        """Set the temperature or slope for this epoch."""

    def penalty(self) -> Tensor:
        """A scalar >= 0 to add to the loss; here zero."""
        return next(self.parameters()).new_zeros(())


class BinaryClock(Clock):
    """a_m(t) = sum_p w_mp 1[t mod p = 0], p = 1 .. max_period, w_m = softmax(logits_m / temperature).

    Module m starts with half of its weight on period 2^(m-1) (modulo those that fit), so that the modules
    start spread over the time scales; the read-out period is the one of largest weight.

    Raises:
        InvalidInput: for sizes below 1 or a max_period too short to start module M in.
    """

    candidates: Tensor
    temperature: Tensor

    def __init__(self, num_modules: int, max_period: int, temperature: Schedule) -> None:
        super().__init__()
        start = spread_periods(num_modules, max_period)
        self.temperature_schedule = temperature
        self.register_buffer("temperature", torch.tensor(float(temperature(0.0))))
        self.register_buffer("candidates", torch.arange(1, max_period + 1), persistent=False)
        logits = torch.zeros(num_modules, max_period)
        # e^x / (e^x + max_period - 1) = 1/2
        logits[torch.arange(num_modules), torch.tensor(start) - 1] = math.log(max(max_period - 1, 1))
        self.logits = nn.Parameter(logits)

    def weights(self) -> Tensor:
        """w [M, max_period], rows summing to 1."""
        return torch.softmax(self.logits / self.temperature, 1)

    def forward(self, t: Tensor) -> Tensor:
        with torch.autocast(t.device.type, enabled=False):
            weights = self.weights()
            pulses = (t[:, None] % self.candidates == 0).to(weights.dtype)
            # Rounding may carry the sum at t = 0 past 1.
            return (pulses @ weights.T).clamp(max=1)

    def periods(self) -> Tensor:
        return self.candidates[self.logits.argmax(1)].float()

    def anneal(self, epoch: float) -> None:
        self.temperature.fill_(self.temperature_schedule(epoch))


class DCTClock(Clock):
    """a_m(t) = sigmoid(s z_m(t)), z_m(t) = sum_k c_mk alpha_k cos(pi (t + 1/2) k / T), k = 0 .. T - 1.

    The inverse DCT-II of learned coefficients, orthonormal over T = ``max_period`` steps and periodic beyond; atom k
    has the period 2T/k steps. Module 1 starts always active (k = 0), module m near period 2^(m-1). The read-out period
    is that of the largest coefficient with k > 0. The penalty is l1 * mean_m sum_k |c_mk|.

    Raises:
        InvalidInput: for sizes below 1, a negative l1, or a max_period too short to start module M in.
    """

    slope: Tensor
    multiples: Tensor
    scale: Tensor

    def __init__(self, num_modules: int, max_period: int, slope: Schedule, l1: float = 0.0) -> None:
        super().__init__()
        start = spread_periods(num_modules, max_period)
        self.length = max_period
        self.l1 = in_range("l1", l1, 0)
        self.slope_schedule = slope
        self.register_buffer("slope", torch.tensor(float(slope(0.0))))
        self.register_buffer("multiples", torch.arange(max_period), persistent=False)
        scale = torch.full((max_period,), math.sqrt(2 / max_period))
        scale[0] = math.sqrt(1 / max_period)
        self.register_buffer("scale", scale, persistent=False)
        atoms = torch.tensor([0 if p == 1 else min(round(2 * max_period / p), max_period - 1) for p in start])
        coefficients = torch.zeros(num_modules, max_period)
        # One atom a module, of amplitude 1 in z.
        coefficients[torch.arange(num_modules), atoms] = 1 / scale[atoms]
        self.coefficients = nn.Parameter(coefficients)

    def forward(self, t: Tensor) -> Tensor:
        with torch.autocast(t.device.type, enabled=False):
            # The phase is reduced in whole numbers, so that the wave stays exact at any t.
            phase = (2 * t[:, None] + 1) * self.multiples % (4 * self.length)
            atoms = self.scale * torch.cos(phase * (math.pi / (2 * self.length)))
            return torch.sigmoid(self.slope * (atoms.to(self.coefficients.dtype) @ self.coefficients.T))

    def periods(self) -> Tensor:
        atom = 1 + self.coefficients[:, 1:].abs().argmax(1)
        return 2 * self.length / atom

    def anneal(self, epoch: float) -> None:
        self.slope.fill_(self.slope_schedule(epoch))

    def penalty(self) -> Tensor:
        return self.l1 * self.coefficients.abs().sum(1).mean()


def spread_periods(num_modules: int, max_period: int) -> list[int]:
    """1, 2, 4, ...: a starting period for each module; raises :class:`InvalidInput` if the last exceeds max_period."""
    slowest = 2 ** (positive_int("num_modules", num_modules) - 1)
    if positive_int("max_period", max_period) < slowest:
        raise InvalidInput(
            f"max_period must be at least 2^(num_modules - 1) = {slowest} steps, where module {num_modules} starts; "
            f"got {max_period}."
        )
    return [2**m for m in range(num_modules)]
