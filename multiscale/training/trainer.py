"""What a trainer may be asked for that Lightning would refuse late, or in words that do not name the argument."""

from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from multiscale.checks import InvalidInput, in_range, nearest, one_of, positive_int
from multiscale.config.kinds import read_literals

DEFAULT_PRECISION = "32-true"
NOT_RESUMABLE = {  # callbacks of Lightning, and what to do instead
    "StochasticWeightAveraging": " pytorch_lightning.callbacks.WeightAveraging averages weights too.",
    "BaseFinetuning": " init_from= begins with the weights of another run.",
    "SpikeDetection": " callbacks.numbers.on_bad=skip leaves out steps that are no numbers.",
    "ModelPruning": "",
    "LearningRateFinder": " python -m multiscale.search finds one by trials.",
    "BatchSizeFinder": "",
}


def check_ranges(trainer: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidInput` for a number out of range among the arguments of a trainer; needs no Lightning."""
    for name, check in RANGES.items():
        if trainer.get(name) is not None:
            check(f"trainer.{name}", trainer[name])


def check_batches(trainer: Mapping[str, Any], batches: Mapping[str, int]) -> None:
    """Raise :class:`InvalidInput` for a share of a split, or of a training epoch, that is not one of its batches."""
    used = dict(batches)
    for split, count in batches.items():
        limit = trainer.get(f"limit_{split}_batches")
        used[split] = count if limit is None else min(count, limit if isinstance(limit, int) else int(count * limit))
        if limit and not used[split]:
            least = f"{1 / count:.3g}" if count else "another, for data.split leaves no batch at all"
            raise InvalidInput(f"trainer.limit_{split}_batches must be at least {least}; got {limit}.")
    interval, every = trainer.get("val_check_interval"), trainer.get("check_val_every_n_epoch", 1)
    if isinstance(interval, float) and int(used["train"] * interval) < 1:
        raise InvalidInput(f"trainer.val_check_interval must be at least {1 / used['train']:.3g}; got {interval}.")
    if isinstance(interval, int) and every is not None and interval > used["train"]:
        raise InvalidInput(
            f"trainer.val_check_interval must be at most the {used['train']} batches of a training epoch; got "
            f"{interval}. With trainer.check_val_every_n_epoch=null they are counted over epochs."
        )


def check_resumable(trainer: Mapping[str, Any], callbacks: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidInput` for what a training would not go on from bit for bit."""
    import pytorch_lightning.callbacks as kinds

    if trainer.get("overfit_batches"):
        raise InvalidInput(
            "trainer.overfit_batches must be 0, for a run that was stopped would not go on as it was; "
            f"trainer.limit_train_batches and limit_val_batches do much the same; got {trainer['overfit_batches']!r}."
        )
    for name, callback in callbacks.items():
        for kind, instead in NOT_RESUMABLE.items():
            if isinstance(callback, getattr(kinds, kind)):
                raise InvalidInput(
                    f"callbacks.{name} must be a callback with which a run that was stopped goes on as it was; "
                    f"Lightning's {type(callback).__name__} is none.{instead}"
                )


def check_kinds(trainer: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidInput` for an accelerator, strategy or precision that Lightning does not know."""
    from pytorch_lightning import Trainer
    from pytorch_lightning.accelerators import AcceleratorRegistry
    from pytorch_lightning.strategies import StrategyRegistry

    if isinstance(accelerator := trainer.get("accelerator"), str):
        one_of("trainer.accelerator", accelerator, ("auto", "gpu", *AcceleratorRegistry.available_accelerators()))
    if isinstance(strategy := trainer.get("strategy"), str):
        known = ("auto", *StrategyRegistry.available_strategies())
        if strategy not in known:
            raise InvalidInput(
                f"trainer.strategy must be auto, ddp, or another that Lightning knows; got {strategy!r}."
                f"{nearest(strategy, known)}"
            )
    if (precision := trainer.get("precision")) is not None:
        words = dict.fromkeys((DEFAULT_PRECISION, *read_literals(get_type_hints(Trainer.__init__)["precision"])))
        one_of("trainer.precision", str(precision), tuple(words))


def _at_least(low: int, whole: bool = True) -> Callable[[str, Any], None]:
    def check(where: str, value: Any) -> None:
        in_range(where, value, low)
        if whole and not isinstance(value, int):
            raise InvalidInput(f"{where} must be a whole number of at least {low}; got {value!r}.")

    return check


def _limit(zero: bool) -> Callable[[str, Any], None]:
    """Whole numbers are batches, fractions a share of them; ``zero`` says whether none is allowed."""

    def check(where: str, value: Any) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or isinstance(value, float)) or not value >= 0 or (not whole and not value <= 1):
            raise InvalidInput(f"{where} must be a number of batches, or a fraction of them up to 1.0; got {value!r}.")
        if not (zero or value):
            raise InvalidInput(f"{where} must be above 0; got {value!r}.")

    return check


def _length(where: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or (value < 1 and value != -1):
        raise InvalidInput(f"{where} must be at least 1 and whole, or -1 for no limit; got {value!r}.")


def _interval(where: str, value: Any) -> None:
    if isinstance(value, int | float):  # else a time
        _limit(zero=False)(where, value)


RANGES: dict[str, Callable[[str, Any], Any]] = {
    "max_epochs": _length,
    "max_steps": _length,
    "min_epochs": _at_least(0),
    "min_steps": _at_least(0),
    "limit_train_batches": _limit(zero=False),
    "limit_val_batches": _limit(zero=False),
    "limit_test_batches": _limit(zero=True),
    "val_check_interval": _interval,
    "check_val_every_n_epoch": positive_int,
    "log_every_n_steps": _at_least(0),
    "accumulate_grad_batches": positive_int,
    "gradient_clip_val": _at_least(0, whole=False),
}
