"""Stacked recurrences that are linear in their own state: minGRU and HGRN.

minGRU: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, arXiv 2410.01201. HGRN: Qin, Yang, Zhong 2023, arXiv 2311.04823.

| symbol     | variable            | shape                                                             |
|------------|---------------------|-------------------------------------------------------------------|
| h_t^l      | state[l]            | [B, H_l], state of layer l                                        |
| o_t^l      | levels[l]           | [B, H_l], output of layer l: h_t^l, or what the output gate lets out |
| f_t^l      | forget              | [B, H_l], forget gate; minGRU's z_t is 1 - f_t                    |
| W^l, b^l   | layer.weight, bias  | [G H_l, H_{l-1}], [G H_l]: forget gate, candidate, output gate    |
| gamma^l    | bounds()[l]         | [H], lower bound of the forget gate of layer l                    |
| Gamma      | floors              | [L, H], what the bounds are made of                               |
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, StepTrace, tensors
from multiscale.checks import InvalidInput, flag, in_range, one_of, positive_int, stack_sizes
from multiscale.nn.scan import scan
from multiscale.nn.zoneout import kept_share

Recurrence: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(forget, what is added, state before) -> states, at one step or, by :func:`scan`, at all."""


def positive(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x + 1/2 where x >= 0, else sigma(x): the g of minGRU's log-space form, continuous and above 0."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


CANDIDATES: dict[str, Callable[[Tensor], Tensor]] = {"linear": lambda x: x, "positive": positive, "silu": F.silu}


class GatedLinearRNN(Backbone):
    """Layers whose gates and candidate read the layer below alone, so that each is linear in its state; all are levels.

    h_t = f_t h_{t-1} + (1 - f_t) c_t with c_t = candidate(W_c x_t + b_c) and f_t = sigma(W_f x_t + b_f), or with floors
    f_t = gamma + (1 - gamma) sigma(W_f x_t + b_f); o_t = h_t, or with an output gate LayerNorm(sigma(W_g x_t + b_g)
    h_t). x_t is the o_t of the layer below. The update of a level is the mean of 1 - f_t over its units.

    minGRU is ``linear`` (its Section 3.1.3), or ``positive`` for the candidate of its log-space form, whose logarithms
    are not needed here. HGRN is ``silu`` with floors and output gate, in the real-valued form that its authors
    published as hgru1_real: the complex states of its main form are left out. So are of both papers the blocks
    around the recurrence, that is convolutions, gated or plain linear layers, and residual connections: these are the
    recurrences alone, one on the other. HGRN's map of o_t is one with that of whatever reads it.

    Args:
        input_size: D, units of the input.
        hidden_size: H_l, one number for all layers or one for each, from the input upwards; with floors one number.
        num_layers: L; by default as many as ``hidden_size`` lists, or 3.
        candidate: ``linear``, ``positive`` or ``silu``.
        floors: learn bounds gamma^l from which the forget gates of layer l cannot fall: sums, over the layers from the
            second to l, of a softmax over all layers of Gamma, which starts at 0. So gamma^1 = 0, and gamma^l grows
            with l, from (l - 1) / L at the start.
        output_gate: let out LayerNorm(sigma(W_g x_t + b_g) h_t) in place of h_t.
        zoneout: probability with which a unit keeps its h (Krueger et al. 2016, arXiv 1606.01305; in neither paper),
            drawn as a share m of 0 or 1; in evaluation m is that probability. The recurrence stays linear,
            h_t = (m + (1 - m) f_t) h_{t-1} + (1 - m)(1 - f_t) c_t. The kernels draw in different orders.
        kernel: ``auto``, ``scan`` (all steps of a layer at once) or ``reference``.

    Raises:
        InvalidInput: for sizes below 1, an unknown candidate or kernel, floors for layers of unequal size, a rate
            outside [0, 1], or an output gate, whose norm is over the units of a layer, on a single unit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int | None = None,
        candidate: str = "linear",
        floors: bool = False,
        output_gate: bool = False,
        zoneout: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        level_sizes = stack_sizes("hidden_size", hidden_size, "num_layers", num_layers, 3)
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        self.candidate = one_of("candidate", candidate, tuple(CANDIDATES))
        self.output_gate = flag("output_gate", output_gate)
        self.zoneout = in_range("zoneout", zoneout, 0, 1)
        if flag("floors", floors) and len(set(level_sizes)) > 1:
            raise InvalidInput(f"floors needs layers of one size; got hidden_size {list(level_sizes)}.")
        if output_gate and min(level_sizes) == 1:
            raise InvalidInput(f"output_gate needs at least 2 units in every layer; got {list(level_sizes)}.")
        rows, below = 3 if output_gate else 2, (input_size, *level_sizes[:-1])
        self.layers = nn.ModuleList(nn.Linear(d, rows * n) for d, n in zip(below, level_sizes, strict=True))
        self.norms = nn.ModuleList(nn.LayerNorm(n) if output_gate else nn.Identity() for n in level_sizes)
        self.floors = nn.Parameter(torch.zeros(len(level_sizes), level_sizes[0])) if floors else None

    def bounds(self) -> Sequence[Tensor | None]:
        """gamma^l [H] of each layer, the first 0; None without floors."""
        if self.floors is None:
            return (None,) * len(self.level_sizes)
        share = self.floors.softmax(0)
        return (share.cumsum(0) - share[0]).unbind()

    def measures(self) -> dict[str, Tensor]:
        """With floors, ``floor`` [L]: gamma^l, mean over units. How fast a layer forgets hangs on its input, so that
        it has no period."""
        return {} if self.floors is None else {"floor": torch.stack([b.mean() for b in self.bounds() if b is not None])}

    def products(self) -> tuple[Product, ...]:
        """G H_l H_{l-1} of each layer, at every step: none reads its own state by a matrix."""
        linear = cast(Iterable[nn.Linear], self.layers)
        return tuple(Product(l, layer.weight.numel(), "always") for l, layer in enumerate(linear))

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h^1, ..., h^L): zeros."""
        return tuple(torch.zeros(batch_size, n, device=device, dtype=dtype) for n in self.level_sizes)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """The equations of the class for every layer, from the input upwards."""
        levels, hidden, update = self._layers(x_t, tensors(state), lambda f, added, h: f * h + added)
        return levels, hidden, StepTrace(update)

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {"scan": None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        levels, hidden, update = self._layers(x, tensors(state), scan)
        return levels, tuple(h[:, -1] for h in hidden), StepTrace(update) if trace else None

    def _layers(
        self, below: Float[Tensor, "B *T _"], state: Sequence[Tensor], recur: Recurrence
    ) -> tuple[Levels, Levels, Tensor]:
        """Outputs and states of every layer, and updates [B, *T, L]."""
        levels, hidden, updates = [], [], []
        for layer, norm, bound, before in zip(self.layers, self.norms, self.bounds(), state, strict=True):
            gates = layer(below).to(before.dtype).split(before.size(-1), -1)
            forget = torch.sigmoid(gates[0])
            if bound is not None:
                forget = bound + (1 - bound) * forget
            updates.append(1 - forget.mean(-1))
            added = (1 - forget) * CANDIDATES[self.candidate](gates[1])
            if self.zoneout:
                kept = kept_share(forget, self.zoneout, self.training)
                forget, added = kept + (1 - kept) * forget, (1 - kept) * added
            h = recur(forget, added, before)
            below = norm(torch.sigmoid(gates[2]) * h) if self.output_gate else h
            levels.append(below)
            hidden.append(h)
        return tuple(levels), tuple(hidden), torch.stack(updates, -1)
