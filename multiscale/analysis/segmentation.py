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

from multiscale.analysis.boundaries import Score, Segments, score, score_baselines, segments
from multiscale.backbones.base import Trace
from multiscale.checks import InvalidInput, in_range, nearest
from multiscale.data.batch import Batch
from multiscale.data.module import DataModule
from multiscale.training.data_check import DataCheck
from multiscale.training.module import SequenceModule, trace_prefix

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
        here = partial(_at_steps, valid=valid[:, data.warm(split) :], rank=trainer.global_rank, ranks=trainer.world_size)
        where = trace_prefix(split)
        for reference in self.references:
            true = here(whole[reference])
            label = f"_{reference}" if len(self.references) > 1 else ""
            for number, found in enumerate(levels, 1):
                self._score(pl_module, where, label, number, found, true, signals)
        for number, found in enumerate(levels, 1):
            below = levels[number - 2] if number > 1 else None
            self._describe(pl_module, where, number, segments(found, below, signals.get("surprisal")))

    def _score(
        self,
        module: pl.LightningModule,
        where: str,
        label: str,
        number: int,
        found: Tensor,
        true: Tensor,
        signals: Mapping[str, Tensor],
    ) -> None:
        """Log how well a level's boundaries are those of one reference, and what baselines score."""
        known = score_baselines(found, true, self.offset, self.tolerance, signals)
        scores = {
            f"{label}_{number}": score(found, true, self.offset, self.tolerance),
            f"{label}_random_{number}": known["random"],
        }
        scores |= {f"{label}_{name}_{number}": known[name] for name in signals}
        if number == 1:
            scores |= {f"{label}_always": known["always"], f"{label}_shifted": known["shifted"]}
        for name, part in scores.items():
            total = sum_over_ranks(module, part)
            module.log(f"{where}/f1{name}", total.f1)
            module.log(f"{where}/precision{name}", total.precision)
            module.log(f"{where}/recall{name}", total.recall)
            module.log(f"{where}/r_value{name}", total.r_value)

    def _describe(self, module: pl.LightningModule, where: str, number: int, part: Segments) -> None:
        """Log what a level's boundaries are like without a reference."""
        total = sum_over_ranks(module, part)
        module.log(f"{where}/length_variation_{number}", total.variation)
        if number > 1:
            module.log(f"{where}/nested_{number}", total.nesting)
        if total.everything:
            module.log(f"{where}/enrichment_{number}", total.enrichment)


def _at_steps(marks: Tensor, valid: Tensor, rank: int, ranks: int) -> Tensor:
    """Those of ``marks`` [N], along all streams of a split, that stand at the ``valid`` [B, T] first steps of the B
    streams which the ``rank``-th of ``ranks`` processes has read; they may not have been read to their ends."""
    rows = ranks * len(valid)
    streams = F.pad(marks, (0, -len(marks) % rows)).view(rows, -1)
    return streams[rank * len(valid) :][: len(valid), : valid.size(1)][valid]


def sum_over_ranks(module: pl.LightningModule, part: Sums) -> Sums:
    """The sums of all ranks together."""
    counts = torch.tensor(astuple(part), device=module.device, dtype=torch.float64)
    gathered = module.all_gather(counts)
    assert isinstance(gathered, Tensor)
    return type(part)(*gathered.reshape(-1, len(counts)).sum(0).tolist())
