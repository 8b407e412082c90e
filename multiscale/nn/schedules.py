"""Schedules of slopes, temperatures and probabilities: an epoch, possibly fractional, to a number.

Each raises :class:`multiscale.checks.InvalidInput` for a number out of the range that it names.
"""

import math
from abc import ABC, abstractmethod

from multiscale.checks import in_range


class Schedule(ABC):
    """epoch >= 0 -> value."""

    @abstractmethod
    def __call__(self, epoch: float) -> float:
        """The value at a (fractional) epoch."""


class Constant(Schedule):
    """The same value at every epoch; value > 0."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = in_range("value", value, 0, open_low=True)

    def __call__(self, epoch: float) -> float:
        return self.value


class Linear(Schedule):
    """min(cap, start + rate * epoch); start > 0, rate >= 0, cap >= start. Defaults: Chung et al. 2016, section 4.1."""

    def __init__(self, start: float = 1.0, rate: float = 0.04, cap: float = 5.0) -> None:
        self.start = in_range("start", start, 0, open_low=True)
        self.rate = in_range("rate", rate, 0)
        self.cap = in_range("cap", cap, start)

    def __call__(self, epoch: float) -> float:
        return min(self.cap, self.start + self.rate * epoch)


class Geometric(Schedule):
    """start * (end / start)^(epoch / epochs), and end from then on; all three > 0. Defaults: of a clock's softmax."""

    def __init__(self, start: float = 1.0, end: float = 0.1, epochs: float = 20.0) -> None:
        self.start = in_range("start", start, 0, open_low=True)
        self.end = in_range("end", end, 0, open_low=True)
        self.epochs = in_range("epochs", epochs, 0, open_low=True)

    def __call__(self, epoch: float) -> float:
        return self.start * (self.end / self.start) ** min(1.0, epoch / self.epochs)


class Ramp(Schedule):
    """start + (end - start) * epoch / epochs, and end from then on; start and end >= 0, epochs > 0.

    With start > end the linear decay of Bengio et al. 2015, max(end, k - c i).
    """

    def __init__(self, start: float = 1.0, end: float = 0.0, epochs: float = 20.0) -> None:
        self.start = in_range("start", start, 0)
        self.end = in_range("end", end, 0)
        self.epochs = in_range("epochs", epochs, 0, open_low=True)

    def __call__(self, epoch: float) -> float:
        return self.start + (self.end - self.start) * min(1.0, epoch / self.epochs)


class InverseSigmoid(Schedule):
    """k / (k + exp(i / k)), i = rate * epoch; k >= 1, rate > 0: the inverse sigmoid decay of Bengio et al. 2015.

    It is 1/2 where i = k ln k. In the paper i counts minibatches: ``rate`` is how many an epoch has. Defaults: ours.
    """

    def __init__(self, k: float = 10.0, rate: float = 5.0) -> None:
        self.k = in_range("k", k, 1)
        self.rate = in_range("rate", rate, 0, open_low=True)

    def __call__(self, epoch: float) -> float:
        falling = self.k * math.exp(-self.rate * epoch / self.k)  # which, unlike its inverse, cannot overflow
        return falling / (falling + 1)
