"""Dynamic chunking around LSTMs, after H-Net (Hwang, Wang, Gu 2025, arXiv 2507.07955).

| symbol         | variable             | shape                                                                    |
|----------------|----------------------|--------------------------------------------------------------------------|
| e_t            | encoded              | [B, H_1], hidden state of the encoder, an LSTM, with its c in state[0]   |
| p_t, b_t       | probability, begins  | [B], of a chunk to begin at t, and whether it does: p_t > 1/2            |
| W_q, W_k       | query, key           | [H_1, H_1], the router                                                   |
| z^_t           | h of state[1]        | [B, H_2], hidden state of the main network, an LSTM that steps by chunks |
| z_t            | smooth, in state[1]  | [B, H_2], what the chunks so far come to                                 |
| c_t            | confidence           | [B], the probability of what the router decided                          |
| R              | residual             | [H_2, H_1], from the encoder past the main network                       |
| d_t            | levels[2]            | [B, H_3], hidden state of the decoder, an LSTM, with its c in state[2]   |
| N              | chunk_length         | steps                                                                    |
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, Step, StepTrace, groups
from multiscale.backbones.stacked import layer_products, make_layers, run_layer, step_layer
from multiscale.checks import flag, in_range, positive_int, sizes
from multiscale.nn.cells import CellState, lstm_cell
from multiscale.nn.layout import lay_by_columns
from multiscale.nn.straight_through import straight_through
from multiscale.nn.zoneout import zone_out_each, zoneout_rates

LEAST = 1e-4  # of a chunk's share of z_t, and the least that it leaves of what was before, as in the authors' code


class Chunking(Backbone):
    """An encoder and a decoder at every step, and between them a main network that steps only where a chunk begins.

    p_t = (1 - cos(W_q e_{t-1}, W_k e_t)) / 2, and 1 at the first step of a sequence; b_t = 1 where p_t > 1/2. Where
    b_t = 1 the main network steps on e_t, and z_t = P_t z^_t + (1 - P_t) z_{t-1} with z_0 = 0 and P_t = p_t within
    [1e-4, 1 - 1e-4]; elsewhere both are held exactly. The decoder reads STE(c_t) z_t + R e_t: c_t is p_t where b_t = 1
    and 1 - p_t elsewhere, and STE is 1 with the gradient of c_t. W_q and W_k start at the identity, R at 0.

    Of H-Net these are the router, the smoothing and the residual, in its authors' code, here without a bias beside the
    decoder's. All three levels are LSTMs in the place of its Mamba-2 and Transformer layers, and their input weights
    in that of the padding where widths differ; of its stages, which may lie within each other, here is one. As H-Net
    predicts from the decoder, the last level, so does the head ``top``; the decoder is as fast as the encoder.

    The trace's boundary is the encoder's, and marks the step that begins a chunk, which cannot be known before it is
    read: the chunk before ended one step earlier. Against references that mark ends, such as ``word_ends``, score it
    with ``callbacks.boundaries.offset=1``. The two other levels have none.

    Args:
        input_size: D, units of the input.
        hidden_size: units of encoder, main network and decoder: one number for all or three.
        chunk_length: N, how many steps a chunk is to have on average.
        ratio_weight: of the ratio loss N / (N - 1) ((N - 1) F G + (1 - F)(1 - G)), added to each training sequence's,
            with F the mean of b_t and G that of p_t over its steps and the batch. It is 1 at F = G = 1 / N.
        smoothing: false, z_t = z^_t.
        zoneout: probability with which a unit of an LSTM that steps keeps its h (Krueger et al. 2016, arXiv 1606.01305;
            not in the paper), and
        zoneout_c: its c; in evaluation both are the expectation.
        kernel: ``auto``, ``fused`` (encoder and decoder in torch's fused layers, which know no zoneout, the main
            network over the chunks alone) or ``reference``.

    Raises:
        InvalidInput: for sizes below 1, a chunk length that is not above 1, a weight below 0, rates outside [0, 1], an
            unknown kernel, or ``fused`` with zoneout.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        chunk_length: float = 6.0,
        ratio_weight: float = 0.03,
        smoothing: bool = True,
        zoneout: float = 0.0,
        zoneout_c: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        self.zoneout = zoneout_rates(zoneout, zoneout_c)
        level_sizes = sizes("hidden_size", hidden_size, 3)
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        self.chunk_length = in_range("chunk_length", chunk_length, 1, open_low=True)
        self.ratio_weight = in_range("ratio_weight", ratio_weight, 0)
        self.smoothing = flag("smoothing", smoothing)
        self.layers = make_layers("lstm", input_size, level_sizes)
        self.query = nn.Parameter(torch.eye(level_sizes[0]))
        self.key = nn.Parameter(torch.eye(level_sizes[0]))
        self.residual = nn.Parameter(torch.zeros(level_sizes[1], level_sizes[0]))

    @property
    def level_names(self) -> tuple[str, ...]:
        return "encoder", "main", "decoder"

    @property
    def detecting(self) -> int:
        return 1

    def products(self) -> tuple[Product, ...]:
        """Those of the three LSTMs, the main network's where a chunk begins; the router's and R's at every step."""
        router = Product(0, self.query.numel() + self.key.numel(), "always")
        return *layer_products(self.layers), router, Product(2, self.residual.numel(), "always")

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """((h, c), (h, c, z), (h, c), (begun,)): zeros, and whether each sequence has begun [B], no."""
        e, m, d = self.level_sizes
        parts = tuple(
            tuple(torch.zeros(batch_size, n, device=device, dtype=dtype) for _ in range(count))
            for n, count in ((e, 2), (m, 3), (d, 2))
        )
        return *parts, (torch.zeros(batch_size, dtype=torch.bool, device=device),)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """The equations of the class, in their order."""
        return self._advance(x_t, state)

    def stepper(self) -> Step:
        """Leaves out the main network where no chunk begins."""
        lay_by_columns(self)
        return partial(self._advance, alone=True)

    def _advance(self, x_t: Tensor, state: State, alone: bool = False) -> tuple[Levels, State, StepTrace]:
        """A step; of one sequence ``alone``, without what it does not need."""
        encoder, main, decoder = self.layers
        before, (*chunk, smooth), decoded, (begun,) = groups(state)
        encoded = self._lstm(encoder, x_t, before)
        probability, begins = self.route(before[0], encoded[0], begun)
        new = tuple(chunk) if alone and not begins else self._lstm(main, encoded[0], tuple(chunk))
        new = (*new, torch.lerp(smooth, new[0], self._share(probability)[:, None]))
        kept = tuple(torch.where(begins[:, None], n, old) for n, old in zip(new, (*chunk, smooth), strict=True))
        decoded = self._lstm(decoder, self._joined(kept[2], encoded[0], probability, begins), decoded)
        levels = (encoded[0], kept[0], decoded[0])
        return levels, (encoded, kept, decoded, (torch.ones_like(begun),)), _told(probability, begins, begun)

    def _lstm(self, layer: nn.Module, read: Float[Tensor, "B _"], state: CellState) -> CellState:
        """One step of one of the three."""
        return zone_out_each(step_layer("lstm", layer, read, state), state, self.zoneout, self.training)

    def route(
        self, before: Float[Tensor, "B *T H"], encoded: Float[Tensor, "B *T H"], begun: Bool[Tensor, "B *T"]
    ) -> tuple[Float[Tensor, "B *T"], Bool[Tensor, "B *T"]]:
        """p_t and b_t from e_{t-1}, e_t and whether there was a step before."""
        cosine = F.cosine_similarity(F.linear(before, self.query), F.linear(encoded, self.key), -1)
        probability = ((1 - cosine.to(before.dtype)) / 2).clamp(0, 1)
        probability = torch.where(begun, probability, 1.0)
        return probability, probability > 0.5

    def _share(self, probability: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """P_t, of a chunk that begins at t in z_t."""
        return probability.clamp(LEAST, 1 - LEAST) if self.smoothing else torch.ones_like(probability)

    def _joined(
        self,
        smooth: Float[Tensor, "B *T M"],
        encoded: Float[Tensor, "B *T H"],
        probability: Float[Tensor, "B *T"],
        begins: Bool[Tensor, "B *T"],
    ) -> Float[Tensor, "B *T M"]:
        """What the decoder reads."""
        confidence = torch.where(begins, probability, 1 - probability)
        sure = straight_through(torch.ones_like(confidence), confidence)
        return sure[..., None] * smooth + F.linear(encoded, self.residual)

    @property
    def observes(self) -> bool:
        return self.ratio_weight > 0

    def observe(self, x: Tensor, state: State, levels: Levels, steps: StepTrace) -> Tensor:
        assert steps.boundary is not None
        assert steps.probability is not None
        begun, probable = steps.boundary[..., 0].mean(), steps.probability[..., 0].mean()
        return self.ratio_weight * ratio_loss(begun, probable, self.chunk_length)

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {"fused": "torch's fused layers have no zoneout" if any(self.zoneout) else None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        encoder, _, decoder = self.layers
        first, chunk, decoded, (begun,) = groups(state)
        encoded, last = run_layer(encoder, x, first)
        before = torch.cat([first[0][:, None], encoded[:, :-1]], 1)
        begun = torch.cat([begun[:, None], begun.new_ones(len(x), x.size(1) - 1)], 1)
        probability, begins = self.route(before, encoded, begun)
        main, smooth, chunk = self._chunks(encoded, probability, begins, chunk)
        hidden, decoded = run_layer(decoder, self._joined(smooth, encoded, probability, begins), decoded)
        after = (last, chunk, decoded, (torch.ones_like(begun[:, 0]),))
        return (encoded, main, hidden), after, _told(probability, begins, begun) if trace else None

    def _chunks(
        self,
        encoded: Float[Tensor, "B T H"],
        probability: Float[Tensor, "B T"],
        begins: Bool[Tensor, "B T"],
        state: CellState,
    ) -> tuple[Tensor, Tensor, CellState]:
        """z^ and z [B, T, H_2] of all steps and the state after the last, from a loop over the chunks alone: the k-th
        of each sample side by side, and those that have no k-th held."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.layers[1].parameters()
        count = begins.sum(1)
        most = max(int(count.max()), 1)  # at least one, so that every parameter has a gradient
        starts = begins.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        read = encoded.gather(1, starts[..., None].expand(-1, -1, encoded.size(2)))
        share = self._share(probability).gather(1, starts)[..., None]
        found = [state]
        for k, u in enumerate(F.linear(read, weight_ih, bias_ih).unbind(1)):
            h, c, smooth = found[-1]
            new = lstm_cell(u, F.linear(h, weight_hh, bias_hh), (h, c))
            h, c = (part.to(old.dtype) for part, old in zip(new, (h, c), strict=True))
            new = (h, c, torch.lerp(smooth, h, share[:, k]))
            real = (k < count)[:, None]
            found.append(tuple(torch.where(real, n, old) for n, old in zip(new, found[-1], strict=True)))
        hidden, _, smooth = (torch.stack(part, 1) for part in zip(*found, strict=True))
        which = begins.cumsum(1)[..., None].expand(-1, -1, hidden.size(2))  # 0: what was before the sequence
        return hidden.gather(1, which), smooth.gather(1, which), found[-1]


def ratio_loss(begun: Float[Tensor, ""], probable: Float[Tensor, ""], length: float) -> Float[Tensor, ""]:
    """N / (N - 1) ((N - 1) F G + (1 - F)(1 - G)) of F, the share of steps that begin a chunk, and G, their mean
    probability; the gradient of G pulls it down where F > 1 / N, and up where F < 1 / N."""
    return length / (length - 1) * ((length - 1) * begun * probable + (1 - begun) * (1 - probable))


def _told(probability: Float[Tensor, "B *T"], begins: Bool[Tensor, "B *T"], begun: Bool[Tensor, "B *T"]) -> StepTrace:
    """The main network is rewritten where a chunk begins; only the encoder has boundaries, to be decided on all steps
    but the first of a sequence."""
    began = begins.to(probability.dtype)
    update = torch.stack([torch.ones_like(began), began, torch.ones_like(began)], -1)
    of_encoder = (F.pad(part[..., None], (0, 2)) for part in (began, probability, begun.to(began.dtype)))
    boundary, probability, opened = of_encoder
    return StepTrace(update, boundary, probability, None, opened)
