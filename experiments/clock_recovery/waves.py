"""Can a clock learn the period of a wave that it is shown? Writes waves.csv and waves.png beside this file.

python -m experiments.clock_recovery.waves
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from multiscale.analysis.clocks import is_harmonic, is_within, phase_error, wave_phase
from multiscale.nn.clocks.base import Clock
from multiscale.nn.clocks.pulse import PulseClock
from multiscale.nn.clocks.wave import DCTClock, DirectClock
from multiscale.nn.schedules import Geometric

HERE = Path(__file__).parent
PERIODS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)
LENGTH, LONGEST, SEEDS, UPDATES, EPOCHS = 256, 64, (0, 1, 2), 1500, 20
MODULES = len(PERIODS)


class Method(NamedTuple):
    name: str
    learning_rate: float
    build: Callable[[], Clock]


def methods() -> list[Method]:
    """Every clock that is compared; each starts at random, with one module for each true period."""
    start = {"num_modules": MODULES, "max_period": LONGEST, "initialisation": "random"}
    pulses = Method("binary + softmax", 0.05, lambda: PulseClock(**start, temperature=Geometric(epochs=EPOCHS)))
    transforms = [
        Method(f"DCT + L1, length {length}", 0.05, lambda length=length: DCTClock(**start, length=length, l1=0.01))
        for length in (240, 256, 512)
    ]
    sines = [Method(f"direct, rate {rate:g}", rate, lambda: DirectClock(**start)) for rate in (0.001, 0.01, 0.05)]
    return [pulses, *transforms, *sines]


def fit(clock: Clock, target: Tensor, learning_rate: float) -> Tensor:
    """Mean cross-entropy [M] of each module's wave with its target [T, M], after training.

    The modules share no parameter and Adam treats each parameter alone, so this is one training for each module.
    """
    optimizer = torch.optim.Adam(clock.parameters(), lr=learning_rate)
    steps = torch.arange(len(target))
    for update in range(UPDATES + 1):
        clock.anneal(EPOCHS * update / UPDATES)
        wave = clock(steps).clamp(1e-6, 1 - 1e-6)
        losses = F.binary_cross_entropy(wave, target, reduction="none").mean(0)
        if update == UPDATES:
            return losses.detach()
        optimizer.zero_grad()
        # The penalty is a mean over the modules, so that many of them are the sum of each one's own.
        (losses.sum() + MODULES * clock.penalty()).backward()
        optimizer.step()
    raise AssertionError("the loop returns")


def rows_of(method: Method, seed: int) -> list[dict[str, str | float | int]]:
    """A row for each true period."""
    torch.manual_seed(seed)
    clock = method.build()
    target = (torch.arange(LENGTH)[:, None] % torch.tensor(PERIODS) == 0).float()
    losses = fit(clock, target, method.learning_rate)
    learned = clock.periods().tolist()
    waves = clock.wave(LENGTH).detach()
    rows = []
    for m, (true, found) in enumerate(zip(PERIODS, learned, strict=True)):
        in_window = found <= LENGTH
        phase = phase_error(wave_phase(waves[m].numpy(), found), 0.0, found) if in_window else float("nan")
        rows.append(
            {
                "method": method.name,
                "seed": seed,
                "true period (steps)": true,
                "learned period (steps)": round(found, 4),
                "within 5 %": int(is_within(found, true)),
                "up to a harmonic": int(is_harmonic(found, true)),
                "phase error (share of period)": round(phase, 4),
                "cross-entropy (nats per step)": round(losses[m].item(), 6),
            }
        )
    return rows


def draw(rows: list[dict]) -> Figure:
    """Learned against true period, one panel for each kind of clock."""
    panels = ("binary + softmax", "DCT + L1, length 240", "DCT + L1, length 256", "direct, rate 0.01")
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True)
    # Okabe and Ito's palette; the shape says the seed as well.
    looks = {0: ("#0072B2", "o"), 1: ("#D55E00", "s"), 2: ("#009E73", "^")}
    for axis, panel in zip(axes, panels, strict=True):
        span = (1.7, 40)
        for factor, style in ((1, "-"), (0.5, ":"), (2, ":")):
            axis.plot(span, [p * factor for p in span], style, color="0.6", linewidth=1, zorder=0)
        mine = [row for row in rows if row["method"] == panel]
        for seed, (colour, marker) in looks.items():
            points = [r for r in mine if r["seed"] == seed]
            axis.scatter(
                [r["true period (steps)"] * 1.03 ** (seed - 1) for r in points],
                [r["learned period (steps)"] for r in points],
                s=22, marker=marker, facecolors="none", edgecolors=colour, label=f"start {seed}",
            )  # fmt: skip
        found = sum(r["within 5 %"] for r in mine)
        axis.set(xscale="log", yscale="log", xlim=span, ylim=(1.5, 100), title=f"{panel}\n{found} of {len(mine)} found")
        axis.set_xticks([2, 4, 8, 16, 32], labels=["2", "4", "8", "16", "32"], minor=False)
        axis.set_yticks([2, 4, 8, 16, 32, 64], labels=["2", "4", "8", "16", "32", "64"], minor=False)
        axis.minorticks_off()
        axis.set_xlabel("true period (steps)")
    axes[0].set_ylabel("learned period (steps)")
    axes[0].legend(frameon=False, loc="upper left")
    return figure


def main() -> None:
    torch.set_num_threads(1)
    rows = [row for method in methods() for seed in SEEDS for row in rows_of(method, seed)]
    with (HERE / "waves.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    figure = draw(rows)
    FigureCanvasAgg(figure).print_png(HERE / "waves.png")
    for method in methods():
        mine = [row for row in rows if row["method"] == method.name]
        counts = (sum(row[key] for row in mine) for key in ("within 5 %", "up to a harmonic"))
        print(f"{method.name:24} within 5 %: {next(counts)}/{len(mine)}  up to a harmonic: {next(counts)}/{len(mine)}")


if __name__ == "__main__":
    main()
