"""Echo state network: reservoirs of random weights that stay (Jaeger 2001, GMD report 148).

| symbol    | variable  | shape                                                                              |
|-----------|-----------|------------------------------------------------------------------------------------|
| h_t^l     | state[l]  | [B, H_l], state of reservoir l                                                     |
| W_in^l    | input     | [H_l, H_{l-1}], a buffer; H_0 = D                                                  |
| W^l       | recurrent | [H_l, H_l], a buffer, mostly zero                                                  |
| a^l       | leak      | share of a reservoir's state that is rewritten at every step                       |
| rho       | radius    | largest absolute eigenvalue of W                                                   |
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, StepTrace, tensors
from multiscale.checks import InvalidInput, in_range, positive_int, stack_sizes


class EchoStateNetwork(Backbone):
    """Reservoirs, each reading the states of the one below; all are levels, and nothing in them is trained.

    h_t^l = (1 - a) h_{t-1}^l + a tanh(W_in h_t^{l-1} + W h_{t-1}^l) with h^0 = x: Jaeger's Eq. 1.2 without feedback of
    the output; leaky units of Jaeger, Lukosevicius, Popovici, Siewert 2007 (Neural Networks 20(3)), whose W carries the
    radius also where a < 1; stacked as in Gallicchio, Micheli, Pedrelli 2017 (Neurocomputing 268), without its bias.
    The readout is whatever head it gets, trained by gradient, which also passes through the reservoirs to an embedding
    before them; the sources' linear regression is ``callbacks=ridge``.

    Args:
        input_size: D, units of the input.
        hidden_size: H_l, one number for all reservoirs or one for each, from the input upwards.
        num_layers: L; by default as many as ``hidden_size`` lists, or 1.
        spectral_radius: rho, to which W is scaled; below 1 the state in practice forgets where it began.
        leak: a in (0, 1], one number or one for each reservoir; 1 / a is about the steps that it remembers for.
        density: share of other units that a unit reads, in (0, 1]; at least one, so that no W is without a cycle.
        input_scale: W_in is uniform in [-input_scale, input_scale] / sqrt(H_{l-1}).
        kernel: ``auto``, ``hoisted`` (reservoir after reservoir, W_in for all steps at once) or ``reference``.

    Raises:
        InvalidInput: for sizes below 1, numbers out of range, or an unknown kernel.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int | None = None,
        spectral_radius: float = 0.9,
        leak: float | Sequence[float] = 1.0,
        density: float = 0.1,
        input_scale: float = 1.0,
        kernel: str = "auto",
    ) -> None:
        level_sizes = stack_sizes("hidden_size", hidden_size, "num_layers", num_layers, 1)
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        self.leaks = leaks(leak, len(level_sizes))
        in_range("spectral_radius", spectral_radius, 0)
        in_range("density", density, 0, 1, open_low=True)
        in_range("input_scale", input_scale, 0)
        below = (input_size, *level_sizes[:-1])
        self.reservoirs = nn.ModuleList(
            Reservoir(d, n, spectral_radius, density, input_scale) for d, n in zip(below, level_sizes, strict=True)
        )

    @property
    def level_names(self) -> tuple[str, ...]:
        return tuple(f"reservoir {l}, leak {a:.3g}" for l, a in enumerate(self.leaks, 1))

    def measures(self) -> dict[str, Tensor]:
        """Period: 1 / a of each reservoir, in steps."""
        return {"period": 1 / torch.tensor(self.leaks, device=next(self.buffers()).device)}

    def products(self) -> tuple[Product, ...]:
        """W_in and what is not zero of W, at every step; the kernels here multiply with the zeros too."""
        reads = [cast(Reservoir, part).reads for part in self.reservoirs]
        amounts = [
            len(weight) * (weight_in.size(1) + n) for (weight_in, weight), n in zip(self.weights(), reads, strict=True)
        ]
        return tuple(Product(level, amount) for level, amount in enumerate(amounts))

    def weights(self) -> list[tuple[Tensor, Tensor]]:
        """W_in and W of each reservoir."""
        return [(part.get_buffer("input"), part.get_buffer("recurrent")) for part in self.reservoirs]

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """L tensors of zeros."""
        return tuple(torch.zeros(batch_size, n, device=device, dtype=dtype) for n in self.level_sizes)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """The equation of the class, from the input upwards."""
        below, levels = x_t, []
        for (weight_in, weight), leak, h in zip(self.weights(), self.leaks, tensors(state), strict=True):
            below = advance(F.linear(below, weight_in), h, weight, leak)
            levels.append(below)
        return tuple(levels), tuple(levels), StepTrace(self._update(levels[0]))

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {"hoisted": None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        below, levels, after = x, [], []
        for (weight_in, weight), leak, h in zip(self.weights(), self.leaks, tensors(state), strict=True):
            below, last = run(F.linear(below, weight_in), h, weight, leak)
            levels.append(below)
            after.append(last)
        return tuple(levels), tuple(after), StepTrace(self._update(below)) if trace else None

    def _update(self, h: Float[Tensor, "B *T _"]) -> Float[Tensor, "B *T L"]:
        return h.new_tensor(self.leaks).expand(*h.shape[:-1], -1)


class Reservoir(nn.Module):
    """Random weights, of torch's generator, as buffers: part of the ``state_dict``, and not trained."""

    def __init__(self, input_size: int, units: int, radius: float, density: float, input_scale: float) -> None:
        super().__init__()
        spread = input_scale * input_size**-0.5
        self.register_buffer("input", torch.empty(units, input_size).uniform_(-spread, spread))
        self.reads = max(1, round(density * units))
        score = torch.rand(units, units)
        linked = score <= score.kthvalue(self.reads, 1, keepdim=True).values
        drawn = torch.empty(units, units).uniform_(-1, 1) * linked
        self.register_buffer("recurrent", drawn * (radius / spectral_radius(drawn)))


def advance(u: Tensor, h: Tensor, recurrent: Tensor, leak: float) -> Tensor:
    """A reservoir's next state [B, H] after u = W_in h_t^{l-1}."""
    return (1 - leak) * h + leak * torch.tanh(u + F.linear(h, recurrent))


def run(u: Float[Tensor, "B T H"], h: Float[Tensor, "B H"], recurrent: Tensor, leak: float) -> tuple[Tensor, Tensor]:
    """A reservoir's states [B, T, H] and its last."""
    states = []
    for u_t in u.unbind(1):
        h = advance(u_t, h, recurrent, leak)
        states.append(h)
    return torch.stack(states, 1), h


def spectral_radius(weight: Float[Tensor, "H H"]) -> float:
    """The largest absolute eigenvalue, in float64; of a matrix without values, which is there to be counted, 1."""
    if weight.is_meta:
        return 1.0
    return float(torch.linalg.eigvals(weight.double()).abs().max())


def leaks(leak: float | Sequence[float], count: int) -> tuple[float, ...]:
    """a of each of ``count`` reservoirs; raises :class:`InvalidInput` unless all are above 0 and at most 1."""
    if isinstance(leak, str) or not isinstance(leak, Sequence):
        return (in_range("leak", leak, 0, 1, open_low=True),) * count
    if len(leak) != count:
        raise InvalidInput(f"leak must be one number or {count} of them; got {list(leak)!r}.")
    return tuple(in_range(f"leak[{i}]", a, 0, 1, open_low=True) for i, a in enumerate(leak))
