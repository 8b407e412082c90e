"""Lightning and W&B imported without what they would load for uses that no run here has, which takes a second."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError
from types import ModuleType
from typing import Any


def import_lightning() -> None:
    """Import Lightning, and torchmetrics in it without matplotlib and scipy.signal.

    They are for plots that metrics draw of themselves, which then say that they need matplotlib, and for a patch of a
    name that scipy once had. Both are there for whoever imports them afterwards; whatever is loaded already stays.
    """
    if "torchmetrics" in sys.modules:
        return
    hidden = _NotInstalled("matplotlib")
    sys.meta_path.insert(0, hidden)
    try:
        with stand_in("scipy.signal", hamming=None):
            import torchmetrics  # noqa: F401
    finally:
        sys.meta_path.remove(hidden)
    import pytorch_lightning  # noqa: F401


@contextmanager
def stand_in(name: str, **contents: Any) -> Iterator[None]:
    """While it lasts, the module ``name`` is one of these ``contents``, unless the real one is loaded."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(contents)
    try:
        yield
    finally:
        del sys.modules[name]


class _NotInstalled(DistributionFinder):
    """First in ``sys.meta_path``, it has one package be as if it were not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def find_distributions(
        self,
        context: DistributionFinder.Context = DistributionFinder.Context(),  # noqa: B008
    ) -> Iterable[Distribution]:
        if context.name == self.package:
            raise PackageNotFoundError(self.package)
        return ()
