"""What ``multiscale.benchmark model=clockwork`` prints: clocked networks beside dense ones of the same width."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multiscale.backbones.base import Backbone
from multiscale.backbones.clockwork import ClockworkRNN
from multiscale.backbones.hard_clock import HardClockRNN
from multiscale.backbones.learned_clock import LearnedClockRNN
from multiscale.benchmarks.timing import Settings, Size, ratios, relative_error, round_robin, table, training_pass
from multiscale.kernels import recurrence
from multiscale.nn.clocks.pulse import PulseClock
from multiscale.training.cost import backbone_macs

SIZES = (Size(512, 64, 256), Size(1024, 64, 256))
INPUTS = (1, 64)
PERIODS = [1, 2, 4, 8, 16, 32, 64, 128]
PEERS = ("torch.nn.RNN", "torch.nn.LSTM")


def report(settings: Settings) -> None:
    """Print every table."""
    precision = settings.precision or "float32"
    sizes = settings.sizes or SIZES
    lines: list[Sequence[object]] = []
    for size in sizes:
        for inputs in INPUTS:
            lines += speed(settings, size, inputs, precision)
    columns = ("units", "input size", "network", "x nn.RNN", "x nn.LSTM", "multiply-accumulates a step")
    table(f"Time of forward and backward pass; periods {PERIODS}; {precision}", columns, lines)
    print(
        "\nTo reach, of torch.nn.RNN: by the Clockwork RNN 0.15 at 512 units, 0.10 at 1024; by the learned clock 0.8."
    )
    error(sizes[0])
    if settings.device != "cuda":
        print("On a GPU: not run.")


def networks(size: Size, inputs: int) -> dict[str, nn.Module]:
    clockwork = ClockworkRNN(inputs, size.units, PERIODS)
    hard = {c: HardClockRNN(inputs, clockwork.level_sizes, PERIODS, None, c) for c in ("slow_to_fast", "full")}
    soft = LearnedClockRNN(inputs, size.units, PulseClock(len(PERIODS), max(PERIODS)))
    return {
        "torch.nn.RNN": nn.RNN(inputs, size.units, batch_first=True),
        "torch.nn.LSTM": nn.LSTM(inputs, size.units, batch_first=True),
        f"Clockwork RNN, {clockwork.kernel}": clockwork,
        **{f"hardened clock, {name}, {network.kernel}": network for name, network in hard.items()},
        f"learned clock, {soft.kernel}": soft,
    }


def speed(settings: Settings, size: Size, inputs: int, precision: str) -> list[Sequence[object]]:
    """The rows of one size: ratios to both dense networks, and what the equations ask for."""
    x = torch.randn(size.batch, size.steps, inputs, device=settings.device)
    made = {name: module.to(settings.device) for name, module in networks(size, inputs).items()}
    peers = {name: training_pass(module, x, precision) for name, module in made.items()}
    times = round_robin(peers, settings.rounds, settings.device)
    to_rnn, to_lstm = (ratios(times, name) for name in PEERS)
    return [
        (size.units, inputs, name, f"{to_rnn[name].total:.3f}", f"{to_lstm[name].total:.3f}", f"{macs(module, x):.0f}")
        for name, module in made.items()
    ]


def macs(network: nn.Module, x: Tensor) -> float:
    """Multiply-accumulates of one step of one sequence, forward, as the equations ask for them at the ticks seen."""
    if not isinstance(network, Backbone):
        return sum(p.numel() for p in network.parameters() if p.dim() == 2)
    with torch.no_grad():
        trace = network(x, trace=True).trace
    active = (trace.update > 0).float().mean((0, 1))
    return backbone_macs(network, [{"active": rate} for rate in active.tolist()])["done"]


def error(size: Size) -> None:
    """Relative RMS error of both kernels in float32 against the reference in float64, of outputs and gradients."""
    x = torch.randn(8, size.steps, 1, dtype=torch.float64)
    results: dict[tuple[str, torch.dtype], list[Tensor]] = {}
    runs = [("reference", torch.float64), ("reference", torch.float32), ("cascade", torch.float32)]
    if recurrence.unavailable() is None:
        runs.append(("native", torch.float32))
    for kernel, dtype in runs:
        torch.manual_seed(0)
        network = ClockworkRNN(1, size.units, PERIODS, kernel=kernel).to(dtype)
        levels = network(x.to(dtype)).levels
        gradients = torch.autograd.grad([level.sum() for level in levels], list(network.parameters()))
        results[kernel, dtype] = [part.detach().double() for part in (*levels, *gradients)]
    truth = results.pop(("reference", torch.float64))
    lines = [
        (kernel, f"{max(relative_error(a, b) for a, b in zip(parts, truth, strict=True)):.1e}")
        for (kernel, _), parts in results.items()
    ]
    table(f"Relative RMS error in float32, {size.units} units, worst tensor", ("kernel", "error"), lines)
