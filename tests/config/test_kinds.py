"""A value is held to the annotation of the argument that it is for."""

import inspect
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from torch import Tensor

from multiscale.config.kinds import find_wrong_kind


@pytest.mark.parametrize(
    ("hint", "fitting", "others"),
    [
        (int, [3, -1], [True, 1.5, "3", None]),
        (float, [3, 1.5], [True, "x", None]),
        (bool, [True], [1, "yes", None]),
        (str | None, ["x", None], [3, True]),
        (typing.Optional[int], [3, None], [1.5]),  # noqa: UP045
        (typing.Union[int, "str"], [3, "x"], [1.5, None]),
        (typing.Literal["a", "b"] | int, ["a", 3], ["c", None]),
        (Sequence[int] | int, [[1], 3], ["x", {"a": 1}]),
        (dict[str, int], [{"a": 1}], [[1], 3]),
        (Mapping[str, int | None], [{"a": None}], [3]),
        (tuple[int, ...], [[1, 2], []], [3, ["x"]]),
        (float | Tensor, [1.5], ["x"]),
        (Path | int, ["x", 1], [1.5]),
    ],
)
def test_a_value_fits_its_annotation_or_is_refused(hint, fitting, others):
    def takes(size): ...

    takes.__annotations__["size"] = hint
    parameter = inspect.signature(takes).parameters["size"]
    for value in fitting:
        assert find_wrong_kind("size", value, takes, parameter) is None
    for value in others:
        wrong = find_wrong_kind("size", value, takes, parameter)
        assert wrong
        assert "size" in str(wrong.error)
        assert "must be" in str(wrong.error)
        if value is None:
            assert find_wrong_kind("size", None, takes, parameter.replace(default=None)) is None
