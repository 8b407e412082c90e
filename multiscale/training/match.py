"""The hidden size that gives a model a wanted number of parameters or of products, so that backbones can be compared at
equal size, or at equal work.

Nothing is asked of a model but a ``hidden_size`` that parameters come with, and :class:`InvalidInput` for one that it
does not take.
"""

import copy
import logging
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf

from multiscale.checks import InvalidInput, expand, first_line, in_range, positive_int, read_file
from multiscale.config.instantiate import make
from multiscale.data.facts import Facts
from multiscale.runs.files import parse_json
from multiscale.training import cost
from multiscale.training.build import PARTS, build
from multiscale.training.module import SequenceModule

log = logging.getLogger(__name__)

Size = int | tuple[int, ...]
"""A hidden size, or that of each level."""

_SOLVED: dict[str, Size] = {}  # what was solved for in this process, by all that it hangs on


class Target(ABC):
    """What is to be met: ``target`` of what :meth:`count` counts of a whole module, but for a share ``tolerance``.

    Raises:
        InvalidInput: for a target below 1 or a tolerance that is not from 0 to 1.
    """

    counted: ClassVar[str]

    def __init__(self, target: int, tolerance: float = 0.01) -> None:
        self.target = positive_int("target", target)
        self.tolerance = in_range("tolerance", tolerance, 0, 1)

    @abstractmethod
    def count(self, module: SequenceModule) -> int:
        """How much of it a module has; grows with its hidden size."""

    def met_by(self, count: int) -> bool:
        """Is so much near enough?"""
        return abs(count - self.target) <= self.tolerance * self.target


class Parameters(Target):
    """So many parameters in use: weights that a mask holds at zero are not counted."""

    counted = "parameters"

    def count(self, module: SequenceModule) -> int:
        return cost.parameters(module)


class Products(Target):
    """So many multiply-accumulates a step, of backbone and head, as done at the rates at which its levels work.

    Args:
        target, tolerance: as for :class:`Target`.
        rates: of each level how often per step it is ``active``, and with boundaries also ``boundary`` and ``flush``;
            or the ``summary.json`` of a run, which has measured them; None: every product at every step.

    Raises:
        InvalidInput: for rates that cannot be read or are not those of the model's levels.
    """

    counted = "multiply-accumulates a step"

    def __init__(
        self, target: int, rates: str | Sequence[Mapping[str, float]] | None = None, tolerance: float = 0.01
    ) -> None:
        super().__init__(target, tolerance)
        self.rates = _read_rates(rates) if isinstance(rates, str) else rates

    def count(self, module: SequenceModule) -> int:
        levels = len(module.level_sizes)
        always = [{"active": 1.0, "boundary": 1.0, "flush": 1.0}] * levels
        try:
            found = cost.macs(module, always if self.rates is None else self.rates)
        except ValueError as error:
            raise InvalidInput(f"match.rates must fit the {levels} levels of the model: {error}") from error
        return round(found["done"] + found["head"])


def _read_rates(path: str) -> Sequence[Mapping[str, float]]:
    """What a run's ``summary.json`` tells of its levels."""
    try:
        levels = parse_json(read_file(expand(path)))["levels"]
        return [{key: value for key, value in level.items() if isinstance(value, float)} for level in levels]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"rates must be the summary.json of a run; {path!r}: {first_line(error)}") from error


def matched(config: DictConfig, facts: Facts) -> DictConfig:
    """A config without ``match``, in which ``model.hidden_size`` is the one that meets it; the same if it has none.

    One number if one will do; else, where the model takes the sizes of its levels one by one, a list in which the first
    levels have one unit more than the others. The random state stays as it was.

    Raises:
        InvalidInput: if the model has no ``hidden_size``, or not one number; for what :func:`build` does not take; and
            if no size comes near enough, with the nearest numbers of parameters that can be reached.
    """
    if config.get("match") is None:
        return config
    wanted = make(config, "match")
    asked = [OmegaConf.to_container(config[part], resolve=True) for part in PARTS]
    key = repr((asked, type(wanted), vars(wanted), facts))
    if key not in _SOLVED:
        _SOLVED[key] = _solve(config, facts, wanted)
    return _resize(config, _SOLVED[key])


