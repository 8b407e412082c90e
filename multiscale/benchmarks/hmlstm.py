"""What ``multiscale.benchmark model=hmlstm`` prints: speed against ``torch.nn.LSTM``, error, rates and skipped work."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multiscale.backbones.base import groups
from multiscale.backbones.hmlstm import HMLSTM
from multiscale.backbones.stacked import StackedRNN
from multiscale.benchmarks.timing import Peer, Settings, Size, levels_of, measure, relative_error, table, training_pass
from multiscale.kernels import compiler
from multiscale.kernels.hmlstm import native
from multiscale.kernels.product import cpu_has_lstm

LAYERS = 3
TABLE: tuple[tuple[Size, str, float | None], ...] = (
    (Size(512, 64, 100), "float32", 1.05),
    (Size(128, 64, 100), "float32", 1.15),
    (Size(64, 8, 100), "float32", 1.3),
    (Size(512, 64, 100), "bf16", 1.0),
)
SLOW = 2  # rounds of the kernels that are there for their clarity
PAPER = (270, 56, 9)  # updates of each layer in 270 steps
RATES = {"rests": (0.2, 0.05), "dense": (0.5, 0.5)}  # of the boundaries of the first layer, and of the second
PLANS: dict[str, dict[str, Any]] = {
    "mix, surrogates pass gradient": {"slope": 1.0},
    "mix, surrogates saturated": {"slope": 1e4},
    "select": {"choice": "select"},
}


def report(settings: Settings) -> None:
    """Print every table."""
    rows = TABLE
    if settings.sizes is not None:
        known = {(str(size), precision): target for size, precision, target in TABLE}
        precision = settings.precision or "float32"
        rows = tuple((size, precision, known.get((str(size), precision))) for size in settings.sizes)
    elif settings.precision is not None:
        rows = tuple(row for row in TABLE if row[1] == settings.precision)
    elif settings.device == "cpu" and not cpu_has_lstm(torch.bfloat16):
        rows = tuple(row for row in TABLE if row[1] != "bf16")
    speed(settings, rows)
    if settings.device == "cpu":
        error(rows[-1][0])
        resting(settings, rows)
        skipping(settings, rows[0][0])
        print(f"\nCompiling the gates, once a machine: {compile_seconds()}.")
    if settings.device != "cuda":
        print("On a GPU: not run.")


def kernels() -> list[str]:
    """What can run here, fastest first."""
    compiled = [] if native.unavailable() else ["native"]
    return [*compiled, "fused", "reference"]


def speed(settings: Settings, rows: Sequence[tuple[Size, str, float | None]]) -> None:
    """Forward and backward pass of each kernel against ``torch.nn.LSTM`` of the same layers."""
    lines: list[Sequence[object]] = []
    rates: list[Sequence[object]] = []
    for size, precision, target in rows:
        x = torch.randn(size.batch, size.steps, size.units, device=settings.device, requires_grad=True)
        layers = (size.units, size.units, LAYERS)
        names = [name for name, why in HMLSTM(*layers).kernels(x).items() if why is None]
        best, normed = names[0], next(name for name in names if name != "triton")  # which has no layer norm
        networks: dict[str, nn.Module] = {
            "torch.nn.LSTM": nn.LSTM(*layers, batch_first=True),
            **{name: HMLSTM(*layers, kernel=name) for name in names},
            f"{normed}, layer norm": HMLSTM(*layers, layer_norm=True, kernel=normed),
            "LSTM, layer norm": StackedRNN(*layers, layer_norm=True),
        }
        peers = {name: training_pass(net.to(settings.device), x, precision) for name, net in networks.items()}
        quick = {name: peer for name, peer in peers.items() if name not in ("reference", "fused")}
        slow = {"torch.nn.LSTM": peers["torch.nn.LSTM"], **{k: v for k, v in peers.items() if k not in quick}}
        found = measure(quick, settings.rounds, settings.device) | measure(slow, SLOW, settings.device)
        for name, timing in found.items():
            goal = f"{target:.2f}" if name == best and target is not None else ""
            lines.append((size, precision, name, timing.total, timing.forward, timing.backward, goal))
        updates = networks[best](x.detach(), trace=True).trace.update.mean((0, 1))
        rates.append((size, precision, *(f"{100 * rate:.0f}%" for rate in updates.tolist())))
    columns = ("size", "precision", "kernel", "both", "forward", "backward", "to reach")
    table("Time of forward and backward pass, as a multiple of torch.nn.LSTM's", columns, lines)
    levels = (f"layer {i + 1}" for i in range(LAYERS))
    table("Steps that update or flush, at the start of training", ("size", "precision", *levels), rates)


def error(size: Size) -> None:
    """Relative RMS error against the float64 reference, of the samples in which all decisions agree."""
    truth = HMLSTM(size.units, size.units, LAYERS, kernel="reference").double()
    x = torch.randn(size.batch, size.steps, size.units, dtype=torch.float64)
    peers = {name: HMLSTM(size.units, size.units, LAYERS, kernel=name) for name in kernels()}
    for peer in peers.values():
        peer.load_state_dict(truth.state_dict())
    with torch.no_grad():
        decisions = truth(x, trace=True).trace.boundary
        found = [peer(x.float(), trace=True).trace.boundary for peer in peers.values()]
    agree = torch.stack([(z == decisions).all(2).all(1) for z in found]).all(0)
    cotangent = torch.randn_like(x) * agree[:, None, None]
    levels, gradients = passes(truth, x, cotangent)
    lines = []
    for name, peer in peers.items():
        own_levels, own_gradients = passes(peer, x.float(), cotangent.float())
        outputs = [relative_error(a[agree], b[agree]) for a, b in zip(own_levels, levels, strict=True)]
        worst = [relative_error(a, b) for a, b in zip(own_gradients, gradients, strict=True)]
        lines.append((name, f"{max(outputs):.1e}", f"{max(worst):.1e}"))
    title = f"Relative RMS error in float32, {size}; all decisions agree in {int(agree.sum())} of {len(agree)} samples"
    table(title, ("kernel", "worst output", "worst gradient"), lines)


def passes(model: HMLSTM, x: Tensor, cotangent: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    x = x.clone().requires_grad_()
    levels = model(x).levels
    gradients = torch.autograd.grad(sum((level * cotangent).sum() for level in levels), (x, *model.parameters()))
    return [level.detach() for level in levels], list(gradients)


def resting(settings: Settings, rows: Sequence[tuple[Size, str, float | None]]) -> None:
    """Training and evaluation of levels whose boundaries are given, rare or dense, against ``torch.nn.LSTM``."""
    if kernels()[0] != "native":
        print("\nLevels that rest: not run, the fast gates are not available.")
        return
    lines: list[Sequence[object]] = []
    for size, precision, _ in rows:
        x = torch.randn(size.batch, size.steps, size.units, requires_grad=True)
        lstm = nn.LSTM(size.units, size.units, LAYERS, batch_first=True)
        training = {"torch.nn.LSTM": training_pass(lstm, x, precision)}
        evaluation = {"torch.nn.LSTM": evaluation_pass(lstm, x, precision, levels_of)}
        updates: dict[str, str] = {}
        for name, rates in RATES.items():
            fires = boundaries(size, rates)
            for plan, options in PLANS.items():
                model = HMLSTM(size.units, size.units, LAYERS, kernel="native", **options)
                training[f"{name}, {plan}"] = training_pass(model, x, precision, told(fires))
                updates[f"{name}, {plan}"] = " / ".join(f"{n / size.steps:.2f}" for n in multiplications(fires)[2])
            evaluation[name] = evaluation_pass(model, x, precision, told(fires))
        trained, evaluated = measure(training, settings.rounds), measure(evaluation, settings.rounds)
        for name, timing in trained.items():
            lines.append((size, precision, updates.get(name, ""), name, timing.total, timing.forward, timing.backward))
        for name, timing in evaluated.items():
            lines.append((size, precision, "", f"{name}, evaluation", timing.total, timing.total, ""))
    columns = ("size", "precision", "updates a step", "boundaries, choice", "both", "forward", "backward")
    table("Time with given boundaries, as a multiple of torch.nn.LSTM's", columns, lines)


def boundaries(size: Size, rates: tuple[float, float]) -> Tensor:
    """[2, T, B], drawn at these rates, the second layer's only where the first has one if they are fewer."""
    first = torch.rand(size.steps, size.batch) < rates[0]
    second = torch.rand(size.steps, size.batch) < (rates[1] / rates[0] if rates[1] < rates[0] else rates[1])
    return torch.stack((first, second & first if rates[1] < rates[0] else second)).to(torch.float32)


