"""HTML put together so that text from outside cannot become markup: what is not :class:`Html` is escaped."""

from html import escape

VOID = {"meta", "input"}  # elements without content


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(element: str, /, *children: str, **attributes: str | bool | None) -> Html:
    """An element; a trailing underscore of an attribute is dropped and others become hyphens, ``data_x`` is ``data-x``.

    An attribute that is True stands without a value; one that is False or None is left out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if element in VOID:
        return Html(f"<{element}{written}>")
    return Html(f"<{element}{written}>{joined(*children)}</{element}>")


def joined(*parts: str) -> Html:
    """The parts one after the other, those that are no markup escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))
