"""The shapes that annotations tell, checked while tests run.

A checker of types for :func:`jaxtyping.install_import_hook` that looks at shapes alone, and at every item of what holds
them: general checkers draw one item of a sequence, and would refuse what the package refuses by its own errors.
"""

from collections.abc import Callable, Collection, Mapping
from functools import wraps
from inspect import Parameter, isclass, signature
from types import UnionType
from typing import Any, Union, get_args, get_origin

from jaxtyping import AbstractArray


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, raising TypeError where an argument or what it returns has not the shape of its annotation."""
    hints = {name: hint for name, hint in function.__annotations__.items() if tells_shape(hint)}
    if not hints:
        return function
    called = signature(function)
    for name in hints.keys() & called.parameters.keys():
        if called.parameters[name].kind is Parameter.VAR_POSITIONAL:
            hints[name] = tuple[hints[name], ...]

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = called.bind(*args, **kwargs).arguments
        returned = function(*args, **kwargs)
        for name, value in {**given, "return": returned}.items():
            if name in hints and not fits(value, hints[name]):
                raise TypeError(f"{name} must be {hints[name]}; got {value!r}.")
        return returned

    return checked


def tells_shape(hint: Any) -> bool:
    """Whether an array annotated by jaxtyping is in ``hint``, or in a field of the named tuple that it is."""
    return _is_array(hint) or any(map(tells_shape, (*get_args(hint), *_fields(hint).values())))


def fits(value: Any, hint: Any) -> bool:
    """Whether every array of ``value`` has the shape, and its numbers the kind, that ``hint`` tells."""
    if _is_array(hint):
        return isinstance(value, hint)
    if fields := _fields(hint):
        return isinstance(value, hint) and all(fits(getattr(value, name), part) for name, part in fields.items())
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is tuple and parts[-1] is not Ellipsis:
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(fits, value, parts))
    if isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, origin) and all(fits(item, parts[1]) for item in value.values())
    if isclass(origin) and issubclass(origin, Collection):
        return isinstance(value, origin) and all(fits(item, parts[0]) for item in value)
    return not isclass(hint) or isinstance(value, hint)


def _is_array(hint: Any) -> bool:
    return isclass(hint) and issubclass(hint, AbstractArray)


def _fields(hint: Any) -> dict[str, Any]:
    """The annotations of a named tuple; none of what is none."""
    return hint.__annotations__ if isclass(hint) and hasattr(hint, "_fields") else {}