def told(fires: Tensor, skip: bool = True) -> Callable[[nn.Module, Tensor], Sequence[Tensor]]:
    """All levels of an HM-LSTM whose boundaries are these."""
    thresholds = 2 - 3 * fires  # a hard sigmoid lies in [0, 1], so boundaries are where they are told to be

    def levels(model: nn.Module, x: Tensor) -> Sequence[Tensor]:
        assert isinstance(model, HMLSTM)
        first = groups(model.initial_state(len(x), x.device, x.dtype))
        return model.run_kernel("native", x, first, thresholds, skip).levels

    return levels


def evaluation_pass(network: nn.Module, x: Tensor, precision: str, read: Callable[..., Sequence[Tensor]]) -> Peer:
    def run() -> None:
        short = precision != "float32"
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16 if short else None, enabled=short):
            read(network, x)

    return run


@torch.no_grad()
def skipping(settings: Settings, size: Size) -> None:
    """What COPY saves in evaluation at the paper's update rates: in multiplications, and measured."""
    if kernels()[0] != "native":
        print("\nSkipped work: not run, the fast gates are not available.")
        return
    steps, batch = PAPER[0], size.batch
    fires = torch.zeros(LAYERS - 1, steps, batch)
    for b in range(batch):
        ends = torch.randperm(steps)[: PAPER[1]]
        fires[0, ends, b] = 1
        fires[1, ends[: PAPER[2]], b] = 1
    model = HMLSTM(size.units, size.units, LAYERS, kernel="native").eval()
    baseline, x = nn.LSTM(size.units, size.units, LAYERS, batch_first=True), torch.randn(batch, steps, size.units)

    def levels(skip: bool) -> Sequence[Tensor]:
        return told(fires, skip)(model, x)

    gap = max((a - b).abs().max().item() for a, b in zip(levels(skip=False), levels(skip=True), strict=True))
    skipped, stacked, counts = multiplications(fires)
    peers: dict[str, tuple[Peer, float]] = {
        "every row": (lambda: levels(skip=False), 1.0),
        "rows that a boundary asks for": (lambda: levels(skip=True), skipped),
        "torch.nn.LSTM": (lambda: baseline(x), stacked),
    }
    found = measure({name: run for name, (run, _) in peers.items()}, settings.rounds)
    lines = [(name, share, found[name].total) for name, (_, share) in peers.items()]
    updates = " / ".join(f"{n:.0f}" for n in counts)
    title = f"Evaluation, {size.units} units, B {batch}, {updates} updates in {steps} steps (largest gap {gap:.0e})"
    table(title, ("kernel", "multiplications", "time"), lines)


def multiplications(fires: Tensor) -> tuple[float, float, list[float]]:
    """Of an HM-LSTM that skips, and of a stacked LSTM, against all of an HM-LSTM's; and the updates of each layer."""
    steps, batch = fires.shape[1:]
    one, zero = torch.ones(1, steps, batch), torch.zeros(1, steps, batch)
    below = torch.cat((one, fires))
    before = torch.cat((fires.roll(1, 1).index_fill(1, torch.tensor(0), 0), zero))
    active = 1 - (1 - below) * (1 - before)
    # Of each layer the recurrent, the bottom-up and, but for the top one, the top-down product, all of one size.
    needed = sum(part.mean((1, 2)).sum().item() for part in (active, below, before[:-1]))
    dense = 3 * LAYERS - 1
    return needed / dense, 2 * LAYERS / dense, (active.mean((1, 2)) * steps).tolist()


def compile_seconds() -> str:
    """The time of one compilation, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        try:
            compiler.build(native.SOURCE, Path(folder) / "gates.so")
        except compiler.CannotCompile as reason:
            return f"not run, {reason}"
        return f"{time.perf_counter() - start:.1f} s"
