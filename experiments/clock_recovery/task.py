"""Do clocks find their periods when nothing but a task's loss tells them? See README.md, part 2.

python -m experiments.clock_recovery.task --seeds 10
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from multiscale import ClockworkRNN, LearnedClockRNN, PulseClock, StackedRNN
from multiscale.analysis.clocks import score_periods
from multiscale.analysis.plots import COLOURS, save
from multiscale.backbones.base import Backbone, State, StepTrace
from multiscale.data.clocked_symbols import ClockedSymbols
from multiscale.nn.schedules import Geometric

HERE = Path(__file__).parent
UNITS, ALPHABET, STEPS, BATCH, EPOCHS = 64, 8, 60, 50, 30
TASKS = {"6": [6], "3 | 12": [3, 12]}


class Leaky(Backbone):
    """h_t = (1 - k) h_{t-1} + k tanh(W x_t + U h_{t-1} + b), each unit with a learned rate k in (0, 1)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, (hidden_size,))
        self.mix = nn.Linear(input_size + hidden_size, hidden_size)
        nn.init.orthogonal_(self.mix.weight[:, input_size:])
        self.rate = nn.Parameter(torch.linspace(2, -3, hidden_size))  # logits, from fast to slow

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> State:
        return torch.zeros(batch_size, *self.level_sizes, device=device, dtype=dtype)

    def step(self, x_t: Tensor, state: State) -> tuple[tuple[Tensor, ...], State, StepTrace]:
        k = torch.sigmoid(self.rate)
        h = (1 - k) * state + k * torch.tanh(self.mix(torch.cat([x_t, state], 1)))
        return (h,), h, StepTrace(k.mean().expand(len(h), 1))


def contenders(periods: list[int]) -> dict[str, Callable[[], Backbone]]:
    """Networks of 64 units; the wrong periods miss the slowest true one."""
    *faster, slowest = periods

    def clockwork(*last: int) -> Callable[[], Backbone]:
        return lambda: ClockworkRNN(ALPHABET, UNITS, [*faster, *last])

    def learned(initialisation: str) -> Callable[[], Backbone]:
        def build() -> LearnedClockRNN:
            clock = PulseClock(
                num_modules=4,
                max_period=32,
                temperature=Geometric(1.0, 0.1, EPOCHS * 0.8),
                hard_from=EPOCHS,  # after the last, to be measured
                initialisation=initialisation,
            )
            return LearnedClockRNN(ALPHABET, UNITS, clock, clock_lr=0.03)

        return build

    return {
        "learned clock, spread start": learned("spread"),
        "learned clock, random start": learned("random"),
        "Clockwork, true periods": clockwork(slowest),
        "Clockwork, last period - 1": clockwork(slowest - 1),
        "Clockwork, last period + 1": clockwork(slowest + 1),
        "Clockwork, last period x 2": clockwork(2 * slowest),
        "Clockwork, powers of two": lambda: ClockworkRNN(ALPHABET, UNITS, [1, 2, 4, 8]),
        "leaky units": lambda: Leaky(ALPHABET, UNITS),
        "LSTM": lambda: StackedRNN(ALPHABET, UNITS, 1),
    }


def evaluate(backbone: Backbone, head: nn.Module, data: ClockedSymbols, split: str) -> tuple[float, float]:
    """Cross-entropy in nats and accuracy, a step."""
    samples = data.samples[split]
    x = F.one_hot(torch.as_tensor(samples.inputs), ALPHABET).float()
    target = torch.as_tensor(samples.targets)
    with torch.no_grad():
        logits = head(torch.cat(backbone(x).levels, -1))
    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten()).item()
    return loss, (logits.argmax(-1) == target).float().mean().item()


def train(backbone: Backbone, head: nn.Module, data: ClockedSymbols) -> None:
    groups = [{"params": list(head.parameters())}, *backbone.parameter_groups()]
    optimizer = torch.optim.Adam(groups, lr=3e-3)
    samples = data.samples["train"]
    inputs, targets = torch.as_tensor(samples.inputs), torch.as_tensor(samples.targets)
    for epoch in range(EPOCHS):
        backbone.anneal(epoch)
        for rows in torch.randperm(len(inputs)).split(BATCH):
            x = F.one_hot(inputs[rows], ALPHABET).float()
            output = backbone(x)
            logits = head(torch.cat(output.levels, -1))
            loss = F.cross_entropy(logits.flatten(0, 1), targets[rows].flatten()) + output.penalty
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([p for g in groups for p in g["params"]], 1.0)
            optimizer.step()


def run(name: str, task: str, seed: int) -> dict[str, object]:
    """One row: loss and accuracy on the test split, and for learned clocks their periods, and the loss once hard."""
    periods = TASKS[task]
    data = ClockedSymbols(BATCH, periods, ALPHABET, STEPS, (1000, 1, 500), seed=seed)
    data.setup()
    torch.manual_seed(seed)
    backbone = contenders(periods)[name]()
    head = nn.Linear(UNITS, data.classes)
    train(backbone, head, data)
    loss, accuracy = evaluate(backbone, head, data, "test")
    row: dict[str, object] = {"task": task, "network": name, "seed": seed, "loss": loss, "accuracy": accuracy}
    if isinstance(backbone, LearnedClockRNN):
        read = backbone.clock.periods().tolist()
        found = score_periods(read, periods)
        row |= {"periods": " ".join(f"{p:g}" for p in read), "exact": found.exact, "harmonic": found.harmonic}
        backbone.anneal(EPOCHS)
        row["hardened_loss"] = evaluate(backbone, head, data, "test")[0]
        row["skipped_loss"] = evaluate(backbone.harden(), head, data, "test")[0]
    return row


def draw(rows: list[dict[str, object]]) -> Figure:
    """The test loss of every seed, a row a network, a panel a task."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, len(TASKS), sharey=True, squeeze=False)[0]
    names = list(contenders([2, 4]))
    for axes, (task, periods) in zip(panels, TASKS.items(), strict=True):
        for place, name in enumerate(names):
            losses = [float(str(r["loss"])) for r in rows if r["task"] == task and r["network"] == name]
            axes.plot(losses, [place] * len(losses), "o", color=COLOURS[0], alpha=0.5, markersize=6)
            if losses:
                axes.plot([median(losses)], [place], "|", color=COLOURS[1], markersize=16, markeredgewidth=2.5)
        axes.axvline(
            len(periods) * torch.tensor(float(ALPHABET)).log().item(), color="#777777", linestyle="--", linewidth=1
        )
        axes.set_xscale("log")
        axes.set_xlabel("test cross-entropy (nats a step)")
        axes.set_title(f"hidden periods {task} (steps)", fontsize=10)
        axes.grid(alpha=0.3, axis="x")
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].invert_yaxis()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for task in TASKS:
        for name in contenders(TASKS[task]):
            made = [run(name, task, seed) for seed in range(options.seeds)]
            rows += made
            losses = [float(str(r["loss"])) for r in made]
            print(f"{task:8}{name:32}median loss {median(losses):7.4f}  worst {max(losses):7.4f}", flush=True)
            for row in made:
                if "periods" in row:
                    print("        ", {k: v for k, v in row.items() if k not in ("task", "network")}, flush=True)
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with (HERE / "task.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)
    save(draw(rows), HERE / "task.png")


if __name__ == "__main__":
    main()
