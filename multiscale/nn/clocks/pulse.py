"""Clocks that select among pulse waves of whole periods.

K atoms 1[((t - phi_k) mod p_k) < width_k], one for each candidate period p and phase phi.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multiscale.checks import in_range, one_of, positive_int
from multiscale.nn.clocks.base import INITIALISATIONS, Clock, candidate_periods, spread_periods
from multiscale.nn.schedules import Geometric, Schedule
from multiscale.nn.straight_through import clip, straight_through


class PulseBasis(Clock):
    """The atoms of both pulse clocks, and how weights over them spread over periods.

    Args:
        num_modules: M.
        max_period: longest period in steps, over which waves are read out too.
        candidates: ``all``, ``powers`` or ``log``, see :func:`candidate_periods`, or a list of periods.
        phases: offsets of each candidate, evenly over its period, as many as it has steps for; 1 is phase 0 alone.
        duty: the share of its period that an atom is active, a square wave; None: one step, a binary pulse.
        hard_from, normalisation, update_cost: see :class:`Clock`.
    """

    atom_period: Tensor
    atom_phase: Tensor
    atom_width: Tensor
    period_of_atom: Tensor
    distinct: Tensor

    def __init__(
        self,
        num_modules: int,
        max_period: int,
        candidates: str | Sequence[int],
        phases: int,
        duty: float | None,
        hard_from: float | None,
        normalisation: str,
        update_cost: float,
    ) -> None:
        periods = candidate_periods(candidates, max_period)
        super().__init__(num_modules, max_period, hard_from, normalisation, update_cost)
        self.binary = duty is None
        share = 0.0 if duty is None else in_range("duty", duty, 0, 1, open_low=True)
        count = positive_int("phases", phases)
        atoms = [
            (i, p, offset) for i, p in enumerate(periods) for offset in sorted({p * j // count for j in range(count)})
        ]
        index, period, phase = torch.tensor(atoms).unbind(1)
        width = (period * share).round().clamp(min=1).long()
        for name, value in (("period", period), ("phase", phase), ("width", width)):
            self.register_buffer(f"atom_{name}", value, persistent=False)
        self.register_buffer("period_of_atom", index, persistent=False)
        self.register_buffer("distinct", torch.tensor(periods), persistent=False)
        self.basis_size = len(atoms)
        self._atom_periods = [p for _, p, _ in atoms]  # plain, for a clock built without values, on the meta device

    @abstractmethod
    def soft_weights(self) -> Tensor:
        """The weight [M, K] of each atom in a module's wave, before any hard decision."""

    def atoms(self, t: Tensor) -> Tensor:
        """Every atom [..., K] at step counters t [...]: 0 or 1."""
        active = (t[..., None] - self.atom_phase) % self.atom_period < self.atom_width
        return active.to(next(self.parameters()).dtype)

    def weights_by_period(self) -> tuple[Tensor, Tensor]:
        weights = self.soft_weights().detach().abs()
        total = weights.new_zeros(len(weights), len(self.distinct)).index_add_(1, self.period_of_atom, weights)
        return self.distinct, total / total.sum(1, keepdim=True).clamp(min=torch.finfo(total.dtype).tiny)

    def _initial(self, initialisation: str, max_period: int, peak: float, std: float) -> Tensor:
        """Weights [M, K] to begin with: ``peak`` at the first phase of the candidate nearest 2^(m-1), zeros, or
        normal draws of standard deviation ``std``."""
        one_of("initialisation", initialisation, INITIALISATIONS)
        start = torch.zeros(self.num_modules, self.basis_size)
        if initialisation == "random":
            start.normal_(std=std)
        elif initialisation == "spread":
            for m, period in enumerate(spread_periods(self.num_modules, max_period)):
                nearest = min(self._atom_periods, key=lambda candidate: abs(math.log2(candidate / period)))
                start[m, self._atom_periods.index(nearest)] = peak
        return start


