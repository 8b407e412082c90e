"""The lowest version that pyproject.toml allows of every dependency, as constraints for pip: ``name==version`` a line.

Torch is left out, and so is the newest that is allowed: an old build of it is a gigabyte to fetch, and Lightning tests
the range by itself.
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def lowest() -> list[str]:
    """A constraint for each dependency; raises :class:`ValueError` for one without a lower bound."""
    needs = [Requirement(text) for text in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]]
    constraints = []
    for need in needs:
        bounds = [bound.version for bound in need.specifier if bound.operator == ">="]
        if len(bounds) != 1:
            raise ValueError(f"{need} must have one lower bound, as >=.")
        if need.name != "torch":
            constraints.append(f"{need.name}=={bounds[0]}")
    return constraints


if __name__ == "__main__":
    print("\n".join(lowest()))
