"""Multiscale recurrent networks, interchangeable and compared under one recipe.

As a library: ``from multiscale import HMLSTM``; runs from Python: ``compose`` and ``train``. All of it loads on first
use, so importing the package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiscale.backbones.chunking import Chunking
    from multiscale.backbones.clockwork import ClockworkRNN
    from multiscale.backbones.dilated import DilatedRNN
    from multiscale.backbones.echo_state import EchoStateNetwork
    from multiscale.backbones.event_gated import EventGatedRNN
    from multiscale.backbones.fast_slow import FastSlowRNN
    from multiscale.backbones.history_compressor import HistoryCompressor
    from multiscale.backbones.hmlstm import HMLSTM
    from multiscale.backbones.leaky import LeakyRNN
    from multiscale.backbones.learned_clock import LearnedClockRNN
    from multiscale.backbones.linear_rnn import GatedLinearRNN
    from multiscale.backbones.phased_lstm import PhasedLSTM
    from multiscale.backbones.recurrent import Recurrent
    from multiscale.backbones.skip_in_time import SkipInTimeRNN
    from multiscale.backbones.skip_rnn import SkipRNN
    from multiscale.backbones.stacked import StackedRNN
    from multiscale.backbones.symmetric import SymmetricClockRNN
    from multiscale.backbones.values import detach
    from multiscale.comparison.face import sweep
    from multiscale.jobs.face import compose, train
    from multiscale.nn.clocks.pulse import PulseClock, SparsePulseClock
    from multiscale.nn.clocks.wave import DCTClock, DirectClock
    from multiscale.nn.heads import Concat, Gated, Top
    from multiscale.training.build import load

__version__ = "0.2.0"
__all__ = [
    "HMLSTM",
    "Chunking",
    "ClockworkRNN",
    "Concat",
    "DCTClock",
    "DilatedRNN",
    "DirectClock",
    "EchoStateNetwork",
    "EventGatedRNN",
    "FastSlowRNN",
    "Gated",
    "GatedLinearRNN",
    "HistoryCompressor",
    "LeakyRNN",
    "LearnedClockRNN",
    "PhasedLSTM",
    "PulseClock",
    "Recurrent",
    "SkipInTimeRNN",
    "SkipRNN",
    "SparsePulseClock",
    "StackedRNN",
    "SymmetricClockRNN",
    "Top",
    "compose",
    "detach",
    "load",
    "sweep",
    "train",
]

_HOMES = {
    "Chunking": "multiscale.backbones.chunking",
    "ClockworkRNN": "multiscale.backbones.clockwork",
    "Concat": "multiscale.nn.heads",
    "DCTClock": "multiscale.nn.clocks.wave",
    "DilatedRNN": "multiscale.backbones.dilated",
    "DirectClock": "multiscale.nn.clocks.wave",
    "EchoStateNetwork": "multiscale.backbones.echo_state",
    "EventGatedRNN": "multiscale.backbones.event_gated",
    "FastSlowRNN": "multiscale.backbones.fast_slow",
    "Gated": "multiscale.nn.heads",
    "GatedLinearRNN": "multiscale.backbones.linear_rnn",
    "HistoryCompressor": "multiscale.backbones.history_compressor",
    "HMLSTM": "multiscale.backbones.hmlstm",
    "LeakyRNN": "multiscale.backbones.leaky",
    "LearnedClockRNN": "multiscale.backbones.learned_clock",
    "PhasedLSTM": "multiscale.backbones.phased_lstm",
    "PulseClock": "multiscale.nn.clocks.pulse",
    "Recurrent": "multiscale.backbones.recurrent",
    "SkipInTimeRNN": "multiscale.backbones.skip_in_time",
    "SkipRNN": "multiscale.backbones.skip_rnn",
    "SparsePulseClock": "multiscale.nn.clocks.pulse",
    "StackedRNN": "multiscale.backbones.stacked",
    "SymmetricClockRNN": "multiscale.backbones.symmetric",
    "Top": "multiscale.nn.heads",
    "compose": "multiscale.jobs.face",
    "detach": "multiscale.backbones.values",
    "load": "multiscale.training.build",
    "sweep": "multiscale.comparison.face",
    "train": "multiscale.jobs.face",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'multiscale' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
