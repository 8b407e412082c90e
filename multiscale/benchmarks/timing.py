"""Peers that take turns in one process, and the median over the rounds of each round's ratio to the first of them, so
that a busy machine slows all alike."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from multiscale.backbones.base import Backbone
from multiscale.checks import InvalidInput, one_of, positive_int
from multiscale.kernels.product import cpu_has_lstm

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Size:
    """One shape to measure; every peer reads inputs as wide as it is."""

    units: int
    batch: int
    steps: int

    def __str__(self) -> str:
        return f"{self.units} units, B {self.batch}, T {self.steps}"


@dataclass(frozen=True)
class Settings:
    """What to measure, and how; None leaves it to the model's own table.

    Raises:
        InvalidInput: for no rounds, a precision or device that there is not.
    """

    sizes: tuple[Size, ...] | None = None
    rounds: int = 7
    precision: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        positive_int("rounds", self.rounds)
        if self.precision is not None:
            one_of("precision", self.precision, tuple(PRECISIONS))
        one_of("device", self.device, DEVICES)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InvalidInput("device=cuda: there is no GPU here, or none that torch can use.")


def sizes_of(text: str) -> tuple[Size, ...]:
    """Sizes as they are written on a command line, units x batch x steps with commas between."""
    found = []
    for part in text.split(","):
        numbers = part.split("x")
        if len(numbers) != 3 or not all(n.isdigit() and int(n) for n in numbers):
            raise InvalidInput(f"sizes must be like 512x64x100, units x batch x steps; got {part!r}.")
        found.append(Size(*map(int, numbers)))
    return tuple(found)


@dataclass(frozen=True)
class Timing:
    """Ratios to the first peer: the whole, its forward part and its backward part."""

    total: float
    forward: float
    backward: float


Peer = Callable[[], object]
"""A forward pass; if it returns a scalar with gradient, that is gone backward from."""

Times = dict[str, list[tuple[float, float]]]
"""Seconds forward and backward, by peer and round."""

PAUSE = 0.3  # seconds between peers
# A short pass is run several times in its turn, and the median taken: as in training, its memory is then in cache.
REPEATS, SHORT = 9, 0.1  # passes, and seconds after which there are no more


def measure(peers: Mapping[str, Peer], rounds: int, device: str = "cpu") -> dict[str, Timing]:
    """Run the peers in turn; median ratios to the first of them."""
    return ratios(round_robin(peers, rounds, device), next(iter(peers)))


def round_robin(peers: Mapping[str, Peer], rounds: int, device: str = "cpu", what: str = "measuring") -> Times:
    """Seconds forward and backward of every peer in each of ``rounds`` turns, after one turn to warm up.

    ``what`` is measured is told on stderr, with the turn.
    """
    times: Times = {name: [] for name in peers}
    for round_ in range(rounds + 1):
        _tell(f"{what}: " + (f"turn {round_} of {rounds}" if round_ else "warming up"))
        for name, peer in peers.items():
            # An idle pool of threads spins on for a while after a call, and would take a core from the next peer.
            time.sleep(PAUSE)
            found = [_time(peer, device)]
            while len(found) < REPEATS and sum(map(sum, found)) < SHORT:
                found.append(_time(peer, device))
            if round_:
                times[name].append(sorted(found, key=sum)[len(found) // 2])
    return times


def _tell(text: str) -> None:
    """Say what is under way: in one line that changes, or where nobody watches a line each."""
    watched = sys.stderr.isatty()
    print(f"\r\x1b[K{text}" if watched else text, end="" if watched else "\n", file=sys.stderr, flush=True)


def ratios(times: Times, to: str) -> dict[str, Timing]:
    """Medians over the rounds of each round's ratio to the peer named ``to``."""

    def seconds(peer: str) -> np.ndarray:  # [rounds, 3]: both parts, forward, backward
        parts = np.array(times[peer])
        return np.column_stack([parts.sum(1), parts])

    first = seconds(to).clip(min=1e-12)
    return {name: Timing(*np.median(seconds(name) / first, axis=0).tolist()) for name in times}


def _time(peer: Peer, device: str) -> tuple[float, float]:
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    # Of one thread its own time, which other processes do not stretch while they have the processor.
    clock = time.thread_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    wait()
    start = clock()
    loss = peer()
    wait()
    middle = clock()
    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.backward()
        wait()
    return middle - start, clock() - middle


def levels_of(network: nn.Module, x: Tensor) -> Sequence[Tensor]:
    """All hidden sequences of a backbone; of a network of torch's, that of its top layer."""
    return network(x).levels if isinstance(network, Backbone) else network(x)[:1]


def training_pass(
    network: nn.Module, x: Tensor, precision: str, read: Callable[[nn.Module, Tensor], Sequence[Tensor]] = levels_of
) -> Peer:
    """One pass of a training step: all hidden sequences, as ``read`` takes them from the network, and a fixed random
    gradient into each of them.

    Raises:
        InvalidInput: for an LSTM in a precision in which torch has none on this CPU.
    """
    cotangents: list[Tensor] = []
    short = precision != "float32"
    if short and isinstance(network, nn.LSTM) and x.device.type == "cpu" and not cpu_has_lstm(PRECISIONS[precision]):
        raise InvalidInput(f"precision={precision}: torch has no LSTM to measure against on this CPU; use float32.")

    def run() -> Tensor:
        network.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, PRECISIONS[precision] if short else None, enabled=short):
            levels = read(network, x)
        if not cotangents:
            cotangents.extend(torch.randn_like(level) for level in levels)
        products = [torch.dot(a.flatten(), b.flatten()) for a, b in zip(levels, cotangents, strict=True)]
        return torch.stack(products).float().sum()

    return run


def relative_error(found: Tensor, truth: Tensor) -> float:
    """The RMS of the error relative to that of ``truth``, in float64."""
    return ((found.double() - truth).norm() / truth.norm().clamp(min=1e-300)).item()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    cells = [[f"{v:.2f}" if isinstance(v, float) else str(v) for v in row] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["| " + " | ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    print(f"\n{title}\n", lines[0], rule, *lines[1:], sep="\n")
