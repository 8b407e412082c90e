"""MNIST digits read pixel by pixel (Le et al. 2015): the raw files, sequential and permuted."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multiscale.checks import InvalidInput, in_range, positive_int
from multiscale.data.facts import LabelFacts
from multiscale.data.files import DAMAGED, DataError, Remote, fetch
from multiscale.data.module import Samples, SequenceDataModule

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist"
CHECKSUMS = {  # MD5 of the unpacked files
    "train-images-idx3-ubyte.gz": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte.gz": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte.gz": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte.gz": "27ae3e4e09519cfbb04c329615203637",
}
UNSIGNED_BYTES = 8  # the type code of an IDX file


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The bytes of a gzipped IDX file as an array of ``axes`` axes; raises :class:`DataError` if it is not one."""
    try:
        content = gzip.decompress(path.read_bytes())
    except DAMAGED as error:
        raise DataError(f"{path} must be a gzipped IDX file; it is damaged: {error}") from error
    head = 4 + 4 * axes
    if len(content) < head or content[:4] != bytes([0, 0, UNSIGNED_BYTES, axes]):
        raise DataError(f"{path} must be an IDX file of bytes with {axes} axes; it begins with {content[:4]!r}.")
    shape = tuple(np.frombuffer(content[4:head], dtype=">u4").astype(int).tolist())
    if len(content) - head != int(np.prod(shape)):
        raise DataError(f"{path} must hold {shape} bytes, as its head says; it holds {len(content) - head}.")
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(shape)


class SequentialMNIST(SequenceDataModule):
    """Which digit is it, after 784 pixels, one a step, in [0, 1]? 55,000 / 5,000 / 10,000 digits of 10 classes.

    The validation part is the last ``held_out`` digits of the training files. Permuted, the pixels of all images are
    read in one order, ``numpy.random.RandomState(permutation_seed).permutation(784)``; published results share the
    order of seed 92916 (Lezcano-Casado and Martínez-Rubio 2019, and the works that compare with them).

    Files: ``mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz``, LeCun, Cortes and Burges.

    Args:
        batch_size: B, digits over all devices together.
        held_out: digits for validation.
        permutation_seed: of the order of pixels; None reads them row by row.
        verify: compare the files with their checksums.
    """

    kind = "labels"

    def __init__(
        self, batch_size: int, held_out: int = 5000, permutation_seed: int | None = None, verify: bool = True
    ) -> None:
        super().__init__(batch_size)
        self.held_out = positive_int("held_out", held_out)
        if permutation_seed is not None:
            in_range("permutation_seed", permutation_seed, 0, 2**32 - 1)
        self.permutation_seed, self.verify = permutation_seed, verify

    def load(self) -> tuple[LabelFacts, dict[str, Samples]]:
        paths = [fetch(Remote(f"mnist/{n}", md5, f"{MIRROR}/{n}"), self.verify) for n, md5 in CHECKSUMS.items()]
        images, labels, test_images, test_labels = map(read_idx, paths, (3, 1, 3, 1))
        for seen, named in ((images, labels), (test_images, test_labels)):
            if len(seen) != len(named):
                raise DataError(f"mnist must have a label for each image; it has {len(named)} for {len(seen)}.")
        if self.held_out >= len(labels):
            raise InvalidInput(f"held_out must be less than the {len(labels)} training digits; got {self.held_out}.")
        digest = hashlib.sha256(b"".join(a.tobytes() for a in (images, labels, test_images, test_labels))).hexdigest()
        cut = len(labels) - self.held_out
        parts = {
            "train": (images[:cut], labels[:cut]),
            "val": (images[cut:], labels[cut:]),
            "test": (test_images, test_labels),
        }
        facts = LabelFacts(
            source="MNIST" if self.permutation_seed is None else f"MNIST, permuted by seed {self.permutation_seed}",
            sha256=digest,
            sequences=(cut, self.held_out, len(test_labels)),
            input_size=1,
            output_size=10,
        )
        return facts, {split: self._samples(*part) for split, part in parts.items()}

    def _samples(self, images: np.ndarray, labels: np.ndarray) -> Samples:
        pixels = images.reshape(len(images), -1)
        if self.permutation_seed is not None:
            # The legacy generator, because the published order was drawn with it.
            pixels = pixels[:, np.random.RandomState(self.permutation_seed).permutation(pixels.shape[1])]
        return Samples(torch.from_numpy(pixels.copy()), torch.from_numpy(labels.astype(np.int64)), brightness)


def brightness(pixels: Tensor) -> Tensor:
    """[T] bytes to [T, 1] in [0, 1]."""
    return pixels.float()[:, None] / 255
