"""Tests of the package, whose annotated shapes are checked while they run."""

from jaxtyping import install_import_hook

from tests.helpers import shapes

install_import_hook("multiscale", f"{shapes.__name__}.{shapes.check.__name__}")
