"""A checkpoint is what was written, to the last bit, or is refused."""

import io
import random

import pytest
import torch

from multiscale.training.checkpoint import files


def small() -> dict:
    weights = {f"w{i}": torch.arange(35.0).view(5, 7) / (i + 3) for i in range(3)}
    return {"state_dict": weights, "recipe": {"config": {"a": [1, None, "x"]}}, "epoch": 3}


@pytest.fixture
def path(tmp_path):
    files.save(small(), tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_a_checkpoint_comes_back_and_is_an_archive_that_torch_reads(path):
    for loaded in (files.load(path), torch.load(path, weights_only=True)):
        assert loaded["recipe"] == small()["recipe"]
        assert all(map(torch.equal, loaded["state_dict"].values(), small()["state_dict"].values()))


def test_every_one_of_many_random_bits_that_flips_is_found(path):
    content = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content)), 500):
        path.write_bytes(flipped(content, bit))
        with pytest.raises(files.Damaged, match=r"last.ckpt is damaged"):
            files.load(path)


def test_bits_that_the_archives_own_checksums_miss_are_found(path):
    """The attribute of a record by which a reader takes it for a folder: its tensor is then read from nowhere."""
    content = path.read_bytes()
    records = [i for i in range(len(content)) if content[i : i + 4] == b"PK\1\2"]
    assert len(records) > 3
    for record in records:
        assert not files.is_whole(flipped(content, 8 * (record + 38) + 4))


@pytest.mark.parametrize("bytes_more", [-1, -files.DIGEST, -files.DIGEST - 22, 1])
def test_a_cut_or_longer_file_is_found(path, bytes_more):
    content = path.read_bytes()
    path.write_bytes(content[:bytes_more] if bytes_more < 0 else content + b"x")
    with pytest.raises(files.Damaged, match=r"last.ckpt is damaged"):
        files.load(path)


def test_a_checkpoint_that_torch_alone_wrote_is_verified_by_its_records(path):
    torch.save(small(), path)
    assert files.load(path)["epoch"] == 3
    content = path.read_bytes()
    start = content.index(small()["state_dict"]["w0"].numpy().tobytes())
    for byte in range(start, start + 140, 7):
        damaged = flipped(content, 8 * byte)
        torch.load(io.BytesIO(damaged), weights_only=True)  # says nothing
        assert not files.is_whole(damaged)


def test_another_checkpoint_is_offered_only_if_it_is_whole(path):
    files.save(small(), path.with_name("previous.ckpt"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(files.Damaged, match=r"The one before it is whole: resume=\S+previous.ckpt"):
        files.load(path)
    path.with_name("previous.ckpt").write_bytes(b"")
    with pytest.raises(files.Damaged, match=r"its SHA-256 is not that at its end\.$"):
        files.load(path)
