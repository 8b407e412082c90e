"""Text files of the user's: one, several, or all of a folder; characters of UTF-8, or the bytes of any files."""

from collections import Counter
from collections.abc import Sequence
from glob import escape, glob
from pathlib import Path

import torch
from torch import Tensor

from multiscale.checks import InvalidInput, expand, flag, free_memory, one_of, read_file
from multiscale.data.facts import TextFacts
from multiscale.data.files import DataError
from multiscale.data.text import MEMORY, StreamDataModule, encode, letters27, read_split, split_sizes, utf8

UNITS = ("characters", "bytes")


class TextFile(StreamDataModule):
    """Files as one text, one after the other with nothing between them, as they stand (line ends are not translated).

    The text is split by its length, whatever the files: one may begin in a split and end in the next.

    Args:
        path: a file; a folder, for the files in it, without those of its folders; a pattern, as ``texts/**/*.txt``; or
            a list of these. Files of a folder or pattern are read in the order of their sorted paths, without hidden
            ones; a list is read in its own. ``~`` is the home folder. Empty files among others are passed over.
        batch_size, steps, form, overlap: as for :class:`StreamDataModule`.
        split: fractions of the text for train, val and test, in the order of the text.
        units: ``characters``, of files in UTF-8; or ``bytes``, of any files.
        reset: each file is a document that is read from the initial state on. Its first symbol is still what the one
            before it, if there is any, is followed by, and counted as such.

    Raises:
        InvalidInput: for bad arguments; from ``setup``, if a file is missing, unreadable, or not UTF-8, a folder or
            pattern has none, a file is there twice, or the text is empty or too short.
    """

    def __init__(
        self,
        path: str | Sequence[str],
        batch_size: int,
        steps: int,
        split: Sequence[float] = (0.9, 0.05, 0.05),
        form: str = "plain",
        overlap: int = 0,
        units: str = "characters",
        reset: bool = False,
    ) -> None:
        super().__init__(batch_size, steps, form, overlap)
        self.split, self.units, self.reset = read_split(split), one_of("units", units, UNITS), flag("reset", reset)
        several = isinstance(path, Sequence) and not isinstance(path, str)
        self.paths = [str(one) for one in path] if several else [str(path)]
        if not self.paths:
            raise InvalidInput("path must name at least one file; got [].")

    def load(self) -> tuple[TextFacts, Tensor]:
        source, documents = self.read()
        if self.form == "letters27":
            documents = [letters27(document) for document in documents]
        if self.reset:
            self.documents = torch.tensor([0, *map(len, documents[:-1])]).cumsum(0)
        text = "".join(documents)
        bytewise = self.units == "bytes" and self.form == "plain"
        return encode(source, text, split_sizes(len(text), self.split), bytewise)

    def read(self) -> tuple[str, list[str]]:
        """(where the text comes from, the documents); of bytes, each is the character of its code."""
        files = [file for path in self.paths for file in find_files(path)]
        if twice := [file for file, count in Counter(files).items() if count > 1]:
            raise InvalidInput(f"data.path must name each file once; {str(twice[0])!r} is there twice.")
        left, documents = free_memory() // MEMORY, []
        for file in files:
            try:
                content = read_file(file, left)
            except OSError as error:
                raise InvalidInput(
                    f"data.path must be a readable text file; {str(file)!r}: {error.strerror}."
                ) from error
            left -= len(content)
            documents += [self._text(content, file)] if content else []
        if not documents:
            raise DataError(f"data.path {', '.join(self.paths)!r} must be a text with characters in it; it is empty.")
        others = ", ..." if len(self.paths) > 1 else ""
        return (self.paths[0] if len(files) == 1 else f"{self.paths[0]}{others}, {len(files)} files"), documents

    def _text(self, content: bytes, file: Path) -> str:
        if self.units == "bytes":
            return content.decode("latin-1")
        return utf8(content, f"data.path {str(file)!r}", " data.units=bytes reads any file.")


def find_files(path: str) -> list[Path]:
    """The files that a path means; raises :class:`InvalidInput` for a folder or a pattern without any."""
    place = expand(path)
    try:
        if place.is_dir():
            found = [file for file in place.iterdir() if file.is_file() and not file.name.startswith(".")]
        elif escape(path) != path and not place.exists():
            found = [Path(file) for file in glob(str(place), recursive=True) if Path(file).is_file()]
        else:
            return [place]
    except OSError as error:
        raise InvalidInput(f"data.path must be one that can be looked into; {path!r}: {error.strerror}.") from error
    if not found:
        raise InvalidInput(f"data.path must be a file, or a folder or pattern with files; {path!r} has none.")
    return sorted(found)
