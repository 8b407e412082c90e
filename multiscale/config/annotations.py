"""Whether a value of a config is of the kind that an annotation asks for."""

import ast
from typing import Any

from omegaconf import DictConfig, ListConfig

from multiscale.checks import InvalidInput, nearest

WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word", "None": "null"}
LISTS = {"list", "List", "Sequence", "tuple", "Tuple", "Iterable"}
MAPPINGS = {"dict", "Dict", "Mapping"}
UNIONS = {"Optional", "Union"}
NEVER = {"Tensor"}  # no value of a config is one


class _Open(Exception):
    """The annotation may mean anything."""


def check_kind(where: str, value: Any, annotation: ast.expr | None, nullable: bool = False) -> None:
    """Raise :class:`InvalidInput` unless ``value`` fits.

    An annotation of which the meaning is not plain takes anything; ``nullable`` lets null pass whatever it says.
    """
    if annotation is None or (nullable and value is None) or (isinstance(value, DictConfig) and "_target_" in value):
        return
    try:
        kinds = _kinds(annotation)
    except _Open:
        return
    kinds = kinds | {"None": None} if nullable else kinds
    if any(_fits(value, kind, words) for kind, words in kinds.items()):
        return
    literals = [str(word) for words in kinds.values() for word in words or ()]
    told = [f"one of {', '.join(literals)}"] if literals else []
    told += [WORDS.get(kind, f"a {kind}") for kind in kinds if kind != "Literal"]
    raise InvalidInput(f"{where} must be {' or '.join(told)}; got {value!r}.{nearest(str(value), literals)}")


def _kinds(annotation: ast.expr) -> dict[str, tuple[Any, ...] | None]:
    """What fits, by name: the words of ``Literal``, None for others."""
    match annotation:
        case ast.Constant(value=None):
            return {"None": None}
        case ast.Constant(value=str() as text):
            try:
                return _kinds(ast.parse(text, mode="eval").body)
            except SyntaxError as error:
                raise _Open from error
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _kinds(left) | _kinds(right)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _subscript(name, inner)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _named(name)
    raise _Open


def _named(name: str) -> dict[str, tuple[Any, ...] | None]:
    if name in WORDS:
        return {name: None}
    if name in LISTS:
        return {"list": None}
    if name in MAPPINGS:
        return {"mapping": None}
    if name in NEVER:
        return {}
    raise _Open


def _subscript(name: str, inner: ast.expr) -> dict[str, tuple[Any, ...] | None]:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name in UNIONS:
        kinds = {"None": None} if name == "Optional" else {}
        return {key: value for part in parts for key, value in _kinds(part).items()} | kinds
    if name == "Literal":
        return {"Literal": tuple(part.value for part in parts if isinstance(part, ast.Constant))}
    return _named(name)


def _fits(value: Any, kind: str, words: tuple[Any, ...] | None) -> bool:
    match kind:
        case "None":
            return value is None
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "str":
            return isinstance(value, str)
        case "Literal":
            return value in (words or ())
        case "list":
            return isinstance(value, ListConfig | list | tuple)
    return isinstance(value, DictConfig | dict)
