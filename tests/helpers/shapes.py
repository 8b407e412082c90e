"""The shapes that annotations tell, checked while tests run, at every call.

:func:`check` stands where :func:`jaxtyping.install_import_hook` puts its own decorator on every function. It looks at
shapes alone, and at every item of what holds them: general checkers draw one item of a sequence, and would refuse what
the package refuses by its own errors. It is quick where steps are many: a function that tells no shape stays as it is,
hints are read once, and each is looked at once a call, where jaxtyping's decorator binds the arguments of any function
three times.
"""

from collections.abc import Callable, Collection, Mapping
from functools import cache, wraps
from inspect import Parameter, isclass, signature
from types import UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin

from jaxtyping import AbstractArray, TypeCheckError
from jaxtyping._storage import pop_shape_memo, push_shape_memo

Fits: TypeAlias = Callable[[Any], bool]


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, raising TypeCheckError where an argument or what it returns has not the shape of its annotation."""
    fits = {} if isclass(function) else {k: fitting(h) for k, h in function.__annotations__.items() if tells_shape(h)}
    if not fits:
        return function
    hints, place = function.__annotations__, f"{function.__module__}.{function.__qualname__}"
    parameters = signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not Parameter.empty}
    ordered = [p.name for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    more = next((p.name for p in parameters if p.kind is Parameter.VAR_POSITIONAL), "")
    if more in fits:
        fits[more] = fitting(tuple[hints[more], ...])

    def refuse(what: str, name: str, value: Any) -> None:
        raise TypeCheckError(f"checking the {what} of {place}: {name} must be {hints[name]}; got {value!r}.")

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(ordered, args, strict=False)), **kwargs}
        if more:
            given[more] = args[len(ordered) :]
        push_shape_memo({**defaults, **given})  # a letter is one number until it is popped
        try:
            for name, value in given.items():
                if name in fits and not fits[name](value):
                    refuse("parameters", name, value)
            returned = function(*args, **kwargs)
            if "return" in fits and not fits["return"](returned):
                refuse("return value", "return", returned)
            return returned
        finally:
            pop_shape_memo()

    return checked


@cache
def tells_shape(hint: Any) -> bool:
    """Whether an array annotated by jaxtyping is in ``hint``, or in a field of the named tuple that it is."""
    return _is_array(hint) or any(map(tells_shape, (*_parts(hint), *_fields(hint).values())))


@cache
def fitting(hint: Any) -> Fits:
    """What tells whether every array of a value has the shape, and its numbers the kind, that ``hint`` tells."""
    if _is_array(hint):
        return lambda value: isinstance(value, hint)
    if fields := _fields(hint):
        inside = {name: fitting(part) for name, part in fields.items()}
        return lambda value: (
            isinstance(value, hint) and all(fits(getattr(value, name)) for name, fits in inside.items())
        )
    origin, parts = get_origin(hint), [fitting(part) for part in _parts(hint)]
    if origin in (Union, UnionType):
        return lambda value: any(fits(value) for fits in parts)
    if origin is tuple and get_args(hint)[-1] is not Ellipsis:
        return lambda value: (
            isinstance(value, tuple)
            and len(value) == len(parts)
            and all(fits(item) for fits, item in zip(parts, value, strict=True))
        )
    if isclass(origin) and issubclass(origin, Mapping):
        return lambda value: isinstance(value, origin) and all(map(parts[1], value.values()))
    if isclass(origin) and issubclass(origin, Collection):
        return lambda value: isinstance(value, origin) and all(map(parts[0], value))
    return lambda value: not isclass(hint) or isinstance(value, hint)


def _is_array(hint: Any) -> bool:
    return isclass(hint) and issubclass(hint, AbstractArray)


def _parts(hint: Any) -> tuple[Any, ...]:
    """The types that ``hint`` is made of, which what else stands in its brackets is not."""
    return tuple(part for part in get_args(hint) if not isinstance(part, list))


def _fields(hint: Any) -> dict[str, Any]:
    """The annotations of a named tuple; none of what is none."""
    return hint.__annotations__ if isclass(hint) and hasattr(hint, "_fields") else {}
