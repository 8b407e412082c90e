"""Tests of the package, whose annotated shapes are checked while they run."""

import jaxtyping

from tests.helpers import shapes


def only(*, typechecker):
    """In place of ``jaxtyping.jaxtyped``: what the hook puts on every function is our checker alone."""
    return typechecker


jaxtyping.jaxtyped = only
jaxtyping.install_import_hook("multiscale", f"{shapes.__name__}.{shapes.check.__name__}")
