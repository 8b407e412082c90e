"""The order of samples: another each epoch, the same for any number of processes, entered at any point."""

from itertools import chain

import pytest
import torch

from multiscale.data.order import Order
from multiscale.training.loaders import Loaders


def batches(size, batch_size, rank=0, ranks=1, epoch=0, skip=0):
    order = Order(size, batch_size, rank, ranks, shuffle=True)
    order.set_epoch(epoch)
    order.enter(epoch, skip)
    indices, share = list(order), batch_size // ranks
    return [indices[i : i + share] for i in range(0, len(indices), share)]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_batches_of_all_processes_together_are_those_of_one(ranks):
    torch.manual_seed(0)
    alone = batches(22, 8)
    shared = [batches(22, 8, rank, ranks) for rank in range(ranks)]
    together = [sorted(chain(*parts)) for parts in zip(*shared, strict=True)]
    assert together == [sorted(batch) for batch in alone]


def test_a_last_batch_that_not_every_process_shares_is_left_out_by_all():
    assert [len(batches(17, 8, rank, 2)) for rank in range(2)] == [2, 2]
    assert len(batches(17, 8)) == 3


def test_an_epoch_can_be_entered_in_its_middle_and_the_others_are_whole():
    torch.manual_seed(0)
    assert batches(22, 8, epoch=1, skip=16) == batches(22, 8, epoch=1)[2:]
    order = Order(22, 8, shuffle=True)
    order.enter(epoch=1, skip=16)
    assert len(list(order)) == 22


def test_every_epoch_and_every_seed_has_its_order():
    torch.manual_seed(0)
    first, second = batches(22, 8), batches(22, 8, epoch=1)
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(22))
    assert first != second
    torch.manual_seed(1)
    assert batches(22, 8) != first


def test_the_loaders_begin_with_the_batch_asked_for(data):
    whole = list(Loaders(data).train_dataloader())
    rest = list(Loaders(data, epoch=0, first_batch=3).train_dataloader())
    assert len(rest) == len(whole) - 3
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(whole[3:], rest, strict=True))
