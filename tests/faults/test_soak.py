"""Ten runs of all kinds, disturbed at random; :mod:`tests.faults.soak` runs more of them."""

import pytest

from tests.faults import soak

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    """What a kind of run comes to that nothing disturbs."""
    known = {}

    def run(kind):
        if kind not in known:
            known[kind] = soak.run_through(tmp_path_factory.mktemp("through"), kind)
        return known[kind]

    return run


@pytest.mark.parametrize("seed", range(10))
def test_a_run_that_is_disturbed_ends_as_one_that_is_not(tmp_path, through, seed):
    soak.check(soak.run_disturbed(tmp_path, seed), through(soak.plan(seed)[0]))
