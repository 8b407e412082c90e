"""Schedules of slopes and temperatures: an epoch, possibly fractional, to a number."""

from collections.abc import Callable
from typing import TypeAlias

from multiscale.checks import in_range

Schedule: TypeAlias = Callable[[float], float]


class Constant:
    """The same value at every epoch; raises :class:`InvalidInput` unless value > 0."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = in_range("value", value, 0, open_low=True)

    def __call__(self, epoch: float) -> float:
        return self.value


class Linear:
    """min(cap, start + rate * epoch); start > 0, rate >= 0, cap >= start. Defaults: Chung et al. 2016, section 4.1."""

    def __init__(self, start: float = 1.0, rate: float = 0.04, cap: float = 5.0) -> None:
        self.start = in_range("start", start, 0, open_low=True)
        self.rate = in_range("rate", rate, 0)
        self.cap = in_range("cap", cap, start)

    def __call__(self, epoch: float) -> float:
        return min(self.cap, self.start + self.rate * epoch)
