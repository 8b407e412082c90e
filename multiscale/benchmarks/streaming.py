"""What ``multiscale.benchmark model=streaming`` prints: one step at a time, as when a text is written character by
character, against torch's LSTMs."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from multiscale.backbones.base import Backbone, State, StepTrace
from multiscale.backbones.clockwork import ClockworkRNN
from multiscale.backbones.hmlstm import HMLSTM
from multiscale.backbones.stacked import StackedRNN
from multiscale.backbones.stream import Stream
from multiscale.benchmarks.timing import Settings, Size, Times, ratios, round_robin, table
from multiscale.checks import InvalidInput
from multiscale.nn.detectors.standardised import Standardised

SIZES = (Size(512, 1, 100), Size(128, 1, 200))
LAYERS = 3
RATES = [0.2, 0.05]  # boundaries a step of the HM-LSTM's layers but the top one
PERIODS = [1, 2, 4, 8, 16, 32, 64, 128]
CELLS, WHOLE = "three torch.nn.LSTMCell", "torch.nn.LSTM"
TARGET = 0.5  # of the HM-LSTM at 512 units, of CELLS


def report(settings: Settings) -> None:
    """Print the table.

    Raises:
        InvalidInput: for another precision than float32.
    """
    if settings.precision not in (None, "float32"):
        raise InvalidInput(f"precision must be float32 for model=streaming; got {settings.precision!r}.")
    one_at_a_time(settings)
    print(f"\nTo reach, for the HM-LSTM of 512 units: {TARGET} of {CELLS}, the faster of torch's two.")
    print(f"LSTMs and HM-LSTM have {LAYERS} layers, whose detectors are set to end a segment at {RATES} of the steps;")
    print(f"the Clockwork RNN has as many units as one of them, in modules of periods {PERIODS}.")


@torch.no_grad()
def one_at_a_time(settings: Settings) -> None:
    """The time of streams, and of loops over torch's networks that carry their state."""
    lines: list[Sequence[object]] = []
    for size in settings.sizes or SIZES:
        inputs = torch.randn(size.steps, size.batch, size.units, device=settings.device)
        made: dict[str, Backbone] = {
            "HM-LSTM": rarely_ending(inputs),
            "Clockwork RNN": ClockworkRNN(size.units, size.units, PERIODS),
            "stacked LSTM": StackedRNN(size.units, size.units, LAYERS),
        }
        streams = {f"{name}, stream": net.to(settings.device).stream(size.batch) for name, net in made.items()}
        steps: dict[str, Callable[[Tensor], object]] = {CELLS: cells(size, settings), WHOLE: whole(size, settings)}
        peers = {name: partial(read, step, inputs) for name, step in (steps | streams).items()}
        times = round_robin(peers, settings.rounds, settings.device)
        updates = {name: mean_updates(stream, inputs) for name, stream in streams.items()}
        lines += rows(size, times, updates)
    columns = ("size", "network", f"x {CELLS}", f"x {WHOLE}", "levels updated")
    table("One character at a time: time", columns, lines)


def rows(size: Size, times: Times, updates: dict[str, str]) -> list[Sequence[object]]:
    """Ratios of time to both loops over torch's networks."""
    to_cells, to_whole = ratios(times, CELLS), ratios(times, WHOLE)
    return [
        (size, name, f"{to_cells[name].total:.3f}", f"{to_whole[name].total:.3f}", updates.get(name, ""))
        for name in times
    ]


def rarely_ending(inputs: Tensor) -> HMLSTM:
    """An HM-LSTM whose detectors end segments at ``RATES`` of these inputs [T, B, D]."""
    units = inputs.size(2)
    detector = Standardised(RATES, momentum=0.0)
    network = HMLSTM(units, units, LAYERS, boundary=detector, boundary_source="hidden", nested=True).to(inputs.device)
    for _ in range(6):  # where segments end changes the states, and these where segments end
        network(inputs.transpose(0, 1))
    return network


def cells(size: Size, settings: Settings) -> Callable[[Tensor], object]:
    """A step of a stack of ``torch.nn.LSTMCell``."""
    layers = [nn.LSTMCell(size.units, size.units, device=settings.device) for _ in range(LAYERS)]
    state: list[tuple[Tensor, Tensor] | None] = [None] * LAYERS

    def step(x_t: Tensor) -> None:
        for l, layer in enumerate(layers):
            h, c = layer(x_t, state[l])
            state[l], x_t = (h, c), h

    return step


def whole(size: Size, settings: Settings) -> Callable[[Tensor], object]:
    """A step of ``torch.nn.LSTM``: a sequence of one."""
    network = nn.LSTM(size.units, size.units, LAYERS, batch_first=True, device=settings.device)
    state: list[tuple[Tensor, Tensor] | None] = [None]

    def step(x_t: Tensor) -> None:
        _, state[0] = network(x_t[:, None], state[0])

    return step


def read(step: Callable[[Tensor], object], inputs: Tensor) -> None:
    """All steps, one after the other."""
    for x_t in inputs.unbind(0):
        step(x_t)


def mean_updates(stream: Stream[State, StepTrace], inputs: Tensor) -> str:
    """How much of each level is rewritten a step."""
    found = []
    for x_t in inputs.unbind(0):
        stream(x_t)
        assert stream.trace is not None
        found.append(stream.trace.update)
    return " / ".join(f"{rate:.2f}" for rate in torch.cat(found).mean(0).tolist())
