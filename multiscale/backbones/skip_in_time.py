"""Stacked tanh layers with connections that skip in time, and optionally gated feedback between all of them.

| symbol       | variable                | shape                                                                      |
|--------------|-------------------------|----------------------------------------------------------------------------|
| h_{t-k}^l    | state[l]                | [B, m_l, H_l], the last m_l = max K_l states of layer l, the oldest first  |
| K_l          | lags[l]                 | numbers of steps, ascending                                                |
| W^l, b^l     | layer.input, layer.bias | [H_l, H_{l-1}], [H_l]                                                      |
| U_k^l        | layer.lagged            | [H_l, n H_l], the n = |K_l| matrices side by side; with gates the U^{j->l} |
|              |                         | of all layers j, then those of k > 1                                       |
| w_g^{j->l}   | layer.gate_input        | [L, H_{l-1}], a row a layer j                                              |
| u_g^{j->l}   | layer.gate_recurrent    | [L, H_1 + ... + H_L], a row a layer j                                      |
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, StepTrace, fold_steps, groups, tensors
from multiscale.checks import InvalidInput, flag, in_range, positive_int, sizes
from multiscale.nn.zoneout import zone_out

Past = tuple[Float[Tensor, "B _"], ...]
"""The last m_l states of a level, [B, H_l] each, the oldest first."""


class SkipInTimeRNN(Backbone):
    """h_t^l = tanh(W^l h_t^{l-1} + sum over k in K_l of U_k^l h_{t-k}^l + b^l) with h^0 = x; every layer is a level.

    Connections of several lags give the gradient ways that skip, as the tapped delays of NARX networks do (Lin, Horne,
    Tino, Giles 1996, IEEE Transactions on Neural Networks 7(6)); there it is the output of one network that is fed
    back, and inputs may be delayed as well; here hidden states are, of every layer of a stack. What comes before the
    first step is zero.

    With ``gates``, gated feedback (Chung, Gulcehre, Cho, Bengio 2015, arXiv 1502.02367, Section 3, of tanh units), a
    layer reads lag 1 of all layers j, itself included and whether or not K_l has it, each through a scalar gate:
    h_t^l = tanh(W^l h_t^{l-1} + sum over j of g^{j->l} U^{j->l} h_{t-1}^j + sum over k in K_l, k > 1, of
    U_k^l h_{t-k}^l + b^l), g^{j->l} = sigmoid(w_g^{j->l} h_t^{l-1} + u_g^{j->l} [h_{t-1}^1; ...; h_{t-1}^L]). Longer
    lags, which that paper does not have, are not gated; with all K_l = [1] this is its network.

    Args:
        input_size: D, units of the input.
        hidden_size: H_l, one number for all levels or one for each, from the input upwards.
        lags: K_l in steps, distinct, one list a level, from the input upwards, none of which reaches less far than the
            one before it.
        gates: gated feedback.
        zoneout: probability with which a unit keeps its h_{t-1} (Krueger et al. 2016, arXiv 1606.01305; in neither
            paper); in evaluation it is the expectation.
        kernel: ``auto``, ``hoisted`` (what a level reads of the one below is computed for all steps at once; with
            gates this is so of the first alone) or ``reference``.

    Raises:
        InvalidInput: for sizes or lags below 1, no lags, lags twice or in the wrong order, a rate outside [0, 1], or an
            unknown kernel.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        lags: Sequence[Sequence[int]],
        gates: bool = False,
        zoneout: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        self.lags = checked_lags(lags)
        level_sizes = sizes("hidden_size", hidden_size, len(self.lags))
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        self.gates = flag("gates", gates)
        widths = zip((input_size, *level_sizes), level_sizes, self.lags, strict=False)
        gated, zoneout = level_sizes if gates else (), in_range("zoneout", zoneout, 0, 1)
        self.layers = nn.ModuleList(_Layer(*width, gated, zoneout) for width in widths)

    @property
    def level_names(self) -> tuple[str, ...]:
        return tuple(f"layer {l}, lags {', '.join(map(str, lags))}" for l, lags in enumerate(self.lags, 1))

    def products(self) -> tuple[Product, ...]:
        """All weights of each layer, at every step."""
        matrices = [[p for p in layer.parameters() if p.dim() == 2] for layer in self.layers]
        return tuple(Product(level, sum(p.numel() for p in own)) for level, own in enumerate(matrices))

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """L tensors of zeros."""
        widths = zip(self.lags, self.level_sizes, strict=True)
        return tuple(torch.zeros(batch_size, lags[-1], n, device=device, dtype=dtype) for lags, n in widths)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """The equations of the class for every layer, from the input upwards."""
        levels, pasts, trace = self._advance(self._stack()[0].drive(x_t), apart(state))
        return levels, together(pasts), trace

    def _stack(self) -> tuple["_Layer", ...]:
        return cast(tuple["_Layer", ...], tuple(self.layers))

    def _advance(self, drive: Tensor, pasts: State) -> tuple[Levels, State, StepTrace]:
        """One step from what drives the first layer; the past of each is a tuple, which is cheap to shift."""
        levels: list[Tensor] = []
        before = [past[-1] for past in groups(pasts)]
        for layer, past in zip(self._stack(), groups(pasts), strict=True):
            drive = layer.drive(levels[-1]) if levels else drive
            levels.append(layer(drive, past, before))
        after = tuple((*past[1:], h) for past, h in zip(groups(pasts), levels, strict=True))
        return tuple(levels), after, StepTrace(levels[0].new_ones(len(drive), len(levels)))

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {"hoisted": None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        pasts: State = apart(state)
        levels: Levels = ()
        if self.gates:
            levels, pasts, _ = fold_steps(self._advance, self._stack()[0].drive(x).unbind(1), pasts, False)
        else:  # no layer waits for one above it: each runs by itself, over all steps
            after: list[State] = []
            for layer, past in zip(self._stack(), groups(pasts), strict=True):
                drives = layer.drive(levels[-1] if levels else x)
                (level,), last, _ = fold_steps(layer.advance, drives.unbind(1), past, False)
                levels, after = (*levels, level), [*after, last]
            pasts = tuple(after)
        steps = StepTrace(x.new_ones(*x.shape[:2], len(levels))) if trace else None
        return levels, together(pasts), steps


class _Layer(nn.Module):
    """One layer; weights start normal, of variance 1 / (number of units read), biases at 0.

    Args:
        below: H_{l-1}.
        size: H_l.
        lags: K_l.
        gated: with gates, the sizes of all levels.
        zoneout: its rate.
    """

    def __init__(self, below: int, size: int, lags: tuple[int, ...], gated: Sequence[int], zoneout: float) -> None:
        super().__init__()
        self.zoneout = zoneout
        self.lags = tuple(k for k in lags if k > 1) if gated else lags
        everyone = sum(gated)
        self.input = normal(size, below)
        self.lagged = normal(size, everyone + len(self.lags) * size)
        self.bias = nn.Parameter(torch.zeros(size))
        self.gate_input = normal(len(gated), below) if gated else None
        self.gate_recurrent = normal(len(gated), everyone) if gated else None

    def drive(self, below: Float[Tensor, "B *T _"]) -> Float[Tensor, "B *T _"]:
        """W^l h_t^{l-1} + b^l, and beside it, with gates, w_g^{j->l} h_t^{l-1} of all j."""
        if self.gate_input is None:
            return F.linear(below, self.input, self.bias)
        bias = F.pad(self.bias, (0, len(self.gate_input)))
        return F.linear(below, torch.cat([self.input, self.gate_input]), bias)

    def forward(self, drive: Tensor, past: Past, before: Sequence[Tensor] = ()) -> Float[Tensor, "B _"]:
        """h_t^l; with gates it also reads ``before``, h_{t-1} of all layers."""
        reads = [past[-k] for k in self.lags]
        if self.gate_recurrent is not None:
            drive, gate_drive = drive.split([len(self.bias), len(before)], 1)
            gates = torch.sigmoid(gate_drive + F.linear(torch.cat(tuple(before), 1), self.gate_recurrent))
            reads = [*(gate * h for gate, h in zip(gates.split(1, 1), before, strict=True)), *reads]
        h = torch.tanh(drive + F.linear(torch.cat(reads, 1), self.lagged)).to(past[-1].dtype)
        return zone_out(h, past[-1], self.zoneout, self.training)

    def advance(self, drive: Tensor, past: State) -> tuple[Levels, State, StepTrace]:
        """One step of a layer without gates, by itself."""
        h = self(drive, tensors(past))
        return (h,), (*tensors(past)[1:], h), StepTrace(h)


def normal(rows: int, columns: int) -> nn.Parameter:
    """A matrix of weights of variance 1 / columns."""
    return nn.Parameter(torch.randn(rows, columns) * columns**-0.5)


def apart(state: State) -> State:
    """The past of each level as a tuple of its states."""
    return tuple(past.unbind(1) for past in tensors(state))


def together(pasts: State) -> State:
    """The past of each level as one tensor, [B, m_l, H_l]."""
    return tuple(torch.stack(past, 1) for past in groups(pasts))


def checked_lags(lags: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """K_l of each level, ascending; raises :class:`InvalidInput` if they cannot be that."""
    if isinstance(lags, str) or not isinstance(lags, Sequence) or not len(lags):
        raise InvalidInput(f"lags must be a list of at least one list of numbers of steps; got {lags!r}.")
    checked: list[tuple[int, ...]] = []
    for l, own in enumerate(lags):
        if isinstance(own, str) or not isinstance(own, Sequence) or not len(own):
            raise InvalidInput(f"lags[{l}] must be a list of at least one whole number of steps; got {own!r}.")
        steps = sorted(positive_int(f"lags[{l}][{i}]", k) for i, k in enumerate(own))
        if len(set(steps)) < len(steps):
            raise InvalidInput(f"lags[{l}] must be distinct; got {list(own)}.")
        if checked and steps[-1] < checked[-1][-1]:
            raise InvalidInput(
                f"lags[{l}] must reach at least as far as those of the level below, {checked[-1][-1]} steps; "
                f"got {list(own)}."
            )
        checked.append(tuple(steps))
    return checked
