"""Hierarchical multiscale LSTM (Chung, Ahn, Bengio 2016, arXiv 1609.01704).

| symbol          | variable              | shape                                                        |
|-----------------|-----------------------|--------------------------------------------------------------|
| h_t^l, c_t^l    | h[l], c[l]            | [B, H_l], hidden and cell state of layer l                   |
| z_t^l           | z[l]                  | [B, 1], boundary: 1 where layer l ends a segment; none at the top |
| U_l^l           | layer.recurrent       | [4 H_l + 1, H_l], on h_{t-1}^l; top layer [4 H_l, H_l]       |
| U_{l+1}^l       | layer.top_down        | [4 H_l + 1, H_{l+1}], on z_{t-1}^l h_{t-1}^{l+1}; none at the top |
| W_{l-1}^l       | layer.bottom_up       | [4 H_l + 1, H_{l-1}], on z_t^{l-1} h_t^{l-1}; z^0 = 1, h^0 = x |
| b^l             | layer.bias            | [4 H_l + 1]                                                  |
| f, i, o, g      | forget, input_gate, output_gate, candidate | [B, H_l], the first 4 H_l columns in this order |
| a               | slope                 | [], of the hard sigmoid                                      |
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones import hmlstm_stream
from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, Step, StepTrace, groups
from multiscale.backbones.hmlstm_layer import HMLSTMLayer
from multiscale.checks import InvalidInput, flag, in_range, one_of, positive_int, stack_sizes
from multiscale.kernels.hmlstm import native, sequence, triton_loop
from multiscale.kernels.hmlstm.decisions import Reading, Rows, mean_operands, scores
from multiscale.kernels.hmlstm.operations import Options, after_copy, is_open, operation
from multiscale.nn.detectors.base import Detector, Seen, check_detector
from multiscale.nn.schedules import Constant, Linear, Schedule
from multiscale.nn.straight_through import hard_sigmoid

GroupedState: TypeAlias = tuple[tuple[Tensor, ...], ...]
"""(h, c, z): L, L and L - 1 tensors."""


class HMLSTM(Backbone):
    """Layers that update, copy or flush their cell by the boundaries that they and the layer below detect.

    With (z_{t-1}^l, z_t^{l-1}) and the gates of layer l (Eq. 2-7):
    UPDATE (0, 1): c = f c_{t-1} + i g; COPY (0, 0): c = c_{t-1}, h = h_{t-1}; FLUSH (1, .): c = i g;
    h = o tanh(c) unless copied. The defaults are the paper's; the other choices are those it leaves open, or ablations
    that it does not run, and what keeps levels alive (``choice_share``, ``nested``, ``cost_per_update``,
    ``boundary_source``, detectors).

    Args:
        input_size: D, units of the input.
        hidden_size: H_l, one number for all layers or one for each, fastest first.
        num_layers: L; by default as many as ``hidden_size`` lists, or 3.
        boundary: how z comes from its hard sigmoid s (Eq. 4): ``step``, 1 where s > 1/2; ``sample``, a Bernoulli draw
            of probability s in training and the step in evaluation; ``soft``, s itself. The first two pass the gradient
            of s straight through. Or a :class:`multiscale.nn.detectors.base.Detector`, which says what s is made of.
        slope: slope a of the hard sigmoid, a schedule over epochs or one number for all of them; by default the
            paper's annealing min(5, 1 + 0.04 epoch). It stays that of epoch 0 until ``anneal(epoch)`` is called. With
            ``step`` it changes the gradient and never the output.
        choice: ``mix``, the operations are weighted by the boundaries, which get gradient through the choice;
            ``select``, through the choice they get none, only through the products that they gate.
        choice_share: the share of the gradient through the choice that ``mix`` passes on to the boundaries. Where they
            are rare it outgrows all others: a cell that copies for many steps is compared with what it would be.
        copy_boundary: z on a COPY step: ``recompute`` (Eq. 4 literally); ``hold``, z_{t-1}, which a COPY step finds at
            0 but which passes gradient; ``zero``, which passes none.
        nested: z^l is multiplied by z^{l-1}: a level ends a segment only where the one below does, as in dnnseg (Shain
            & Elsner 2020).
        cost_per_update: what an update of one layer above the first at every step adds to the loss, in nats (Skip RNN,
            Campos et al. 2018, Eq. 8).
        boundary_source: what s is made of: ``preact``, the last row of the products (Eq. 4). ``hidden``, a row on the
            new state, u . h_t, bounded as h is, as in dnnseg (its HM-GRU takes z from h). ``change``,
            -cos(W_q h_{t-1}, W_k h_t), with W_q and W_k [H_l, H_l] started at the identity: with slope 1, a bias of 0
            and no detector, the hard sigmoid of this is H-Net's router, (1 - cos) / 2 (Hwang, Wang, Gu 2025,
            arXiv 2507.07955); a state that stands still never ends a segment. It runs in the reference kernel alone.
        layer_norm: normalise each of the three products over its 4 H gate columns before its boundary gates it, and c
            inside the tanh (Ba et al. 2016); the boundary's column stays raw, and a COPY
            touches neither c nor h. Gains start at 1, offsets at 0.
        top_down: false, no layer reads the one above.
        flush: false, a FLUSH step is an UPDATE.
        copy: false, a COPY step is an UPDATE, so that every layer is updated at every step.
        boundary_bias: false, the boundary has no bias.
        forget_bias: what the forget gate's bias starts at; the others start at 0.
        init: ``orthogonal``, the recurrent weights of each gate start orthogonal and the others Glorot-uniform;
            ``uniform``, all weights in +-1/sqrt(H_l), as in ``torch.nn.LSTM``.
        zoneout: probability with which a unit that is updated or flushed keeps its h_{t-1} (Krueger et al. 2016,
            arXiv 1606.01305; not in the paper), which then is h_t for whatever reads it; and
        zoneout_c: its c_{t-1}; in evaluation both are the expectation. They run in the reference kernel alone.
        kernel: ``native``, the whole sequence as one function in C++ (CPU, needs a C++ compiler); ``fused``, the same
            with torch's gates; ``triton``, the same as one launch on a GPU (needs Triton; no layer norm, at most 256
            units a layer), not yet run on one and therefore by its name alone; ``reference``, the fold of ``step``;
            ``auto``, the first of the others that can run.

    Raises:
        InvalidInput: for sizes below 1, an unknown word, a slope that is not above 0, a cost below 0, rates outside
            [0, 1], ``select`` with ``soft``, ``nested`` with a rule for COPY steps, or a kernel that cannot run here.
    """

    slope: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int | None = None,
        boundary: str | Detector = "step",
        slope: Schedule | float | None = None,
        choice: str = "mix",
        choice_share: float = 1.0,
        copy_boundary: str = "recompute",
        nested: bool = False,
        cost_per_update: float = 0.0,
        boundary_source: str = "preact",
        layer_norm: bool = False,
        top_down: bool = True,
        flush: bool = True,
        copy: bool = True,
        boundary_bias: bool = True,
        forget_bias: float = 1.0,
        init: str = "orthogonal",
        zoneout: float = 0.0,
        zoneout_c: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        positive_int("input_size", input_size)
        level_sizes = stack_sizes("hidden_size", hidden_size, "num_layers", num_layers, 3)
        detector = check_detector(boundary)
        if flag("nested", nested) and copy_boundary != "recompute":
            raise InvalidInput(f"copy_boundary must be recompute with nested=true; got {copy_boundary!r}.")
        rule = "nested" if nested else one_of("copy_boundary", copy_boundary, ("recompute", "hold", "zero"))
        # Which kernels there are depends on these.
        self.options = Options(
            detector.decision, choice, rule, layer_norm, top_down, flush, copy, boundary_bias, forget_bias, init,
            boundary_source, choice_share, zoneout, zoneout_c,
        )  # fmt: skip
        super().__init__(input_size, level_sizes, kernel)
        self.detector = detector
        self.cost_per_update = in_range("cost_per_update", cost_per_update, 0)
        neighbours = zip((input_size, *level_sizes[:-1]), level_sizes, (*level_sizes[1:], None), strict=True)
        self.layers = nn.ModuleList(
            HMLSTMLayer(*three, self.options, detector.row_gain, detector.surprisal_reach) for three in neighbours
        )
        self.detector.start([sum(row.numel() for row in rows) for rows in self._rows()])
        self.slope_schedule = slope_schedule(slope)
        self.register_buffer("slope", torch.ones(()))
        self.anneal(0.0)

    def anneal(self, epoch: float) -> None:
        self.slope.fill_(in_range(f"slope at epoch {epoch:g}", self.slope_schedule(epoch), 0, open_low=True))
        self.detector.anneal(epoch)

    def products(self) -> tuple[Product, ...]:
        """The three products of each layer (Eq. 5-7), each due where its boundary lets it through; none can be left out
        of soft boundaries."""
        found: list[Product] = []
        for l, layer in enumerate(cast(Iterable[HMLSTMLayer], self.layers)):
            gates = 4 * layer.size
            # A layer that copies still decides about a boundary, if Eq. 4 is taken literally.
            decides = "always" if self.options.copy_boundary == "recompute" else "active"
            compared = sum(m.numel() for m in (layer.query, layer.key) if m is not None)
            found += [Product(l, gates * layer.size), Product(l, layer.recurrent[gates:].numel() + compared, decides)]
            below = Product(l, layer.bottom_up.numel(), "boundary", l - 1)
            found.append(below if l else below._replace(due="always", of=None))
            if layer.top_down is not None:
                found.append(Product(l, layer.top_down.numel(), "flush"))
        if self.options.boundary == "soft":
            return tuple(product._replace(due="always", of=None) for product in found)
        return tuple(found)

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, c, z): L, L and L - 1 tensors of zeros."""

        def zeros(sizes: Sequence[int]) -> tuple[Tensor, ...]:
            return tuple(torch.zeros(batch_size, n, device=device, dtype=dtype) for n in sizes)

        return zeros(self.level_sizes), zeros(self.level_sizes), zeros([1] * (len(self.level_sizes) - 1))

    def extra_repr(self) -> str:
        changed = (f"{f.name}={v!r}" for f in fields(self.options) if (v := getattr(self.options, f.name)) != f.default)
        return ", ".join((super().extra_repr(), *changed))

    def threshold(self, like: Tensor) -> Tensor | None:
        """What the hard sigmoid must exceed for a boundary, shaped ``like``; None, never a decision, if soft."""
        if self.options.boundary == "soft":
            return None
        if self.options.boundary == "sample" and self.training:
            return torch.rand_like(like)
        return torch.full_like(like, 0.5)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """Eq. 1 for every layer, from the input (h_t^0 = x_t, z_t^0 = 1) upwards: each reads z_t and h_t of the layer
        below, and h_{t-1} of the one above. Eq. 2-7 are in :meth:`HMLSTMLayer.forward`."""
        x_t, (h_prev, c_prev, z_prev) = self._wide(x_t, groups(state))
        one, zero = x_t.new_ones(len(x_t), 1), x_t.new_zeros(len(x_t), 1)
        below, z_below = x_t, one
        found = []
        affine = zip(*(F.pad(part, (0, 1)) for part in self._affine()), strict=True)
        before = zip(self.layers, h_prev, c_prev, (*z_prev, zero), (*h_prev[1:], None), affine, strict=True)
        for layer, h, c, z, above, scale_offset in before:
            threshold = None if above is None else self.threshold(z)
            found.append(layer(below, z_below, h, c, z, above, scale_offset, self.slope, threshold))
            below, _, z_below, *_ = found[-1]
        hs, cs, zs, *told = zip(*found, strict=True)
        boundaries = (torch.cat(zs, 1) > 0.5).to(x_t.dtype)
        updates, *decided = (torch.cat(part, 1) for part in told)
        return hs, (hs, cs, zs[:-1]), StepTrace(updates, boundaries, *decided)

    def stepper(self) -> Step:
        """Leaves out the products that no boundary asks for; soft boundaries ask for all, and zoneout is the
        reference's."""
        if self.options.boundary == "soft" or self.options.zoneout or self.options.zoneout_c:
            return self.step
        return hmlstm_stream.stepper([*cast(Iterable[HMLSTMLayer], self.layers)], self._affine(), float(self.slope))

    def _detecting(self) -> list[HMLSTMLayer]:
        return list(cast(Iterable[HMLSTMLayer], self.layers))[:-1]

    def _rows(self) -> list[Rows]:
        """The boundary's rows of weights of each layer that detects."""
        return [layer.boundary_rows() for layer in self._detecting()]

    def _affine(self) -> tuple[Tensor, Tensor]:
        """What the detector makes of the scores, scale and offset [L - 1]."""
        layers = self._detecting()
        biased = self.options.boundary_bias and layers
        bias = torch.stack([layer.bias[-1] for layer in layers]) if biased else self.slope.new_zeros(len(layers))
        return self.detector.affine([torch.cat(rows) for rows in self._rows()], bias)

    @property
    def observes(self) -> bool:
        return self.detector.observes or self.cost_per_update > 0

    def observe(self, x: Tensor, state: State, levels: Levels, steps: StepTrace) -> Tensor:
        penalty = self.cost_per_update * steps.update[..., 1:].mean((0, 1)).sum()
        if not self.detector.observes:
            return penalty
        n = len(self.layers) - 1
        x, (h, _, z) = self._wide(x, groups(state))
        score, probability, fired, opened = (
            cast(Tensor, part)[..., :n] for part in (steps.score, steps.probability, steps.boundary, steps.open)
        )
        gate = probability if self.options.boundary == "soft" else fired
        scale, offset = self._affine()
        line = scale * score + offset
        kept = None if steps.reset is None else (~steps.reset).to(gate.dtype)
        operands = mean_operands(Reading(x, h, z, levels, gate, kept), opened, score, self.options)
        added = self.detector.observe(Seen(score, line, fired.detach(), opened, self.slope, operands))
        return penalty if added is None else penalty + added

    @property
    def aligns(self) -> bool:
        return self.detector.surprisal_weight > 0

    def align(self, steps: StepTrace, expected: Tensor, mask: Tensor) -> Tensor:
        assert steps.score is not None
        assert steps.open is not None
        n = len(self.layers) - 1
        return self.detector.align(steps.score[..., :n], expected, steps.open[..., :n] * mask[..., None])

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        # Not x's own type: under autocast it may be short, and the kernels work in that of the parameters.
        device, dtype = (None, None) if x is None else (x.device, self.slope.dtype)
        missing = native.unavailable(device, dtype)
        unknown = None
        if self.options.source == "change":
            unknown = "boundary_source=change compares two states at each step, in the reference alone"
        elif self.options.zoneout or self.options.zoneout_c:
            unknown = "the whole-sequence kernels have no zoneout"
        triton = unknown or triton_loop.unavailable(self.options, self.level_sizes, device, dtype)
        # Triton's, which no GPU has run yet, by its name alone: where it can run, what is before it can too.
        return {"native": unknown or missing, "fused": unknown, "triton": triton, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        x, first = self._wide(x, groups(state))
        out = self.run_kernel(kernel, x, first, self.thresholds(x, first))
        last = (out.h, out.c, out.z)
        if not trace:
            return out.levels, last, None
        update, boundary = sequence.trace(out.boundaries, x, self.options)
        n = len(self.layers) - 1
        zs = torch.stack([z[1:].T for z in out.boundaries], -1) if n else x.new_zeros(*x.shape[:2], 0)
        decided = self._decided(Reading(x, first[0], first[2], out.levels, zs))
        return out.levels, last, StepTrace(update, boundary, *(F.pad(part, (0, 1)) for part in decided))

    def _decided(self, reading: Reading) -> tuple[Tensor, Tensor, Tensor]:
        """Probability, score, and where there was something to decide, [B, T, L - 1]."""
        with torch.autocast(reading.x.device.type, enabled=False):
            score = scores(reading.passing(self.detector.surprisal_reach), self._rows(), self.options.source)
            scale, offset = self._affine()
            before, under = reading.beside()
            operations = operation(before, under, self.options)
            probability = hard_sigmoid(scale * score + offset, self.slope)
            probability = after_copy(probability, before, under, operations, self.options)
            return probability, score, is_open(under, operations, self.options)

    def _wide(self, x: Tensor, state: GroupedState) -> tuple[Tensor, GroupedState]:
        """Both, under autocast, as wide as the weights: what reaches the state is, and the products alone are short."""
        if not torch.is_autocast_enabled(x.device.type):
            return x, state
        return x.to(self.slope.dtype), tuple(tuple(s.to(self.slope.dtype) for s in part) for part in state)

    def run_kernel(
        self, kernel: str, x: Tensor, state: GroupedState, thresholds: Tensor | None, skip: bool = True
    ) -> sequence.Output:
        """The kernel, with what each hard sigmoid must exceed [L - 1, T, B] given, and with or without skipping."""
        weights = [layer.weights() for layer in cast(Iterable[HMLSTMLayer], self.layers)]
        if not self.detector.plain:
            affine = zip(*self._affine(), strict=True)
            weights = [*(w.rescaled(*both) for w, both in zip(weights, affine, strict=False)), weights[-1]]
        plan = sequence.plan(self.options, x, self.slope.dtype, kernel, skip)
        h, c, z = state
        return sequence.sequence(x, (h, c, z), weights, self.slope, thresholds, plan)

    def thresholds(self, x: Tensor, state: GroupedState) -> Tensor | None:
        """[L - 1, T, B], drawn in the order of the fold; None if the boundaries are soft."""
        z = state[2]
        if self.options.boundary == "soft" or not z:
            return None
        if not (self.options.boundary == "sample" and self.training):
            return x.new_full((len(z), x.size(1), x.size(0)), 0.5)
        drawn = [self.threshold(z_l) for _ in range(x.size(1)) for z_l in z]
        return torch.stack([d for d in drawn if d is not None]).view(x.size(1), len(z), -1).transpose(0, 1)


def slope_schedule(slope: Schedule | float | None) -> Schedule:
    """The schedule itself, a constant for a number, the paper's annealing for None."""
    if slope is None:
        return Linear()
    if callable(slope):
        return slope
    return Constant(in_range("slope", slope, 0, open_low=True))
