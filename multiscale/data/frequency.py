"""Is the period of a sine between 5 and 6 ms? (Neil, Pfeiffer, Liu 2016, section 3.1; Campos et al. 2018, A.1)."""

import math
from collections.abc import Sequence

import numpy as np

from multiscale.checks import InvalidInput, flag, in_range, one_of, positive_int
from multiscale.data.facts import LabelFacts
from multiscale.data.memory import Generated

WANTED = (5.0, 6.0)  # ms: the periods of class 1
RANGE = (1.0, 100.0)  # ms: all periods
DRAWS = ("uniform", "log")


class Frequency(Generated):
    """Sines of amplitude 1 and of any phase, half of them with a period from 5 to 6 ms: those are class 1.

    The other periods are drawn from (1, 5) and (6, 100) ms together. The input at a step is the value of the sine, and
    with ``with_time`` after it the time in ms since the window began.

    Args:
        batch_size, sequences, seed: as for :class:`Generated`.
        duration: of a sequence in ms, or the lowest and the highest, from which it is drawn evenly.
        interval: between two samples, in ms; a sequence has duration / interval steps, rounded down, at least 2.
        irregular: as many samples at times drawn evenly from the duration, in their order.
        points: of irregular samples, their lowest and highest number, from which it is drawn evenly whatever the
            duration, as Neil et al. do; None leaves it to duration and interval.
        window: in ms, in which a sequence begins anywhere such that it ends in it; None: all begin at 0.
        others: how the other periods are drawn: ``uniform``, or ``log``, evenly in the logarithm.
        with_time: the time is a second input.
    """

    kind = "labels"

    def __init__(
        self,
        batch_size: int,
        sequences: Sequence[int],
        duration: float | Sequence[float] = 100.0,
        interval: float = 1.0,
        irregular: bool = False,
        points: Sequence[int] | None = None,
        window: float | None = None,
        others: str = "uniform",
        with_time: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, sequences, seed)
        self.interval = in_range("interval", interval, 0, open_low=True)
        ends = tuple(duration) if isinstance(duration, Sequence) else (duration, duration)
        if len(ends) != 2 or not 2 * self.interval <= ends[0] <= ends[1] < math.inf:
            raise InvalidInput(
                f"duration must be a number of ms, or a lowest and a highest one, of at least two intervals, "
                f"{2 * self.interval:g}; got {duration!r}."
            )
        self.shortest, self.longest = ends
        self.irregular, self.with_time = flag("irregular", irregular), flag("with_time", with_time)
        if points is not None and not (irregular and len(points) == 2 and 2 <= points[0] <= points[1]):
            raise InvalidInput(
                f"points must be a lowest and a highest number of at least 2 samples, and is for irregular=true alone; "
                f"got {points!r} with irregular={irregular!r}."
            )
        self.points = None if points is None else [positive_int("points", n) for n in points]
        self.window = None if window is None else in_range("window", window, self.longest)
        self.others = one_of("others", others, DRAWS)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
        labels = rng.integers(2, size=count)
        return [self._sine(label, rng) for label in labels], labels

    def describe(self, digest: str) -> LabelFacts:
        lengths = "-".join(f"{ms:g}" for ms in dict.fromkeys((self.shortest, self.longest)))
        return LabelFacts(
            source=f"sines of {lengths} ms, {'irregular, ' if self.irregular else ''}every {self.interval:g} ms",
            sha256=digest,
            sequences=self.sequences,
            input_size=1 + self.with_time,
            output_size=2,
            references={"accuracy by chance": 0.5},
        )

    def _sine(self, label: int, rng: np.random.Generator) -> np.ndarray:
        """[T, D]: the samples of a sine, and their times if they are asked for."""
        period = rng.uniform(*WANTED) if label else self._other(rng)
        duration, phase = rng.uniform(self.shortest, self.longest), rng.random()
        steps = int(duration / self.interval + 1e-9)
        if self.points:
            steps = int(rng.integers(self.points[0], self.points[1], endpoint=True))
        times = np.sort(rng.uniform(0, duration, steps)) if self.irregular else self.interval * np.arange(steps)
        if self.window is not None:
            times += rng.uniform(0, self.window - duration)
        columns = [np.sin(2 * np.pi * (times / period + phase)), times][: 1 + self.with_time]
        return np.stack(columns, 1).astype(np.float32)

    def _other(self, rng: np.random.Generator) -> float:
        """A period of class 0."""
        logarithmic = self.others == "log"
        low, first, last, high = np.log([RANGE[0], *WANTED, RANGE[1]]) if logarithmic else [RANGE[0], *WANTED, RANGE[1]]
        drawn = rng.uniform(low, high - (last - first))
        drawn = drawn if drawn < first else drawn + last - first  # the gap is left out
        return float(np.exp(drawn) if logarithmic else drawn)