class PulseClock(PulseBasis):
    """w_m = softmax(logits_m / temperature), a_m(t) = sum_k w_mk atom_k(t); when hard, w_m is one-hot, at the best
    phase of the period with the largest weight summed over phases.

    A spread start puts half of the softmax on the candidate nearest 2^(m-1). Beware of zeros: with many candidates the
    mean activation is then sum_p 1/p / K, 0.01 for K = 784, a network that starts nearly frozen.

    Args:
        num_modules, max_period, candidates, phases, duty: see :class:`PulseBasis`.
        temperature: of the softmax, at an epoch; 1 to 0.1, geometrically, over 20 epochs if None.
        initialisation: of the logits: ``spread``, ``zeros``, or ``random``, standard normal.
        hard_from, normalisation, update_cost: see :class:`Clock`.

    Raises:
        InvalidInput: for numbers out of range, unknown words, or a candidate or spread start beyond ``max_period``.
    """

    temperature: Tensor

    def __init__(
        self,
        num_modules: int,
        max_period: int,
        candidates: str | Sequence[int] = "all",
        phases: int = 1,
        duty: float | None = None,
        temperature: Schedule | None = None,
        initialisation: str = "spread",
        hard_from: float | None = None,
        normalisation: str = "none",
        update_cost: float = 0.0,
    ) -> None:
        super().__init__(num_modules, max_period, candidates, phases, duty, hard_from, normalisation, update_cost)
        self.follow("temperature", Geometric() if temperature is None else temperature)
        # e^x / (e^x + K - 1) = 1/2
        half = math.log(max(self.basis_size - 1, 1))
        self.logits = nn.Parameter(self._initial(initialisation, max_period, peak=half, std=1.0))

    def soft_weights(self) -> Tensor:
        return torch.softmax(self.logits / self.temperature, 1)

    def chosen(self) -> Tensor:
        """[M] the atom that each module would keep if it could keep one: the best phase of the best period."""
        _, shares = self.weights_by_period()
        of_best = self.period_of_atom == shares.argmax(1, keepdim=True)
        return self.soft_weights().masked_fill(~of_best, -1).argmax(1)

    def weights(self) -> Tensor:
        """w [M, K], rows summing to 1."""
        soft = self.soft_weights()
        if self.hard_from is None:
            return soft
        one_hot = nn.functional.one_hot(self.chosen(), soft.size(1)).to(soft.dtype)
        return torch.where(self.hard, straight_through(one_hot, soft), soft)

    def activation(self, t: Tensor) -> Tensor:
        # Rounding may carry the sum at t = 0 past 1; whether it does must not decide about the gradient.
        return clip(self.atoms(t) @ self.weights().T)

    def single_pulses(self) -> tuple[list[int], list[int]]:
        if not self.binary:
            return super().single_pulses()
        atoms = self.chosen()
        return self.atom_period[atoms].tolist(), self.atom_phase[atoms].tolist()


class SparsePulseClock(PulseBasis):
    """Free weights w_m, a_m(t) = clip(z_m(t), 0, 1) of z_m(t) = sum_k w_mk atom_k(t), with the gradient of z, so that
    a saturated module still learns; when hard, a_m(t) = 1[z_m(t) > 1/2]. The penalty has l1 * mean_m sum_k |w_mk|.

    A spread start puts a weight of 1 on the candidate nearest 2^(m-1).

    Args:
        num_modules, max_period, candidates, phases, duty: see :class:`PulseBasis`.
        l1: weight in the penalty of the mean absolute sum of a module's weights.
        initialisation: of the weights: ``spread``, ``zeros``, or ``random``, normal with standard deviation 0.1.
        hard_from, normalisation, update_cost: see :class:`Clock`.

    Raises:
        InvalidInput: for numbers out of range, unknown words, or a candidate or spread start beyond ``max_period``.
    """

    def __init__(
        self,
        num_modules: int,
        max_period: int,
        candidates: str | Sequence[int] = "all",
        phases: int = 1,
        duty: float | None = None,
        l1: float = 1e-4,
        initialisation: str = "spread",
        hard_from: float | None = None,
        normalisation: str = "none",
        update_cost: float = 0.0,
    ) -> None:
        super().__init__(num_modules, max_period, candidates, phases, duty, hard_from, normalisation, update_cost)
        self.l1 = in_range("l1", l1, 0)
        self.coefficients = nn.Parameter(self._initial(initialisation, max_period, peak=1.0, std=0.1))

    def soft_weights(self) -> Tensor:
        return self.coefficients

    def activation(self, t: Tensor) -> Tensor:
        z = self.atoms(t) @ self.coefficients.T
        return torch.where(self.hard, straight_through((z > 0.5).to(z.dtype), z), clip(z))

    def weight_cost(self) -> Tensor:
        return self.l1 * self.coefficients.abs().sum(1).mean()
