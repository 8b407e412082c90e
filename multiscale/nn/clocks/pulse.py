"""Clocks that select among pulse waves of whole periods."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multiscale.checks import in_range, one_of, positive_int
from multiscale.nn.clocks.base import Clock, ClockOptions, candidate_periods, spread_periods
from multiscale.nn.schedules import Schedule
from multiscale.nn.straight_through import clip, straight_through


class PulseClock(Clock):
    """Weights over atoms 1[((t - phi) mod p) < width_p], one atom for each candidate period p and phase phi.

    ``binary`` atoms have a width of one step, ``square`` ones of p * duty, both at least one step. Selection:

    - ``softmax``: w_m = softmax(logits_m / temperature), a_m(t) = sum_k w_mk atom_k(t); when hard, w_m is one-hot, at
      the best phase of the period with the largest weight summed over phases.
    - ``l1``: free weights w_m, a_m(t) = clip(sum_k w_mk atom_k(t), 0, 1) with the gradient of the unclipped sum, so
      that a saturated module still learns; when hard, a_m(t) = 1[sum > 1/2]. The penalty has l1 * mean_m sum_k |w_mk|.

    A spread start puts half of the softmax, or a weight of 1, on the candidate nearest 2^(m-1). Beware of zeros: with
    many candidates the mean activation is then sum_p 1/p / K, 0.01 for K = 784, a network that starts nearly frozen.

    Args:
        num_modules: M.
        max_period: longest period in steps.
        temperature: of the softmax, at an epoch.
        basis: ``binary`` or ``square``.
        candidates: ``all``, ``powers`` or ``log``, see :func:`candidate_periods`, or a list of periods.
        phases: offsets of each candidate, evenly over its period, as many as it has steps for.
        duty: the share of a period that a square atom is active.
        selection: ``softmax`` or ``l1``.
        options: what every clock can do.

    Raises:
        InvalidInput: for numbers out of range, unknown words, or a spread start beyond max_period.
    """

    atom_period: Tensor
    atom_phase: Tensor
    atom_width: Tensor
    period_of_atom: Tensor
    distinct: Tensor
    temperature: Tensor

    def __init__(
        self,
        num_modules: int,
        max_period: int,
        temperature: Schedule,
        basis: str = "binary",
        candidates: str | Sequence[int] = "all",
        phases: int = 1,
        duty: float = 0.5,
        selection: str = "softmax",
        options: ClockOptions | None = None,
    ) -> None:
        options = options or ClockOptions()
        periods = candidate_periods(candidates, max_period)
        super().__init__(num_modules, max_period, options)
        self.selection = one_of("selection", selection, ("softmax", "l1"))
        self.single_pulses = one_of("basis", basis, ("binary", "square")) == "binary" and selection == "softmax"
        in_range("duty", duty, 0, 1, open_low=True)
        count = positive_int("phases", phases)
        self.temperature_schedule = temperature
        self.register_buffer("temperature", torch.tensor(float(temperature(0.0))))
        atoms = [
            (i, p, offset) for i, p in enumerate(periods) for offset in sorted({p * j // count for j in range(count)})
        ]
        index, period, phase = torch.tensor(atoms).unbind(1)
        width = torch.ones_like(period) if basis == "binary" else (period * duty).round().clamp(min=1).long()
        for name, value in (("period", period), ("phase", phase), ("width", width)):
            self.register_buffer(f"atom_{name}", value, persistent=False)
        self.register_buffer("period_of_atom", index, persistent=False)
        self.register_buffer("distinct", torch.tensor(periods), persistent=False)
        self.basis_size = len(atoms)
        self.logits = nn.Parameter(self._start(max_period, periods, [i for i, _, _ in atoms]))

    def _start(self, max_period: int, periods: list[int], period_of_atom: list[int]) -> Tensor:
        """Initial logits, or weights if selection is by l1, [M, K]."""
        atoms = len(period_of_atom)
        start = torch.zeros(self.num_modules, atoms)
        if self.options.initialisation == "random":
            start.normal_(std=1.0 if self.selection == "softmax" else 0.1)
        elif self.options.initialisation == "spread":
            # e^x / (e^x + K - 1) = 1/2
            value = 1.0 if self.selection == "l1" else math.log(max(atoms - 1, 1))
            for m, period in enumerate(spread_periods(self.num_modules, max_period)):
                near = min(range(len(periods)), key=lambda i: abs(math.log2(periods[i] / period)))
                start[m, period_of_atom.index(near)] = value
        return start

    def atoms(self, t: Tensor) -> Tensor:
        """Every atom [..., K] at step counters t [...]: 0 or 1."""
        return ((t[..., None] - self.atom_phase) % self.atom_period < self.atom_width).to(self.logits.dtype)

    def chosen(self) -> Tensor:
        """[M] the atom that each module would keep if it could keep one: the best phase of the best period."""
        weights = self._soft_weights()
        _, shares = self.weights_by_period()
        of_best = self.period_of_atom == shares.argmax(1, keepdim=True)
        return weights.abs().masked_fill(~of_best, -1).argmax(1)

    def _soft_weights(self) -> Tensor:
        return torch.softmax(self.logits / self.temperature, 1) if self.selection == "softmax" else self.logits

    def weights(self) -> Tensor:
        """w [M, K]; with the softmax, rows sum to 1."""
        soft = self._soft_weights()
        if self.selection == "l1" or self.options.hard_from is None:
            return soft
        one_hot = nn.functional.one_hot(self.chosen(), soft.size(1)).to(soft.dtype)
        return torch.where(self.hard, straight_through(one_hot, soft), soft)

    def activation(self, t: Tensor) -> Tensor:
        z = self.atoms(t) @ self.weights().T
        if self.selection == "softmax":
            # Rounding may carry the sum at t = 0 past 1; whether it does must not decide about the gradient.
            return clip(z)
        return torch.where(self.hard, straight_through((z > 0.5).to(z.dtype), z), clip(z))

    def weights_by_period(self) -> tuple[Tensor, Tensor]:
        weights = self._soft_weights().detach().abs()
        total = weights.new_zeros(len(weights), len(self.distinct)).index_add_(1, self.period_of_atom, weights)
        return self.distinct, total / total.sum(1, keepdim=True).clamp(min=torch.finfo(total.dtype).tiny)

    def anneal(self, epoch: float) -> None:
        self.temperature.fill_(self.temperature_schedule(epoch))
        self._harden_at(epoch)

    def penalty(self) -> Tensor:
        cost = super().penalty()
        return cost + self.options.l1 * self.logits.abs().sum(1).mean() if self.selection == "l1" else cost
