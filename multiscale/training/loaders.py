"""What Lightning asks of a data set: this process's share of each split, from any batch of an epoch on."""

from typing import Any

import pytorch_lightning as pl
from torch.utils.data import BatchSampler, DataLoader

from multiscale.data.module import DataModule
from multiscale.data.order import Order


class Loaders(pl.LightningDataModule):
    """Lightning's view of ``data``.

    Args:
        data: the data set, set up.
        epoch, first_batch: those before this batch of this training epoch have been read.
    """

    def __init__(self, data: DataModule, epoch: int = 0, first_batch: int = 0) -> None:
        super().__init__()
        self.data, self.epoch, self.first_batch = data, epoch, first_batch

    def _loader(self, split: str) -> DataLoader[Any]:
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return self.data.loader(split, rank, ranks)

    def train_dataloader(self) -> DataLoader[Any]:
        loader = self._loader("train")
        batches = loader.batch_sampler
        order = batches.sampler if isinstance(batches, BatchSampler) else loader.sampler
        assert isinstance(order, Order)
        order.enter(self.epoch, self.first_batch * (batches.batch_size if isinstance(batches, BatchSampler) else 1))
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader("test")
