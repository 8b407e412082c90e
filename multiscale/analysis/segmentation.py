"""The callback that holds a network's boundaries against a reference segmentation, over a whole split."""

import logging
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from multiscale.analysis.boundaries import Score, score, score_baselines
from multiscale.backbones.base import Trace
from multiscale.checks import InvalidInput, in_range, nearest
from multiscale.data.batch import Batch
from multiscale.data.module import DataModule
from multiscale.training.data_check import DataCheck
from multiscale.training.module import trace_prefix

log = logging.getLogger(__name__)

COLLAPSED = 0.001  # a level that fires less often than this, or keeps still less often, has collapsed


class BoundaryScores(DataCheck, pl.Callback):
    """Logs precision, recall and F1 of each level's boundaries, beside what baselines score on the same text.

    Levels below the top one are scored, ``trace/f1_1`` and so on; the top one has no detector. A level that fires at
    under 0.1% or over 99.9% of the steps of an epoch is a warning that names it. Data that know no segmentation,
    such as images, are not scored.

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
        self.names: tuple[str, ...] = ()
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
            self.names = trace.names

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._conclude(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._conclude(trainer, pl_module, "test")

    def _conclude(self, trainer: pl.Trainer, module: pl.LightningModule, split: str) -> None:
        if not self.found:
            return
        valid = torch.cat(self.valid, 1)
        levels = torch.cat(self.found, 1)[valid].T
        self.found, self.valid = [], []
        whole = trainer.datamodule.data.segmentations(split)  # type: ignore[attr-defined]
        first = trainer.global_rank * valid.numel()  # of the steps that this rank has read
        for reference in self.references:
            true = whole[reference][first : first + int(valid.sum())]
            label = f"_{reference}" if len(self.references) > 1 else ""
            for number, found in enumerate(levels[:-1], 1):
                self._score(module, trace_prefix(split), label, number, found, true)
        if trainer.is_global_zero and split == "val":
            self._warn(levels[:-1], trainer.current_epoch + 1)

    def _score(
        self, module: pl.LightningModule, where: str, label: str, number: int, found: Tensor, true: Tensor
    ) -> None:
        """Log how well a level's boundaries are those of one reference, and what baselines score."""
        known = score_baselines(found, true, self.offset, self.tolerance)
        scores = {
            f"{label}_{number}": score(found, true, self.offset, self.tolerance),
            f"{label}_random_{number}": known["random"],
        }
        if number == 1:
            scores |= {f"{label}_always": known["always"], f"{label}_shifted": known["shifted"]}
        for name, part in scores.items():
            total = sum_over_ranks(module, part)
            module.log(f"{where}/f1{name}", total.f1)
            module.log(f"{where}/precision{name}", total.precision)
            module.log(f"{where}/recall{name}", total.recall)

    def _warn(self, levels: Tensor, epoch: int) -> None:
        """Name the levels [L - 1, N] that fire never or always."""
        for name, found in zip(self.names, levels, strict=False):
            rate = found.float().mean().item()
            if not COLLAPSED <= rate <= 1 - COLLAPSED:
                log.warning(
                    "%s has collapsed: its boundary fired at %.2f%% of the steps of epoch %d", name, 100 * rate, epoch
                )


def sum_over_ranks(module: pl.LightningModule, part: Score) -> Score:
    """The counts of all ranks together."""
    counts = torch.tensor([part.hits, part.found, part.true], device=module.device)
    gathered = module.all_gather(counts)
    assert isinstance(gathered, Tensor)
    return Score(*gathered.reshape(-1, 3).sum(0).tolist())
