"""Import every module of the package where the packages named on the command line cannot be imported.

``python tests/helpers/import_all.py [package]...`` prints, one a line, what could not be imported: ``module: why``.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pkgutil import walk_packages
from types import ModuleType


class Refuse(MetaPathFinder):
    """A finder that refuses some packages, as if they were not installed."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = set(packages)

    def find_spec(self, name: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def main(packages: Sequence[str]) -> None:
    """Print the modules that fail."""
    sys.meta_path.insert(0, Refuse(packages))
    import multiscale

    for module in walk_packages(multiscale.__path__, "multiscale."):
        try:
            import_module(module.name)
        except ImportError as error:
            print(f"{module.name}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
