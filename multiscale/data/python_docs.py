"""The reference manual that every CPython carries for its ``help()``: English prose, no download."""

import platform
from pydoc_data.topics import topics

from multiscale.data.text import TextDataModule


class PythonDocs(TextDataModule):
    """The topics of ``pydoc_data.topics``, sorted by name and joined by newlines; about half a million characters.

    The text differs a little between Python versions, so its SHA-256 is part of every summary.
    Arguments as for :class:`TextDataModule`.
    """

    def read(self) -> tuple[str, str]:
        return f"pydoc_data.topics of Python {platform.python_version()}", "\n".join(topics[k] for k in sorted(topics))
