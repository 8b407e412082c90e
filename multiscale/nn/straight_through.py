"""Hard decisions that pass gradient, each made on its own: for tensors of any shape."""

from jaxtyping import Float
from torch import Tensor


def hard_sigmoid(x: Float[Tensor, "*shape"], slope: Float[Tensor, ""]) -> Float[Tensor, "*shape"]:
    """max(0, min(1, (a x + 1) / 2)) with slope a (Chung et al. 2016, Eq. 7)."""
    return ((slope * x + 1) / 2).clamp(0, 1)


def clip(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """max(0, min(1, x)) with the gradient of x, also where it is clipped."""
    return straight_through(x.clamp(0, 1), x)


def straight_through(hard: Float[Tensor, "*shape"], soft: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The value of ``hard``, exactly, with the gradient of ``soft`` (Bengio et al. 2013)."""
    return hard.detach() + (soft - soft.detach())


def step_boundary(
    soft: Float[Tensor, "*shape"], threshold: Float[Tensor, "*shape"] | float = 0.5
) -> Float[Tensor, "*shape"]:
    """1 where soft > threshold, strictly, else 0; gradient of ``soft``."""
    return straight_through((soft > threshold).to(soft.dtype), soft)


def scale_gradient(x: Float[Tensor, "*shape"], share: float) -> Float[Tensor, "*shape"]:
    """The value of x, exactly, with ``share`` of its gradient."""
    return straight_through(x, share * x) if share else x.detach()
