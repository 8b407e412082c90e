"""Docstrings are plain text with names in backticks; what Markdown would take for markup of its own is kept from it."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([^`]+)`")
JOINER = "\u2060"  # is not seen, and parts w[l][k], which Markdown takes for a link


class PlainText(griffe.Extension):
    """Show roles of reStructuredText by their names, and two indices as two indices."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class and function once it is read."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value).replace("][", f"]{JOINER}[")
