"""Numbers of the user's: one or many series in a file, to be forecast, classified, or told a value of."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from multiscale.checks import InvalidInput, expand, in_range, natural, one_of, positive_int
from multiscale.data.facts import Scaling, SequenceFacts, SeriesLabels, SeriesNumbers
from multiscale.data.files import DataError, checksum
from multiscale.data.module import SPLITS, Samples, SequenceDataModule, count_sequences
from multiscale.data.stretches import Part, Rows, Stretches, check_times, cut, divide, naive_error, since_start
from multiscale.data.tables import Table, column_names, read_table
from multiscale.data.text import split_sizes

TARGETS = ("forecast", "class", "value")


class Read(NamedTuple):
    """Whole columns as numbers, which of them are inputs and targets, and what each split has of them."""

    numbers: Mapping[str, Float64[np.ndarray, " M"]]
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    parts: Mapping[str, Part]
    scaling: Scaling

    def scaled(self, names: Sequence[str], split: str) -> Float64[Tensor, "N C"]:
        """Columns of a split in units of the deviation."""
        rows = self.parts[split].rows
        columns = [(self.numbers[name][rows] - self.scaling[name][0]) / self.scaling[name][1] for name in names]
        return torch.from_numpy(np.stack(columns, 1))


class SeriesFile(SequenceDataModule):
    """One or many series of numbers from a CSV, NPY or Parquet file (:func:`multiscale.data.tables.read_table`).

    ``forecast``: the input is ``context`` steps of ``columns``, the target the ``horizon`` steps after them of
    ``targets``, at once [horizon, C]; such windows begin every ``stride`` steps. Each series is split in the order of
    its steps. ``class`` and ``value``: each group is one sequence, of which ``label`` tells the class or the number;
    the groups are shuffled by ``seed`` and split. No window or sequence reaches over the border of a split, of a series
    or of a gap.

    Columns, and numbers to be predicted, are scaled by their mean and deviation over the training part alone, which the
    facts tell: an MSE is in units of that variance. The references of a forecast are the MSEs of the test part, in
    these units, of repeating the last value and, with ``season``, the last value of the same phase; those of labels are
    of always answering the commonest class of the training part, or its mean.

    Args:
        path: the file; ``~`` is the home folder.
        batch_size: B, windows or sequences over all devices together.
        target: ``forecast``, ``class`` or ``value``.
        columns: to read; by default all but ``label``, ``group`` and ``time``.
        targets: columns to forecast; by default ``columns``.
        label: the column of the class, or of the value, the same in all rows of a group.
        group: the column whose cells tell which series a row belongs to; by default there is one series.
        time: a column of numbers that rise with each step of a series. It is given on as the last input, as the time
            since the first step of the window or sequence, in units of its own.
        context, horizon, stride: of forecasts, in steps.
        season: of the reference, in steps; at most ``context``, so that a network sees what it repeats.
        split: fractions for train, val and test.
        missing: ``refuse`` a file with cells without a value (empty, NaN, NA, null, None) in a column that is read, or
            ``drop`` their rows: the series goes on behind them as another one (of the same split, for a group).
        folds, fold: the groups are dealt out to so many folds, of which number ``fold``, from 0, is the test part;
            ``split`` then tells the shares of train and val of the others. For ``class`` and ``value`` alone.
        seed: of the shuffling.

    Raises:
        InvalidInput: for bad arguments; from ``setup``, for a file that cannot be read, and for one with other columns,
            texts in the place of numbers, missing values, a column that is constant in the training part, times that do
            not rise, or too few steps or groups.
    """

    def __init__(
        self,
        path: str,
        batch_size: int,
        target: str = "forecast",
        columns: Sequence[str | int] | None = None,
        targets: Sequence[str | int] | None = None,
        label: str | int | None = None,
        group: str | int | None = None,
        time: str | int | None = None,
        context: int = 64,
        horizon: int = 1,
        stride: int = 1,
        season: int | None = None,
        split: Sequence[float] = (0.7, 0.15, 0.15),
        missing: str = "refuse",
        folds: int | None = None,
        fold: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size)
        self.path, self.target = expand(str(path)), one_of("target", target, TARGETS)
        self.columns, self.targets = column_names("columns", columns), column_names("targets", targets)
        self.label, self.group, self.time = (None if c is None else str(c) for c in (label, group, time))
        self.context, self.horizon = positive_int("context", context), positive_int("horizon", horizon)
        self.stride = positive_int("stride", stride)
        self.season = None if season is None else int(in_range("season", positive_int("season", season), 1, context))
        self.split = tuple(in_range(f"split[{i}]", f, 0, 1, open_low=True) for i, f in enumerate(split))
        if len(split) != 3 or abs(sum(split) - 1) > 1e-6:
            raise InvalidInput(f"split must be three fractions that sum to 1; got {list(split)!r}.")
        self.missing = one_of("missing", missing, ("refuse", "drop"))
        self.folds = None if folds is None else int(in_range("folds", positive_int("folds", folds), 2))
        self.fold = int(in_range("fold", natural("fold", fold), 0, self.folds - 1 if self.folds else 0))
        self.seed = natural("seed", seed)
        self._check_target()

    def _check_target(self) -> None:
        """Raise :class:`InvalidInput` for arguments that the target needs, or has no use for."""
        forecast = self.target == "forecast"
        for name, value in {"label": self.label, "group": self.group}.items():
            if value is None and not forecast:
                raise InvalidInput(f"{name} must be the name of a column for target {self.target}; got None.")
        others = {"targets": self.targets, "season": self.season}
        for name, other in ({"label": self.label, "folds": self.folds} if forecast else others).items():
            if other is not None:
                raise InvalidInput(f"{name} must be null for target {self.target}; got {other!r}.")
        if self.label is not None and self.label in (self.columns or ()):
            raise InvalidInput(f"columns must not have the label among them; got {self.label!r}.")

    def load(self) -> tuple[SequenceFacts, dict[str, Samples]]:
        table = read_table(self.path)
        read = self._read(table)
        if self.target == "forecast":
            return self._forecast(read)
        return self._classes(table, read) if self.target == "class" else self._values(table, read)

    def _read(self, table: Table) -> Read:
        own = {"label": self.label, "group": self.group, "time": self.time}
        columns = self.columns or tuple(name for name in table.columns if name not in own.values())
        if not columns:
            raise InvalidInput(f"data.columns must be at least one column of {self.path}; beside {own} it has none.")
        targets = (self.targets or columns) if self.target == "forecast" else ()
        asked = [("columns", name) for name in columns] + [("targets", name) for name in targets]
        for argument, name in asked + [(argument, name) for argument, name in own.items() if name is not None]:
            table.check(f"data.{argument}", name)
        value = self.label if self.target == "value" else None
        numbers = {name: table.numbers(name) for name in (*columns, *targets, self.time, value) if name is not None}
        words = {name: table.words(name) for name in own.values() if name is not None and name not in numbers}
        series = [np.arange(len(table.rows))] if self.group is None else divide(table.words(self.group))
        kept = self._find_kept(table, numbers, words)
        if self.time is not None:
            check_times(table, self.time, numbers[self.time], series)
        parts = (self._split_steps if self.target == "forecast" else self._split_groups)(series, kept)
        seen = parts["train"].rows
        scaling = {name: self._scale(name, numbers[name][seen]) for name in dict.fromkeys((*columns, *targets))}
        return Read(numbers, columns, targets, parts, scaling)

    def _find_kept(
        self, table: Table, numbers: dict[str, np.ndarray], words: dict[str, np.ndarray]
    ) -> Bool[np.ndarray, " N"]:
        """Which rows are whole; raises :class:`DataError` for a column that is not, unless they are dropped."""
        kept = np.ones(len(table.rows), dtype=bool)
        for name in (*numbers, *words):
            absent = np.isnan(numbers[name]) if name in numbers else words[name] == ""
            if self.missing == "refuse" and absent.any():
                raise DataError(
                    f"{self.path} must have a value in each cell, or data.missing be drop; column {name!r} has none in "
                    f"row {table.rows[int(np.argmax(absent))]}."
                )
            kept &= ~absent
        return kept

    def _split_steps(self, series: list[Rows], kept: Bool[np.ndarray, " N"]) -> dict[str, Part]:
        """Each series by its steps, one split after the other, without the rows that are dropped."""
        found: dict[str, list[Rows]] = {split: [] for split in SPLITS}
        for rows in series:
            borders = np.cumsum(split_sizes(len(rows), self.split))[:-1]
            for split, share in zip(SPLITS, np.split(rows, borders), strict=True):
                found[split] += cut(share, kept)
        for split, pieces in found.items():
            longest = max(map(len, pieces), default=0)
            if longest < self.context + self.horizon:
                raise InvalidInput(
                    f"data.context + data.horizon must be at most {longest}, the steps of the longest stretch of "
                    f"{self.path} for {split}; got {self.context} + {self.horizon}."
                )
        return {split: Part.join(pieces) for split, pieces in found.items()}

    def _split_groups(self, series: list[Rows], kept: Bool[np.ndarray, " N"]) -> dict[str, Part]:
        """Whole groups, shuffled: by fractions, or a fold for the test and the others by the fractions left."""
        groups = [pieces for rows in series if (pieces := cut(rows, kept))]
        order = np.random.default_rng(self.seed).permutation(len(groups))
        if self.folds:
            test = order[self.fold :: self.folds]
            rest = np.delete(order, slice(self.fold, None, self.folds))
            train = round(len(rest) * self.split[0] / (self.split[0] + self.split[1]))
            shares = [rest[:train], rest[train:], test]
        else:
            shares = np.split(order, np.cumsum(split_sizes(len(order), self.split))[:-1])
        for split, share in zip(SPLITS, shares, strict=True):
            if not len(share):
                raise InvalidInput(
                    f"data.group must tell enough groups for data.split and data.folds: of the {len(groups)} of "
                    f"{self.path}, {split} gets none."
                )
        found = ([piece for i in share for piece in groups[i]] for share in shares)
        return {split: Part.join(pieces) for split, pieces in zip(SPLITS, found, strict=True)}

    def _scale(self, name: str, values: Float64[np.ndarray, " N"]) -> tuple[float, float]:
        """(mean, deviation) of the training part."""
        if np.ptp(values) == 0:
            raise DataError(
                f"{self.path} must have columns that vary in the training part; {name!r} is {values[0]:g} everywhere. "
                "data.columns names the columns to read."
            )
        return float(values.mean()), float(values.std())

    def _inputs(self, read: Read, split: str) -> Tensor:
        """[N, D]: the scaled columns, and the time as it is, for which only double precision may do."""
        values = read.scaled(read.columns, split)
        if self.time is None:
            return values.float()
        return torch.cat([values, torch.from_numpy(read.numbers[self.time][read.parts[split].rows])[:, None]], 1)

    def _samples(self, read: Read, split: str, starts: Rows, lengths: Rows, targets: Any) -> Samples:
        inputs = Stretches(self._inputs(read, split), starts, lengths)
        return Samples(inputs, targets, None if self.time is None else since_start)

    def _forecast(self, read: Read) -> tuple[SequenceFacts, dict[str, Samples]]:
        context, horizon = self.context, self.horizon
        samples: dict[str, Samples] = {}
        for split, part in read.parts.items():
            starts = part.windows(context + horizon, self.stride)
            values = read.scaled(read.targets, split)  # after the loop, those of the test, as are the starts
            targets = Stretches(values.float(), starts + context, np.full_like(starts, horizon))
            samples[split] = self._samples(read, split, starts, np.full_like(starts, context), targets)
        references = {"MSE of the last value": naive_error(values, starts + context, horizon, 1)}
        if self.season:
            error = naive_error(values, starts + context, horizon, self.season)
            references[f"MSE of the last season, {self.season} steps"] = error
        common = self._common(read, samples, f"{horizon} after {context} steps", references)
        return SeriesNumbers(**common, output_size=horizon * len(read.targets), scaling=read.scaling), samples

    def _classes(self, table: Table, read: Read) -> tuple[SequenceFacts, dict[str, Samples]]:
        told = self._labels(table, table.words(str(self.label)), read)
        seen, counts = np.unique(told["train"], return_counts=True)
        if len(seen) < 2:
            raise DataError(
                f"{self.path} must have several classes in {self.label!r} in the training part; it has one."
            )
        commonest = seen[counts.argmax()]
        classes = np.unique(np.concatenate([*told.values()]))
        answers = {split: torch.from_numpy(np.searchsorted(classes, one)) for split, one in told.items()}
        samples = self._sequences(read, answers)
        references = {f"error of always answering {commonest}": float(np.mean(told["test"] != commonest))}
        common = self._common(read, samples, f"{self.label} of each {self.group}", references)
        return SeriesLabels(**common, output_size=len(classes), scaling=read.scaling, classes=(*classes,)), samples

    def _values(self, table: Table, read: Read) -> tuple[SequenceFacts, dict[str, Samples]]:
        label = str(self.label)
        told = self._labels(table, read.numbers[label], read)
        mean, deviation = self._scale(label, told["train"])
        answers = {split: torch.from_numpy((one - mean) / deviation)[:, None].float() for split, one in told.items()}
        samples = self._sequences(read, answers)
        references = {"MSE of always answering the mean": float(answers["test"].double().square().mean())}
        common = self._common(read, samples, f"{label} of each {self.group}", references)
        return SeriesNumbers(**common, output_size=1, scaling={**read.scaling, label: (mean, deviation)}), samples

    def _labels(self, table: Table, labels: np.ndarray, read: Read) -> dict[str, np.ndarray]:
        """The label of each sequence; raises :class:`DataError` for a row that has another than the first."""
        found = {}
        for split, part in read.parts.items():
            own = labels[part.rows]
            found[split] = own[part.starts]
            if len(other := np.flatnonzero(own != np.repeat(found[split], part.lengths))):
                row, got = table.rows[part.rows[other[0]]], own[other[0]]
                raise DataError(
                    f"{self.path} must have the same {self.label!r} in all rows of a {self.group!r}; row {row} has "
                    f"{got!s:.40}, unlike those before it."
                )
        return found

    def _sequences(self, read: Read, targets: Mapping[str, Tensor]) -> dict[str, Samples]:
        """One sequence a piece of a group."""
        return {
            split: self._samples(read, split, part.starts, part.lengths, targets[split])
            for split, part in read.parts.items()
        }

    def _common(
        self, read: Read, samples: dict[str, Samples], what: str, references: Mapping[str, float]
    ) -> dict[str, Any]:
        """What the facts of any target have."""
        return {
            "source": f"{self.path}, {what}",
            "sha256": checksum(self.path, "sha256"),
            "sequences": count_sequences(samples),
            "input_size": len(read.columns) + (self.time is not None),
            "references": references,
        }
