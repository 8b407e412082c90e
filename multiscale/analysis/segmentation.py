"""The callback that holds a network's boundaries against a reference segmentation, over a whole split."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import partial
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from multiscale.analysis.boundaries import (
    Score,
    Segments,
    count_by_symbol,
    learn_rule,
    score,
    score_baselines,
    segments,
)
from multiscale.backbones.base import Trace
from multiscale.checks import InvalidInput, in_range, nearest
from multiscale.data.batch import Batch
from multiscale.data.facts import TextFacts
from multiscale.data.module import DataModule
from multiscale.training.data_check import DataCheck
from multiscale.training.module import SequenceModule, log_traces

Sums = TypeVar("Sums", Score, Segments)

log = logging.getLogger(__name__)


class BoundaryScores(DataCheck, pl.Callback):
    """Logs precision, recall and F1 of each level's boundaries, beside what baselines score on the same text.

    Levels that detect boundaries are scored, ``trace/f1_1`` and so on. Without a reference a
    level has the variation of the length of its segments, ``trace/length_variation_1``; the share of its boundaries
    that are also those of the level below, ``trace/nested_2``; and, where each step has a target, how much more
    surprising than elsewhere is what follows them, ``trace/enrichment_1``. The baselines then are, too, where that
    surprisal is largest, and where the entropy of the prediction is (``surprisal``, ``entropy``; the spikes of Nawrot
    et al. 2022, arXiv 2211.09761, by a threshold). Data that know no segmentation, such as
    images, are not scored.

    Of a text, ``symbol`` is one more baseline: a boundary at each symbol that is one in more than half of its places in
    the training text. ``trace/explained_1`` is the share of a level's decisions, boundary or none, that the best rule
    from the symbol just read gets right; a rule that always says no gets as many as there are steps without a boundary.
    What belongs to the test, and to baselines but for their F1, is in the run's summary and makes no curve.

    Args:
        reference: one of the data set's segmentations, such as ``word_ends``, ``spaces`` or ``sentence_ends``; or a
            list of them, each of which then stands in the names of its scores: ``trace/f1_word_ends_1``; or ``all``
            that the data know, for recipes that are run on several data sets.
        offset: steps by which a boundary may come after what it marks, and still be right.
        tolerance: steps to either side.
    """

    def __init__(self, reference: str | Sequence[str], offset: int = 0, tolerance: int = 0) -> None:
        self.references = [reference] if isinstance(reference, str) else list(reference)
        self.offset, self.tolerance = offset, int(in_range("tolerance", tolerance, 0))
        self.found: list[Tensor] = []
        self.valid: list[Tensor] = []
        self.signals: dict[str, list[Tensor]] = {}
        self.active = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.check(trainer.datamodule.data)  # type: ignore[attr-defined]

    def check(self, data: DataModule) -> None:
        known = data.segmentations("val")
        self.active = bool(known)
        if self.references == ["all"]:
            self.references = list(known)
        for reference in self.references:
            if known and reference not in known:
                raise InvalidInput(
                    f"reference must be one of {', '.join(known)}; got {reference!r}.{nearest(reference, known)}"
                )

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        trace: Trace = outputs["trace"]
        if self.active and trace.boundary is not None:
            self.found.append(trace.boundary.bool().cpu())
            self.valid.append(batch.mask.cpu())
            for name in ("surprisal", "entropy"):
                if outputs[name] is not None:
                    self.signals.setdefault(name, []).append(outputs[name].cpu())

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._conclude(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._conclude(trainer, pl_module, "test")

    def _conclude(self, trainer: pl.Trainer, pl_module: pl.LightningModule, split: str) -> None:
        if not self.found:
            return
        assert isinstance(pl_module, SequenceModule)
        data = trainer.datamodule.data  # type: ignore[attr-defined]
        valid = torch.cat(self.valid, 1)
        levels = torch.cat(self.found, 1)[valid].T[: pl_module.backbone.detecting]
        signals = {name: torch.cat(parts, 1)[valid] for name, parts in self.signals.items()}
        self.found, self.valid, self.signals = [], [], {}
        whole = data.segmentations(split)
        here = partial(
            _at_steps, valid=valid[:, data.warm(split) :], rank=trainer.global_rank, ranks=trainer.world_size
        )
        symbols = data.read_symbols(split)
        read = None if symbols is None else here(symbols).long()
        for reference in self.references:
            true = here(whole[reference])
            label = f"_{reference}" if len(self.references) > 1 else ""
            ruled = None if read is None or split == "val" else self._learn_rule(data, reference)[read]
            for number, found in enumerate(levels, 1):
                self._score(pl_module, split, label, number, found, true, signals, ruled)
        for number, found in enumerate(levels, 1):
            below = levels[number - 2] if number > 1 else None
            self._describe(pl_module, split, number, segments(found, below, signals.get("surprisal")))
            if read is not None:
                counts = _sum_ranks(pl_module, count_by_symbol(read, found, data.facts.num_symbols))
                log_traces(pl_module, split, {f"explained_{number}": counts.amax(0).sum() / counts.sum()})

    def _learn_rule(self, data: DataModule, reference: str) -> Tensor:
        """From each symbol to whether a boundary is to be found at it, as the training text has it."""
        symbols, true = data.read_symbols("train"), data.segmentations("train")[reference]
        assert symbols is not None
        assert isinstance(data.facts, TextFacts)
        return learn_rule(symbols, true.roll(self.offset), data.facts.num_symbols)

    def _score(
        self,
        module: pl.LightningModule,
        split: str,
        label: str,
        number: int,
        found: Tensor,
        true: Tensor,
        signals: Mapping[str, Tensor],
        ruled: Tensor | None,
    ) -> None:
        """Log how well a level's boundaries are those of one reference, and what baselines score; in validation of the
        latter no more than moves a curve."""
        known = score_baselines(found, true, self.offset, self.tolerance, signals)
        scores = {f"{label}_{name}_{number}": known[name] for name in ("random", *signals)}
        if ruled is not None:
            scores[f"{label}_symbol_{number}"] = score(ruled, true, self.offset, self.tolerance)
        if number == 1 and split == "test":
            scores |= {f"{label}_always": known["always"], f"{label}_shifted": known["shifted"]}
        own = f"{label}_{number}"
        for name, part in {own: score(found, true, self.offset, self.tolerance), **scores}.items():
            total = sum_over_ranks(module, part)
            values = {"f1": total.f1}
            if name == own or split == "test":
                values |= {"precision": total.precision, "recall": total.recall, "r_value": total.r_value}
            log_traces(module, split, {f"{kind}{name}": value for kind, value in values.items()})

    def _describe(self, module: pl.LightningModule, split: str, number: int, part: Segments) -> None:
        """Log what a level's boundaries are like without a reference."""
        total = sum_over_ranks(module, part)
        values = {"length_variation": total.variation}
        if number > 1:
            values["nested"] = total.nesting
        if total.everything:
            values["enrichment"] = total.enrichment
        log_traces(module, split, {f"{name}_{number}": value for name, value in values.items()})


def _at_steps(marks: Tensor, valid: Tensor, rank: int, ranks: int) -> Tensor:
    """Those of ``marks`` [N], along all streams of a split, that stand at the ``valid`` [B, T] first steps of the B
    streams which the ``rank``-th of ``ranks`` processes has read; they may not have been read to their ends."""
    rows = ranks * len(valid)
    streams = F.pad(marks, (0, -len(marks) % rows)).view(rows, -1)
    return streams[rank * len(valid) :][: len(valid), : valid.size(1)][valid]


def sum_over_ranks(module: pl.LightningModule, part: Sums) -> Sums:
    """The sums of all ranks together."""
    return type(part)(*_sum_ranks(module, torch.tensor(astuple(part), dtype=torch.float64)).tolist())


def _sum_ranks(module: pl.LightningModule, counts: Tensor) -> Tensor:
    """The ``counts`` of all ranks together."""
    gathered = module.all_gather(counts.to(module.device))
    assert isinstance(gathered, Tensor)
    return gathered.reshape(-1, *counts.shape).sum(0)
