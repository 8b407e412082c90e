"""Clocks that threshold a smooth wave: an inverse cosine transform, and a sine of learned frequency."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from multiscale.checks import InvalidInput, in_range, one_of, positive_int
from multiscale.nn.clocks.base import INITIALISATIONS, Clock, spread_periods
from multiscale.nn.schedules import Constant, Schedule
from multiscale.nn.straight_through import straight_through


class WaveClock(Clock):
    """a_m(t) = sigma(s (z_m(t) - theta_m)), of a wave z and a learned threshold; when hard, 1[z_m(t) > theta_m].

    Args:
        num_modules: M.
        horizon: steps over which a wave is read out, normalised and averaged.
        slope: s at an epoch; 4 if None.
        hard_from, normalisation, update_cost: see :class:`Clock`.
    """

    slope: Tensor

    def __init__(
        self,
        num_modules: int,
        horizon: int,
        slope: Schedule | None,
        hard_from: float | None,
        normalisation: str,
        update_cost: float,
    ) -> None:
        super().__init__(num_modules, horizon, hard_from, normalisation, update_cost)
        self.follow("slope", Constant(4.0) if slope is None else slope)
        self.threshold = nn.Parameter(torch.zeros(num_modules))

    @abstractmethod
    def z(self, t: Tensor) -> Tensor:
        """The wave [..., M] at step counters t [...]."""

    def activation(self, t: Tensor) -> Tensor:
        above = self.z(t) - self.threshold
        soft = torch.sigmoid(self.slope * above)
        return torch.where(self.hard, straight_through((above > 0).to(soft.dtype), soft), soft)


class DCTClock(WaveClock):
    """z_m(t) = sum_k c_mk alpha_k cos(pi (t + 1/2) k / T), k = 0 .. T - 1.

    The inverse DCT-II of learned coefficients, orthonormal over T = ``length`` steps and of period 2T beyond; atom k
    has the period 2T/k steps. A spread start has module 1 always active (k = 0) and module m near period 2^(m-1). The
    read-out period is that of the largest coefficient with k > 0: a constant has no period. The penalty has
    l1 * mean_m sum_k |c_mk|.

    Args:
        num_modules: M.
        max_period: in steps, what no module of a spread start exceeds.
        length: T, steps of the transform; ``max_period``, but at least 2, if None.
        slope: of the squashing, at an epoch; 4 if None.
        l1: weight in the penalty of the mean absolute sum of a module's coefficients.
        initialisation: of the coefficients: ``spread``, ``zeros``, or ``random``, standard normal.
        hard_from, normalisation, update_cost: see :class:`Clock`.

    Raises:
        InvalidInput: for numbers out of range, unknown words, or a spread start beyond ``max_period``.
    """

    multiples: Tensor
    scale: Tensor

    def __init__(
        self,
        num_modules: int,
        max_period: int,
        length: int | None = None,
        slope: Schedule | None = None,
        l1: float = 1e-4,
        initialisation: str = "spread",
        hard_from: float | None = None,
        normalisation: str = "none",
        update_cost: float = 0.0,
    ) -> None:
        positive_int("max_period", max_period)
        # A transform of one step has only the constant, which is no wave.
        length = max(2, max_period) if length is None else positive_int("length", length)
        if length < 2:
            raise InvalidInput(f"length must be at least 2 steps; got {length}.")
        super().__init__(num_modules, 2 * length, slope, hard_from, normalisation, update_cost)
        self.l1 = in_range("l1", l1, 0)
        self.length = self.basis_size = length
        self.register_buffer("multiples", torch.arange(self.length), persistent=False)
        scale = torch.full((self.length,), math.sqrt(2 / self.length))
        scale[0] = math.sqrt(1 / self.length)
        self.register_buffer("scale", scale, persistent=False)
        coefficients = torch.zeros(num_modules, self.length)
        if one_of("initialisation", initialisation, INITIALISATIONS) == "random":
            coefficients.normal_()
        elif initialisation == "spread":
            start = spread_periods(num_modules, max_period)
            atoms = [0 if p == 1 else max(1, min(round(2 * self.length / p), self.length - 1)) for p in start]
            # One atom a module, of amplitude 1 in z.
            coefficients[torch.arange(num_modules), atoms] = 1 / scale[atoms]
        self.coefficients = nn.Parameter(coefficients)

    def z(self, t: Tensor) -> Tensor:
        # The phase is reduced in whole numbers, so that the wave stays exact at any t.
        phase = (2 * t[..., None] + 1) * self.multiples % (4 * self.length)
        atoms = self.scale * torch.cos(phase.to(self.scale.dtype) * (math.pi / (2 * self.length)))
        return atoms.to(self.coefficients.dtype) @ self.coefficients.T

    def weights_by_period(self) -> tuple[Tensor, Tensor]:
        size = self.coefficients.detach()[:, 1:].abs()
        shares = size / size.sum(1, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny)
        return 2 * self.length / self.multiples[1:], shares

    def weight_cost(self) -> Tensor:
        return self.l1 * self.coefficients.abs().sum(1).mean()


class DirectClock(WaveClock):
    """z_m(t) = cos(2 pi (f_m t - phi_m)), frequency f in 1 / steps and phase phi in turns learned by gradient.

    The baseline that a basis is there to replace: the loss has a narrow valley around each harmonic and none in
    between, so the gradient finds the true frequency only from next to it. A spread start has f_m = 2^(1-m), zeros
    have f = 0, and a random one a period drawn log-uniformly from 2 .. ``max_period``. A module of f = 0 or 1 is
    constant, of infinite period.

    Args:
        num_modules: M.
        max_period: in steps, the longest of a spread or random start; over which waves are read out too.
        slope: of the squashing, at an epoch; 4 if None.
        initialisation: of the frequencies: ``spread``, ``zeros`` or ``random``.
        hard_from, normalisation, update_cost: see :class:`Clock`.

    Raises:
        InvalidInput: for numbers out of range, unknown words, or a spread start beyond ``max_period``.
    """

    def __init__(
        self,
        num_modules: int,
        max_period: int,
        slope: Schedule | None = None,
        initialisation: str = "spread",
        hard_from: float | None = None,
        normalisation: str = "none",
        update_cost: float = 0.0,
    ) -> None:
        positive_int("max_period", max_period)
        super().__init__(num_modules, max_period, slope, hard_from, normalisation, update_cost)
        frequency = torch.zeros(num_modules)
        if one_of("initialisation", initialisation, INITIALISATIONS) == "spread":
            frequency = 1 / torch.tensor(spread_periods(num_modules, max_period)).float()
        elif initialisation == "random":
            frequency = (-1 - torch.rand(num_modules) * max(math.log2(max_period) - 1, 0)).exp2()
        self.frequency = nn.Parameter(frequency)
        self.phase = nn.Parameter(torch.zeros(num_modules))

    def z(self, t: Tensor) -> Tensor:
        # In float64, whole turns taken off, so that a late step has as exact a phase as an early one.
        turns = t[..., None].double() * self.frequency.double() - self.phase.double()
        return torch.cos(2 * math.pi * (turns - turns.detach().floor())).to(self.frequency.dtype)

    def weights_by_period(self) -> tuple[Tensor, Tensor]:
        # At whole steps f and f + 1 are the same wave, and so are f and -f. A constant's period is infinite.
        frequency = self.frequency.detach()
        period = 1 / (frequency - frequency.round()).abs()
        return period[:, None], torch.ones_like(period)[:, None]