def _solve(config: DictConfig, facts: Facts, wanted: Target) -> Size:
    """The size that meets what is to be matched; raises :class:`InvalidInput` as :func:`matched`."""
    size = config.model.get("hidden_size")
    if size is None:
        raise InvalidInput(f"match needs a model with a hidden_size; {config.model.get('_target_')} has none.")
    if isinstance(size, ListConfig):
        raise InvalidInput(f"model.hidden_size must be one number, for match to replace it; got {list(size)}.")
    search = _Search(config, facts, wanted)
    around = search.around(positive_int("model.hidden_size", size))
    best = search.nearest(around)
    if not wanted.met_by(search.count(best)):
        around = search.between(around)
        best = search.nearest(around)
    if not wanted.met_by(search.count(best)):
        reach = " and ".join(f"{search.count(size):,} (model.hidden_size={_word(size)})" for size in around)
        raise InvalidInput(
            f"match.target must be within {100 * wanted.tolerance:.3g}% of a number of {wanted.counted} that this "
            f"model can have, of which the nearest {'are' if len(around) > 1 else 'is'} {reach}; got {wanted.target:,}."
        )
    log.info("model.hidden_size=%s has %d %s", _word(best), search.count(best), wanted.counted)
    return best


class Built(NamedTuple):
    """What is kept of a module that was built to be counted; nothing of one that could not be."""

    amount: int = 0
    level_sizes: tuple[int, ...] = ()


class _Search:
    """Sizes of one model, what is counted of each, and a target."""

    def __init__(self, config: DictConfig, facts: Facts, wanted: Target) -> None:
        self.config, self.facts, self.wanted, self.target = config, facts, wanted, wanted.target
        self.tried: dict[Size, Built] = {}

    def around(self, start: int) -> list[Size]:
        """The largest size that does not exceed the target and the smallest that does, as far as there are such; from
        ``start``, which the model must take."""
        self.tried[start] = _count(_resize(self.config, start), self.facts, self.wanted)
        high = start
        # A unit has at least one parameter: a model that stays below has stopped to grow.
        while high <= self.target and 0 < self.count(high) <= self.target:
            high *= 2
        sizes = range(1, high + 1)

        def count_from(size: int) -> int:
            """Parameters with this size or the next that the model takes; too many if there is none."""
            return next(filter(None, map(self.count, sizes[size - 1 :])), self.target + 1)

        low = bisect_right(sizes, self.target, key=count_from)
        above = next(filter(self.count, sizes[low:]), None)
        return [size for size in (low, above) if size]

    def between(self, around: list[Size]) -> list[Size]:
        """The nearest two of sizes one by one that lie between two sizes, where the model takes a list."""
        levels = [self.built(size).level_sizes for size in around]
        if len(levels) < 2 or len(levels[0]) != len(levels[1]):
            return around
        low, high = levels
        mixed = [(*high[:k], *low[k:]) for k in range(1, len(low))]
        good = [m for m in mixed if m not in levels and self.built(m).level_sizes == m]
        ordered = sorted([*around, *good], key=self.count)
        above = bisect_right(ordered, self.target, key=self.count)
        return ordered[max(above - 1, 0) : above + 1]

    def nearest(self, sizes: list[Size]) -> Size:
        return min(sizes, key=lambda size: abs(self.count(size) - self.target))

    def count(self, size: Size) -> int:
        """What is counted of the whole module, as a summary tells it; 0 for a size that the model does not take."""
        return self.built(size).amount

    def built(self, size: Size) -> Built:
        if size not in self.tried:
            # A list may reach code that thinks of numbers only.
            refusals = (InvalidInput,) if isinstance(size, int) else (InvalidInput, InstantiationException)
            try:
                self.tried[size] = _count(_resize(self.config, size), self.facts, self.wanted)
            except refusals:
                self.tried[size] = Built()
        return self.tried[size]


def _resize(config: DictConfig, size: Size) -> DictConfig:
    """The config with that hidden size and nothing left to match; interpolations stay what they are."""
    resized = copy.deepcopy(config)
    resized.model.hidden_size = size if isinstance(size, int) else list(size)
    resized.match = None
    return resized


def _count(config: DictConfig, facts: Facts, wanted: Target) -> Built:
    """What the config makes; without weights, on the meta device, unless their values are needed."""

    def built() -> Built:
        module = build(config, facts)
        return Built(wanted.count(module), module.backbone.level_sizes)

    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return built()
        except InvalidInput:
            raise
        except Exception:
            return built()


def _word(size: Size) -> str:
    """The size as it is written on a command line."""
    return str(size) if isinstance(size, int) else f"[{','.join(map(str, size))}]"
