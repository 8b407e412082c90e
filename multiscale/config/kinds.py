"""Whether a value of a config is of the kind that its class annotates."""

import inspect
import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from multiscale.checks import InvalidInput, nearest

WORDS = {  # what pydantic misses, by its name for that
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a word",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "iterable_type": "a list",
    "dict_type": "a mapping",
    "path_type": "a word",
}
PLAIN_MODULES = ("builtins", "collections.abc", "typing")
ABSTRACT = {"Sequence": "a list", "Mapping": "a mapping", "Tensor": ""}  # classes by which pydantic names a kind


class WrongKind(NamedTuple):
    """What is wrong; ``at_top`` if the value itself is of a wrong kind, and not something in it."""

    error: InvalidInput
    at_top: bool


def find_wrong_kind(where: str, value: Any, target: Any, parameter: inspect.Parameter) -> WrongKind | None:
    """A value that does not fit the annotation of its parameter of ``target``; None if it does, or nothing is said.

    Null fits wherever it is the default; what is to be built, a mapping with ``_target_``, is not looked at.
    """
    hint = read_hints(target).get(parameter.name)
    if hint is None or (value is None and parameter.default is None) or _is_built(value):
        return None
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        return _describe(where, value, hint, error.errors(), parameter.default is None)
    except (PydanticUserError, TypeError, NameError):  # an annotation that is no type, or a value that is no JSON
        return None
    return None


def _is_built(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (isinstance(value, dict) and "_target_" in value) or any(map(_is_built, inner))


def read_hints(target: Any) -> dict[str, Any]:
    """The annotation of each argument of a class or function; empty if they cannot be read."""
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:  # of what is only imported to check types
        return {}


def _describe(where: str, value: Any, hint: Any, errors: list[ErrorDetails], nullable: bool) -> WrongKind | None:
    inside = [error for error in errors if any(isinstance(step, int) for step in error["loc"])]
    if inside:
        first = inside[0]
        place = "".join(f"[{step}]" for step in first["loc"] if isinstance(step, int))
        word = _word(first) or "of another kind"
        return WrongKind(InvalidInput(f"{where}{place} must be {word}; got {first['input']!r}."), at_top=False)
    literals = list(dict.fromkeys(read_literals(hint)))
    kinds = [f"one of {', '.join(literals)}"] if literals else []
    kinds += dict.fromkeys(word for error in errors if (word := _word(error)))
    if not kinds:
        return None
    kinds += ["null"] if nullable or type(None) in get_args(hint) else []
    told = f"{where} must be {' or '.join(kinds)}; got {value!r}.{nearest(str(value), literals)}"
    return WrongKind(InvalidInput(told), at_top=True)


def _word(error: ErrorDetails) -> str:
    kind = str(error.get("ctx", {}).get("class", ""))
    return WORDS.get(error["type"], ABSTRACT.get(kind, f"a {kind}" if kind else ""))


def read_literals(hint: Any) -> Iterator[str]:
    """The words of every ``Literal`` in an annotation."""
    if get_origin(hint) is Literal:
        yield from map(str, get_args(hint))
    else:
        for inner in get_args(hint):
            yield from read_literals(inner)


def read_classes(hint: Any) -> Iterator[type]:
    """The classes of objects in an annotation, but for those of plain values."""
    if isinstance(hint, type) and hint.__module__ not in PLAIN_MODULES:
        yield hint
    for inner in get_args(hint):
        yield from read_classes(inner)
