"""A finished run to damage."""

import shutil

import pytest

from tests.faults.breaking import run


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    """The folder of a small run of the module's ``WORDS``, finished."""
    place = tmp_path_factory.mktemp("made")
    run(place, *request.module.WORDS)
    return place


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"
