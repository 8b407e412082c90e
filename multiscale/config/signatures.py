"""What a class or function takes, read from its source: without importing it, which for some takes seconds."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from hydra.utils import get_object

from multiscale.checks import InvalidInput, nearest

Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Argument:
    """One argument: its annotation, if it has one, and whether it has no default."""

    annotation: ast.expr | None
    required: bool
    nullable: bool = False  # its default is None, whatever its annotation says


@dataclass(frozen=True)
class Signature:
    """The arguments that may be given by name; ``anything`` if all names are taken."""

    arguments: dict[str, Argument]
    anything: bool = False


class Unreadable(Exception):
    """The source does not tell, as for what is made while a module is imported."""


@cache
def signature(target: str) -> Signature:
    """What the class or function of this dotted name takes; it is imported only where its source does not tell.

    Raises:
        InvalidInput: if there is none of this name.
    """
    try:
        return _read(*_definition(target))
    except (Unreadable, OSError, SyntaxError, RecursionError):
        return _inspected(target)


def _inspected(target: str) -> Signature:
    try:
        parameters = inspect.signature(get_object(target)).parameters.values()
    except Exception as error:  # what a module does while it is imported is its own affair
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InvalidInput(f"_target_ must name a class or function; got {target!r}: {reason[0]}") from error
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    arguments = {p.name: Argument(_expression(p.annotation), p.default is p.empty, p.default is None) for p in named}
    return Signature(arguments, any(p.kind is p.VAR_KEYWORD for p in parameters))


def _expression(annotation: Any) -> ast.expr | None:
    """An annotation as it would be written; None if there is none or it cannot be."""
    if annotation is inspect.Parameter.empty:
        return None
    plain = isinstance(annotation, type) and not get_args(annotation)
    try:
        return ast.parse(annotation.__name__ if plain else str(annotation), mode="eval").body
    except SyntaxError:
        return None


def _definition(target: str) -> tuple[str, Definition]:
    """(module, definition) of a dotted name, through the imports of packages that pass it on."""
    if target.count(".") == 0:
        raise InvalidInput(f"_target_ must be of the form package.module.Class; got {target!r}.")
    module, _, name = target.rpartition(".")
    if _file(module) is None:
        if find_spec(target.partition(".")[0]) is None:
            raise InvalidInput(f"_target_ must name a class or function; got {target!r}, whose package is not found.")
        raise Unreadable(target)  # a method, or a module that a package makes
    return _find(module, name)


@cache
def _file(module: str) -> Path | None:
    """The source of a module; its packages are walked by hand, as ``find_spec`` would import them."""
    top, *parts = module.split(".")
    try:
        spec = find_spec(top)
    except (ValueError, ImportError):
        return None
    for part in parts:
        places = spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(part, list(places)) if places else None
    origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Those of a module's top level, also under ``if`` and ``try``."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            yield from _statements([*statement.body, *statement.orelse])


def _find(module: str, name: str) -> tuple[str, Definition]:
    path = _file(module)
    if path is None:
        raise Unreadable(module)
    names, open_ended = [], False
    for statement in _statements(_tree(path).body):
        if isinstance(statement, Definition):
            if statement.name == name:
                return module, statement
            names.append(statement.name)
            open_ended = open_ended or statement.name == "__getattr__"
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                open_ended = open_ended or alias.name == "*"
                if (alias.asname or alias.name) == name:
                    return _find(_absolute(module, path, statement), alias.name)
                names.append(alias.asname or alias.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.Import):
            # What an assignment makes is only known by running it.
            open_ended = open_ended or any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(statement))
    if open_ended or _file(f"{module}.{name}"):
        raise Unreadable(f"{module}.{name}")
    raise InvalidInput(f"_target_ must be in {module}, which has no {name!r}.{nearest(name, names)}")


def _absolute(module: str, path: Path, statement: ast.ImportFrom) -> str:
    """The module that an import names, which may be relative."""
    if not statement.level:
        return statement.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - statement.level + (path.name == "__init__.py")]
    return ".".join([*parts, *([statement.module] if statement.module else [])])


def _read(module: str, definition: Definition) -> Signature:
    if isinstance(definition, ast.FunctionDef):
        return _of_function(definition, bound=False)
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef) and statement.name in ("__init__", "__new__"):
            return _of_function(statement, bound=True)
    if definition.decorator_list or definition.keywords:
        raise Unreadable(definition.name)  # a dataclass, for one
    for base in definition.bases:
        found = _read(*_base(module, base))
        if found.arguments or found.anything:
            return found
    return Signature({})


def _base(module: str, base: ast.expr) -> tuple[str, Definition]:
    if isinstance(base, ast.Name):
        return _find(module, base.id)
    path = _file(module)
    if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name) and path:
        for statement in _statements(_tree(path).body):
            for alias in statement.names if isinstance(statement, ast.Import) else ():
                if (alias.asname or alias.name) == base.value.id:
                    return _find(alias.name, base.attr)
    raise Unreadable(ast.unparse(base))


def _of_function(function: ast.FunctionDef, bound: bool) -> Signature:
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    pairs = [*zip(positional, [*defaults, *given.defaults], strict=True)][1 if bound else 0 :]
    pairs += zip(given.kwonlyargs, given.kw_defaults, strict=True)
    arguments = {
        a.arg: Argument(a.annotation, default is None, isinstance(default, ast.Constant) and default.value is None)
        for a, default in pairs
    }
    return Signature(arguments, given.kwarg is not None)
