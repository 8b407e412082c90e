"""What ``multiscale.benchmark`` prints first: every backbone of ``conf/model`` beside ``torch.nn.LSTM``, as ratios.

The peer of all is an LSTM of three layers of ``units`` each, which read inputs as wide. A backbone has its YAML's
options, its best kernel, and as many units in all, or as near to that as its ``hidden_size`` allows.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from multiscale.backbones.base import Backbone
from multiscale.benchmarks.timing import Peer, Settings, Size, ratios, round_robin, table, training_pass
from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.config.instantiate import make

BASELINE, LAYERS = "torch.nn.LSTM", 3
SIZE = Size(128, 32, 64)
STEPS = 16  # one at a time
NEAR = 32  # how far from the wanted hidden size another is tried where a model takes not all

Make = Callable[[nn.Module, Tensor], Peer]
"""From a network and inputs [B, T, D] to what is timed of it."""


def report(settings: Settings, models: Sequence[str], threads: Sequence[int]) -> None:
    """Print a table for each size, a row a model; every figure is the ratio to the LSTM at as many threads."""
    precision = settings.precision or "float32"
    for size in settings.sizes or (SIZE,):
        torch.manual_seed(0)
        layers = nn.LSTM(size.units, size.units, LAYERS, batch_first=True)
        made: dict[str, nn.Module] = {BASELINE: layers, **{name: backbone(name, size) for name in models}}
        found = measured(settings, size, precision, {k: v.to(settings.device) for k, v in made.items()}, threads)
        rows = [
            describe(name, network, layers) + tuple(by[name] for by in found.values()) for name, network in made.items()
        ]
        title = f"Time as a multiple of {BASELINE}'s of {LAYERS} layers of {size}; as many units in all; {precision}"
        table(title, ("model", "kernel", "units", "parameters", *found), rows)


def measured(
    settings: Settings, size: Size, precision: str, networks: Mapping[str, nn.Module], threads: Sequence[int]
) -> dict[str, dict[str, float]]:
    """The ratios by column and network."""
    inputs = torch.randn(size.batch, size.steps, size.units, device=settings.device)
    columns: list[tuple[str, Make, Tensor, Sequence[int]]] = [
        ("training", lambda network, x: training_pass(network.train(), x, precision), inputs, threads),
        ("forward", forward_pass, inputs, threads),
        ("B 1, step by step", one_by_one, inputs[:1, :STEPS], threads[:1]),
    ]
    found = {}
    for title, timed, x, counts in columns:
        for count in counts:
            torch.set_num_threads(count)
            peers = {name: timed(network, x) for name, network in networks.items()}
            what = f"{title}, {count} thread{'s' * (count > 1)}"
            times = round_robin(peers, settings.rounds, settings.device, what)
            found[what] = {name: timing.total for name, timing in ratios(times, BASELINE).items()}
    return found


def forward_pass(network: nn.Module, x: Tensor) -> Peer:
    """All of ``x`` at once, in evaluation."""

    @torch.no_grad()
    def run() -> None:
        network.eval()(x)

    return run


def one_by_one(network: nn.Module, x: Tensor) -> Peer:
    """A call for each step of ``x``, as of one who waits for the next, in evaluation.

    The LSTM is a slow peer here: on the CPU each of its calls goes through oneDNN, which costs it about three times
    what the products do; torch's GRU and RNN do not.
    """

    @torch.no_grad()
    def run() -> None:
        network.eval()
        state = None
        for x_t in x.split(1, 1):
            done = network(x_t, state)
            state = done.state if isinstance(network, Backbone) else done[1]

    return run


def backbone(name: str, size: Size) -> Backbone:
    """The backbone of a model file, with as many units in all as the LSTM has, or as near as it takes.

    Raises:
        InvalidInput: for a model that takes no size near enough.
    """
    config = jobs([f"model={name}"])[0]
    own = _make(config, size.units)
    wanted = round(config.model.hidden_size * LAYERS * size.units / sum(own.level_sizes))
    near = sorted(range(max(1, wanted - NEAR), wanted + NEAR + 1), key=lambda n: abs(n - wanted))
    for hidden_size in near:
        config.model.hidden_size = hidden_size
        try:
            return _make(config, size.units)
        except InvalidInput as error:
            refused = error
    raise InvalidInput(f"sizes must be such that {name} takes a hidden_size near {wanted}: {refused}")


def _make(config: DictConfig, input_size: int) -> Backbone:
    return make(config, "model", input_size=input_size)


def describe(name: str, network: nn.Module, baseline: nn.Module) -> tuple[str, str, int, float]:
    """Name, kernel, units in all, and parameters as a multiple of the baseline's."""
    share = sum(p.numel() for p in network.parameters()) / sum(p.numel() for p in baseline.parameters())
    if isinstance(network, Backbone):
        return name, network.kernel, sum(network.level_sizes), share
    assert isinstance(network, nn.LSTM)
    return name, "", network.num_layers * network.hidden_size, share
