"""Speed of clocked networks beside dense ones of the same width, forward and backward.

    python -m multiscale.benchmark_clockwork --threads 2 --rounds 7

Peers take turns in one process, and what is printed is the median of the ratios within a round: on a shared machine
times drift, and peers that are timed one after another drift together.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from multiscale.backbones.base import Backbone
from multiscale.backbones.clockwork import ClockworkRNN
from multiscale.backbones.hard_clock import HardClockRNN
from multiscale.backbones.learned_clock import LearnedClockRNN

PAUSE = 0.3
"""Seconds between two peers."""


class Peer(NamedTuple):
    """One network of the comparison."""

    name: str
    network: nn.Module
    macs_per_step: float  # forward, one sample


def clockwork_peers(input_size: int, hidden_size: int, periods: Sequence[int], reference: bool = False) -> list[Peer]:
    """Dense torch networks, the Clockwork RNN, and learned clocks, soft and hardened to the same periods.

    ``reference`` adds the masked loop, many times slower than the others.
    """
    torch.manual_seed(0)
    dense = hidden_size * (input_size + hidden_size)
    clockwork = ClockworkRNN(input_size, hidden_size, periods)
    hard, ordered = (
        HardClockRNN(input_size, clockwork.level_sizes, periods, None, connectivity)
        for connectivity in ("full", "slow_to_fast")
    )
    soft = LearnedClockRNN(input_size, hidden_size, len(periods), max(periods))
    peers = [
        Peer("torch.nn.RNN", nn.RNN(input_size, hidden_size, batch_first=True), dense),
        Peer("torch.nn.LSTM", nn.LSTM(input_size, hidden_size, batch_first=True), 4 * dense),
        Peer(f"Clockwork RNN, {clockwork.kernel}", clockwork, clockwork.macs_per_step()),
        Peer(f"hardened, slow to fast, {ordered.kernel}", ordered, ordered.macs_per_step()),
        Peer(f"hardened, full, {hard.kernel}", hard, hard.macs_per_step()),
        Peer(f"learned, soft, {soft.kernel}", soft, dense),
    ]
    if reference:
        loop = ClockworkRNN(input_size, hidden_size, periods, kernel="reference")
        peers.append(Peer("Clockwork RNN, reference", loop, loop.macs_per_step()))
    return peers


def run_once(network: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Forward and backward, the output's every element with a cotangent of 1; outputs."""
    network.zero_grad(set_to_none=True)
    levels = network(x).levels if isinstance(network, Backbone) else network(x)[:1]
    torch.autograd.backward(levels, [torch.ones_like(level) for level in levels])
    return levels


def round_robin(calls: dict[str, Callable[[], object]], rounds: int) -> list[dict[str, float]]:
    """Seconds of each call in each round, after one round that does not count."""
    times: list[dict[str, float]] = []
    for _ in range(rounds + 1):
        times.append({})
        for name, call in calls.items():
            # An idle thread pool spins on for a while after a call, and would take a core from the next peer.
            time.sleep(PAUSE)
            start = time.perf_counter()
            call()
            times[-1][name] = time.perf_counter() - start
    return times[1:]


def cascade_error(input_size: int, hidden_size: int, periods: Sequence[int], x: Tensor) -> dict[str, float]:
    """Relative RMS error of cascade and masked loop in float32, over outputs and gradients, against float64."""
    results = {}
    for kernel, dtype in (("reference", torch.float64), ("reference", torch.float32), ("cascade", torch.float32)):
        torch.manual_seed(0)
        network = ClockworkRNN(input_size, hidden_size, periods, kernel=kernel).to(dtype)
        levels = run_once(network, x.to(dtype))
        parts = (*levels, *(p.grad for p in network.parameters() if p.grad is not None))
        results[kernel, dtype] = [part.detach().double() for part in parts]
    truth = results.pop(("reference", torch.float64))
    return {
        kernel: max(
            ((part - true).square().mean() / true.square().mean()).sqrt().item()
            for part, true in zip(parts, truth, strict=True)
        )
        for (kernel, _), parts in results.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--hidden", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--input", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--modules", type=int, default=8)
    parser.add_argument("--reference", action="store_true", help="time the masked loop too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    periods = [2**i for i in range(options.modules)]
    print(f"periods {periods}, batch {options.batch}, {options.steps} steps, {options.threads} threads")
    for hidden in options.hidden:
        for inputs in options.input:
            x = torch.randn(options.batch, options.steps, inputs)
            peers = clockwork_peers(inputs, hidden, periods, options.reference)
            times = round_robin({p.name: partial(run_once, p.network, x) for p in peers}, options.rounds)
            print(f"\n{hidden} units, input size {inputs}; median of the ratios of {options.rounds} rounds")
            print(f"{'':36}{'x nn.RNN':>10}{'x nn.LSTM':>10}{'MACs/step':>12}")
            for peer in peers:
                ratios = [median(t[peer.name] / t[name] for t in times) for name in ("torch.nn.RNN", "torch.nn.LSTM")]
                print(f"{peer.name:36}{ratios[0]:10.3f}{ratios[1]:10.3f}{peer.macs_per_step:12.0f}")
    x = torch.randn(8, options.steps, options.input[0])
    errors = cascade_error(options.input[0], options.hidden[0], periods, x)
    print("\nfloat32 error against float64, worst tensor: " + ", ".join(f"{k} {e:.1e}" for k, e in errors.items()))


if __name__ == "__main__":
    main()
