"""Recurrent network whose modules learn the periods of their clocks as coefficients of a basis.

The idea (2016) is to learn clock frequencies by gradient as coefficients of a fixed basis, first the discrete cosine
transform, then binary pulses, in place of the fixed periods of a Clockwork RNN.

| symbol | variable       | shape                                                          |
|--------|----------------|----------------------------------------------------------------|
| h_t    | h              | [B, H], the modules' states side by side                       |
| t      | t              | [B] int64, the step counter                                    |
| a_m(t) | clock(t)       | [B, L], activation of module m, in [0, 1]                      |
| A_t    | active         | [B, H], a_m(t) repeated over the units of module m             |
| W_x    | input          | [H, D]                                                         |
| W_h    | recurrent      | [H, H], used only where ``connectivity`` lets a module read another |
| S      | link_gates     | [H, H], repeated over units: the gates of W_h if ``connectivity`` is learned |
| b      | bias           | [H]                                                            |
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale.backbones.base import Backbone, Folded, Levels, Product, State, StepTrace, tensors
from multiscale.backbones.clockwork import module_of_unit, split_units
from multiscale.backbones.hard_clock import CONNECTIVITY, HardClockRNN, connection_mask, count_idle
from multiscale.checks import InvalidInput, in_range, one_of, positive_int
from multiscale.kernels import recurrence
from multiscale.kernels.clocked import hoisted
from multiscale.nn.clocks.base import Clock, Readout, check_clock
from multiscale.nn.links import LinkGates
from multiscale.nn.zoneout import zone_out, zone_steps


class LearnedClockRNN(Backbone):
    """h_t = A_t tanh(W_x x_t + W_h h_{t-1} + b) + (1 - A_t) h_{t-1}, with learned periodic activations.

    With ``connectivity`` learned, the block of W_h with which module i reads module j is multiplied by a gate S_ij,
    :class:`multiscale.nn.links.LinkGates`.

    Args:
        input_size: D, units of the input.
        hidden_size: H, units of all modules together; extra units go to the first modules.
        clock: a_m(t) of L modules: any :class:`multiscale.nn.clocks.base.Clock`.
        connectivity: who reads whom: ``full``, ``slow_to_fast`` by the current periods, ``none``, or ``learned``: all,
            as far as gates let them through, half open at first, so that the network starts as with ``full``.
        link_cost: what the loss has of learned links if all are fully open, in nats; of each, in proportion to the
            H_i H_j multiplications that it takes a step. Periods do not enter: until a clock is hard all modules are
            computed at every step, and no link shall seem cheap for being slow.
        clock_lr: learning rate of the clock's weights; the optimizer's own if None. They never get weight decay,
            which would pull towards no period in particular.
        zoneout: probability with which a unit keeps its value at a step where its module is active (Krueger et al.
            2016, arXiv 1606.01305, Eq. 4); in evaluation the expectation.
        kernel: ``auto``, ``native`` (the loop over time in C++, on a CPU with a compiler), ``hoisted`` (all that does
            not depend on the state is computed before the loop) or ``reference``.

    Raises:
        InvalidInput: for numbers out of range, fewer units than modules, what is no clock, a cost below 0
            or of links that are not learned, learned links of one module, or an unknown word.
    """

    unit_module: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        clock: Clock,
        connectivity: str = "full",
        link_cost: float = 0.0,
        clock_lr: float | None = None,
        zoneout: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        level_sizes = split_units(hidden_size, check_clock(clock).num_modules)
        super().__init__(positive_int("input_size", input_size), level_sizes, kernel)
        learned = one_of("connectivity", connectivity, (*CONNECTIVITY, "learned")) == "learned"
        if in_range("link_cost", link_cost, 0) and not learned:
            raise InvalidInput(
                f"link_cost must be 0 unless connectivity is learned; got {link_cost} with connectivity {connectivity}."
            )
        self.connectivity = "full" if learned else connectivity  # what a mask has to leave out
        self.link_gates = LinkGates(level_sizes, link_cost) if learned else None
        self.clock_lr = None if clock_lr is None else in_range("clock_lr", clock_lr, 0)
        self.zoneout = in_range("zoneout", zoneout, 0, 1)
        self.clock = clock
        self.register_buffer("unit_module", module_of_unit(level_sizes), persistent=False)
        self.input = nn.Parameter(torch.empty(hidden_size, input_size))
        self.recurrent = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        nn.init.normal_(self.input, std=input_size**-0.5)
        nn.init.orthogonal_(self.recurrent)
        if self.link_gates is not None:
            self.recurrent.data /= self.link_gates().detach()

    @property
    def level_names(self) -> tuple[str, ...]:
        return tuple(f"clock {m}, period {p:.3g}" for m, p in enumerate(self.clock.periods().tolist(), 1))

    def anneal(self, epoch: float) -> None:
        self.clock.anneal(epoch)

    def penalty(self) -> Tensor:
        cost = self.clock.penalty()
        return cost if self.link_gates is None else cost + self.link_gates.penalty()

    def readout(self) -> Readout:
        """What each module's clock has learned."""
        return self.clock.readout()

    def measures(self) -> dict[str, Tensor]:
        """Period in steps, entropy in bits, duty cycle and top-two gap of each module's clock; and the mean strength of
        its links to the others, where links are learned."""
        readout = self.readout()
        told = {"period": readout.period, "entropy": readout.entropy, "duty": readout.duty, "gap": readout.gap}
        return told if self.link_gates is None else {**told, "reads": self.link_gates.reads()}

    def matrices(self) -> dict[str, Tensor]:
        """S [L, L] of learned links."""
        return {} if self.link_gates is None else {"links": self.link_gates.strengths().detach()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's parameters, and without weight decay the clock's, with ``clock_lr`` if given, and the gates' of
        learned links."""
        rest, clock = clock_groups(self, [self.clock], self.clock_lr)
        if self.link_gates is None:
            return [rest, clock]
        scores = self.link_gates.scores
        return [
            {"params": [p for p in rest["params"] if p is not scores]},
            clock,
            {"params": [scores], "weight_decay": 0.0},
        ]

    def idle_weights(self) -> int:
        idle = count_idle(self.connectivity, self.level_sizes)
        return idle + (0 if self.link_gates is None else len(self.level_sizes))

    def products(self) -> tuple[Product, ...]:
        """Each module's rows wherever it is active at all, on the input and on what it may read at the current periods;
        and each clock's sum over its basis, at every step."""
        mask = connection_mask(self.connectivity, self.clock.periods(), self.unit_module)
        reads = mask.sum(1) + self.input_size
        rows = [Product(m, int(own.sum())) for m, own in enumerate(reads.split(self.level_sizes))]
        return (*rows, *(Product(m, self.clock.basis_size, "always") for m in range(len(rows))))

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        """(h, t): zeros, and the counter at 0."""
        h = torch.zeros(batch_size, sum(self.level_sizes), device=device, dtype=dtype)
        return h, torch.zeros(batch_size, dtype=torch.int64, device=device)

    def connected(self) -> Tensor:
        """W_h [H, H] with zeros where a unit may not, at the current periods, read another; with learned links, times
        their gates."""
        if self.link_gates is not None:
            return self.recurrent * self.link_gates()
        if self.connectivity == "full":
            return self.recurrent
        return self.recurrent * connection_mask(self.connectivity, self.clock.periods(), self.unit_module)

    def step(self, x_t: Float[Tensor, "B D"], state: State) -> tuple[Levels, State, StepTrace]:
        """The equation of the class, with a_m(t) of the clock."""
        h_prev, t = tensors(state)
        activation = self.clock(t)
        active = activation.index_select(1, self.unit_module)
        new = torch.tanh(F.linear(x_t, self.input, self.bias) + F.linear(h_prev, self.connected()))
        h = zone_out(active * new + (1 - active) * h_prev, h_prev, self.zoneout, self.training)
        return h.split(self.level_sizes, 1), (h, t + 1), StepTrace(activation)

    def kernels(self, x: Tensor | None) -> Mapping[str, str | None]:
        missing = recurrence.unavailable(x, self)
        return {"native": missing, "hoisted": None, "reference": None}

    def fast(self, kernel: str, x: Float[Tensor, "B T D"], state: State, trace: bool) -> Folded:
        h, t = tensors(state)
        activation = self.clock(step_counters(t, x.size(1)))
        active = zone_steps(activation.index_select(2, self.unit_module), h, self.zoneout, self.training)
        states, h = hoisted(x, h, active, self.input, self.connected(), self.bias, kernel == "native")
        steps = StepTrace(activation.expand(len(x), -1, -1)) if trace else None
        return states.split(self.level_sizes, 2), (h, t + x.size(1)), steps

    def harden(self) -> HardClockRNN:
        """The plain clocked layer of each module's best period and phase, with the same weights, the gates of learned
        links multiplied in: the same function as this network once its clock is hard, without computing what is held.

        Raises:
            InvalidInput: for a clock that does not come down to one period and phase a module, or for zoneout, of which
                evaluation keeps the expectation, that no plain layer has.
        """
        if self.zoneout:
            raise InvalidInput(f"harden() needs a network without zoneout; got zoneout {self.zoneout}.")
        periods, phases = self.clock.single_pulses()
        hard = HardClockRNN(self.input_size, self.level_sizes, periods, phases, self.connectivity)
        hard.to(self.input.device, self.input.dtype)
        own = {name: p for name, p in self.state_dict().items() if not name.startswith(("clock.", "link_gates."))}
        if self.link_gates is not None:
            own["recurrent"] = self.connected().detach()
        hard.load_state_dict(own)
        return hard.train(self.training)


def step_counters(t: Int[Tensor, " B"], steps: int) -> Int[Tensor, "_ T"]:
    """The counter at each of so many steps from t on: a row for each sample, or, where they share it as they mostly do,
    one for all."""
    starts = t[:1] if bool((t == t[0]).all()) else t
    return starts[:, None] + torch.arange(steps, device=t.device)


def clock_groups(network: nn.Module, clocks: Sequence[Clock], clock_lr: float | None) -> list[dict[str, Any]]:
    """A network's parameters, and after them those of its clocks, without weight decay and with a rate if given."""
    own: dict[str, Any] = {"params": [p for clock in clocks for p in clock.parameters()], "weight_decay": 0.0}
    if clock_lr is not None:
        own["lr"] = clock_lr
    of_clocks = {id(p) for p in own["params"]}
    return [{"params": [p for p in network.parameters() if id(p) not in of_clocks]}, own]
