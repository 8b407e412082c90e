"""GateL0RD (Gumbsch, Butz, Martius 2021, "Sparsely Changing Latent States for Prediction and Planning in Partially
Observable Domains", NeurIPS, arXiv 2110.15949).

| symbol      | variable                              | shape                                                     |
|-------------|---------------------------------------|-----------------------------------------------------------|
| h_t         | h                                     | [B, H], latent state: what is remembered                  |
| y_t         | the level                             | [B, H], output: what others read                          |
| s_t         | s                                     | [B, H], argument of the gate                              |
| Lambda(s_t) | gate                                  | [B, H], in [0, 1): exactly 0 where a unit keeps its state |
| Theta(s_t)  | opened                                | [B, H], 1 where the gate is above 0, else 0               |
| g, r        | input, recurrent, bias: rows 1 to 2 H | [2 H, D], [2 H, H], [2 H], of x_t and h_{t-1}             |
| p, o        | input, output, bias: the other rows   | [2 H, D], [2 H, H], [2 H], of x_t and h_t                 |
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, StepTrace, fold_steps, tensors
from multiscale.checks import in_range, positive_int
from multiscale.nn.straight_through import straight_through
from multiscale.nn.zoneout import zone_out


class EventGatedRNN(Backbone):
    """GateL0RD: each unit of a latent state changes only where its gate opens, and a cost makes these events rare.

    s_t = g(x_t, h_{t-1}), in training with noise N(0, noise^2); Lambda = max(0, tanh(s_t));
    h_t = Lambda r(x_t, h_{t-1}) + (1 - Lambda) h_{t-1}; y_t = p(x_t, h_t) o(x_t, h_t): g linear, r and p linear and
    tanh, o linear and sigmoid. Left out are g and r of several layers and the network that makes h_0 of the first
    inputs: h_0 is zero.

    Args:
        input_size: D, units of the input.
        hidden_size: H, units of the latent state and of the output.
        noise: standard deviation of the gates' noise in training.
        sparsity: lambda, what a step at which every gate is open adds to the loss, in nats: lambda times the mean of
            Theta over units, steps and batch, as in the authors' code. Theta passes the gradient of Lambda straight
            through.
        zoneout: probability with which a unit keeps its h, open or not (Krueger et al. 2016, arXiv 1606.01305; not in
            the paper); in evaluation it is the expectation.
        kernel: ``auto``, ``hoisted`` (what does not hang on the state is computed for all steps at once, and so is the
            output) or ``reference``.

    Raises:
        InvalidInput: for sizes below 1, noise or sparsity below 0, a rate outside [0, 1], or an unknown kernel.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        noise: float = 0.1,
        sparsity: float = 0.0,
        zoneout: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        h = positive_int("hidden_size", hidden_size)
        super().__init__(positive_int("input_size", input_size), (h,), kernel)
        self.noise = in_range("noise", noise, 0)
        self.sparsity = in_range("sparsity", sparsity, 0)
        self.zoneout = in_range("zoneout", zoneout, 0, 1)
        self.input = nn.Parameter(torch.empty(4 * h, input_size))
        self.recurrent = nn.Parameter(torch.empty(2 * h, h))
        self.output = nn.Parameter(torch.empty(2 * h, h))
        self.bias = nn.Parameter(torch.empty(4 * h))
        for parameter in self.parameters():  # as torch.nn.Linear of x_t and h side by side
            nn.init.uniform_(parameter, -((input_size + h) ** -0.5), (input_size + h) ** -0.5)

    def products(self) -> tuple[Product, ...]:
        """r wherever any unit's gate is open; g, p and o at every step."""
        (h,) = self.level_sizes
        one = h * (self.input_size + h)
        return Product(0, one), Product(0, 3 * one, "always")

    @property
    def observes(self) -> bool:
        return self.sparsity > 0

    def observe(self, x: Tensor, state: State, levels: Levels, steps: StepTrace) -> Tensor:
        return self.sparsity * steps.update.mean()

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h,): zeros."""
        return (torch.zeros(batch_size, *self.level_sizes, device=device, dtype=dtype),)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """The equations of the class."""
        remember, read = self._drive(x_t)
        (h,), after, trace = self._advance(remember, state)
        return (self._read(read, h),), after, trace

    def _drive(self, x: Float[Tensor, "B *T D"]) -> tuple[Tensor, Tensor]:
        """The input's parts of g and r, and of p and o, [B, *T, 2 H] each."""
        remember, read = F.linear(x, self.input, self.bias).chunk(2, -1)
        return remember, read

    def _advance(self, drive: Float[Tensor, "B _"], state: State) -> tuple[Levels, State, StepTrace]:
        """h_t, as if it were the output."""
        (h,) = tensors(state)
        s, r = (part.to(h.dtype) for part in (drive + F.linear(h, self.recurrent)).chunk(2, -1))
        if self.training and self.noise:
            s = s + self.noise * torch.randn_like(s)
        gate = F.relu(torch.tanh(s))
        opened = straight_through((gate > 0).to(h.dtype), gate)
        h = zone_out(gate * torch.tanh(r) + (1 - gate) * h, h, self.zoneout, self.training)
        return (h,), (h,), StepTrace(opened.mean(-1, keepdim=True))

    def _read(self, drive: Float[Tensor, "B *T _"], h: Float[Tensor, "B *T H"]) -> Float[Tensor, "B *T H"]:
        """y_t."""
        p, o = (drive + F.linear(h, self.output)).chunk(2, -1)
        return torch.tanh(p) * torch.sigmoid(o)

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        return {"hoisted": None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        remember, read = self._drive(x)
        (h,), after, steps = fold_steps(self._advance, remember.unbind(1), state, trace)
        return (self._read(read, h),), after, steps
