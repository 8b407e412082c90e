"""Small command lines of the form key=value, with what is wrong in one line and exit code 2."""

import gc
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from multiscale.checks import InvalidInput, nearest

USER_ERROR = 2
INTERRUPTED = 130
USUAL = gc.get_threshold()
SELDOM = 1_000_000  # objects made between two looks for garbage; the imports of a run make half as many


def collect_seldom() -> None:
    """Look for garbage seldom: imports make objects by the hundred thousand, and as good as all of them stay."""
    gc.set_threshold(SELDOM, *USUAL[1:])


def collect_as_usual() -> None:
    """Look for garbage as Python does, which a training needs: graphs of tensors may be rings."""
    gc.set_threshold(*USUAL)


def arguments(words: list[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """What ``words`` of the form key=value say, over the defaults ``known``, whose types they take.

    A default that is a type and no value stands for an argument that must be given.

    Raises:
        InvalidInput: for a word without =, a key that is not known, a value of another type, or one that is missing.
    """
    given: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise InvalidInput(f"arguments must be of the form key=value; got {word!r}.")
        if key not in known:
            raise InvalidInput(f"{key} does not exist; there is {', '.join(known)}.{nearest(key, known)}")
        default = known[key]
        given[key] = _converted(key, text, default if isinstance(default, type) else type(default))
    missing = [key for key, default in known.items() if isinstance(default, type) and key not in given]
    if missing:
        raise InvalidInput(f"{', '.join(missing)} must be given, as {' '.join(f'{key}=...' for key in missing)}")
    return {**known, **given}


def _converted(key: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise InvalidInput(f"{key} must be true or false; got {text!r}.")
        return text.lower() == "true"
    if kind is tuple:
        return tuple(filter(None, (part.strip() for part in text.strip("[]").split(","))))
    try:
        return kind(text)
    except ValueError as error:
        name = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise InvalidInput(f"{key} must be {name}; got {text!r}.") from error


def command(work: Callable[[list[str]], None], help_text: str) -> None:
    """Run ``work`` on the words of the command line; ``--help`` prints how it is called."""
    collect_seldom()
    words = sys.argv[1:]
    try:
        if {"--help", "-h"} & set(words):
            print(help_text.strip())
        else:
            work(words)
        sys.stdout.flush()
    except InvalidInput as error:
        fail(error)
    except BrokenPipeError:
        print_no_more()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def print_no_more() -> None:
    """Whoever read this process's output, as ``head`` does, has seen enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(error: InvalidInput) -> NoReturn:
    """End with one message and exit code 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(USER_ERROR)
