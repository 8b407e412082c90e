"""Any UTF-8 text file of the user's."""

from collections.abc import Sequence
from pathlib import Path

from multiscale.checks import InvalidInput
from multiscale.data.text import TextDataModule


class TextFile(TextDataModule):
    """The characters of one UTF-8 file, as they stand (line ends are not translated).

    Args:
        path: the file; ``~`` is the home folder.
        batch_size, steps, split: as for :class:`TextDataModule`.

    Raises:
        InvalidInput: from ``setup``, if the file is missing, unreadable, not UTF-8, empty or too short.
    """

    def __init__(self, path: str, batch_size: int, steps: int, split: Sequence[float] = (0.9, 0.05, 0.05)) -> None:
        super().__init__(batch_size, steps, split)
        self.path = Path(str(path)).expanduser()

    def read(self) -> tuple[str, str]:
        try:
            text = self.path.read_bytes().decode("utf-8")
        except OSError as error:
            raise InvalidInput(f"path must be a readable text file; {str(self.path)!r}: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"path must be a text file in UTF-8; {str(self.path)!r} is not, at byte {error.start}."
            ) from error
        if not text:
            raise InvalidInput(f"path must be a text file with characters in it; {str(self.path)!r} is empty.")
        return str(self.path), text
