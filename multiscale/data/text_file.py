"""Any UTF-8 text file of the user's."""

from collections.abc import Sequence

from multiscale.checks import expand
from multiscale.data.text import TextDataModule, read_text


class TextFile(TextDataModule):
    """The characters of one UTF-8 file, as they stand (line ends are not translated).

    Args:
        path: the file; ``~`` is the home folder.
        batch_size, steps, split, form, overlap: as for :class:`TextDataModule`.

    Raises:
        InvalidInput: from ``setup``, if the file is missing, unreadable, not UTF-8, empty or too short.
    """

    def __init__(
        self,
        path: str,
        batch_size: int,
        steps: int,
        split: Sequence[float] = (0.9, 0.05, 0.05),
        form: str = "plain",
        overlap: int = 0,
    ) -> None:
        super().__init__(batch_size, steps, split, form, overlap)
        self.path = expand(str(path))

    def read(self) -> tuple[str, str]:
        return str(self.path), read_text(self.path, "data.path")
