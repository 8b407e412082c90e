"""Schedules of slopes and temperatures: an epoch, possibly fractional, to a number.

Each raises :class:`multiscale.checks.InvalidInput` for a number out of the range that it names.
"""

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
