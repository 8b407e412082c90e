"""Multiscale recurrent networks, interchangeable and compared under one recipe.

As a library: ``from multiscale import HMLSTM``; the classes load on first use, so importing the package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiscale.backbones.clockwork import ClockworkRNN
    from multiscale.backbones.hmlstm import HMLSTM
    from multiscale.backbones.learned_clock import LearnedClockRNN
    from multiscale.backbones.stacked import StackedRNN
    from multiscale.nn.clocks.pulse import PulseClock, SparsePulseClock
    from multiscale.nn.clocks.wave import DCTClock, DirectClock

__version__ = "0.1.0"
__all__ = [
    "HMLSTM",
    "ClockworkRNN",
    "DCTClock",
    "DirectClock",
    "LearnedClockRNN",
    "PulseClock",
    "SparsePulseClock",
    "StackedRNN",
]

_HOMES = {
    "HMLSTM": "multiscale.backbones.hmlstm",
    "ClockworkRNN": "multiscale.backbones.clockwork",
    "DCTClock": "multiscale.nn.clocks.wave",
    "DirectClock": "multiscale.nn.clocks.wave",
    "LearnedClockRNN": "multiscale.backbones.learned_clock",
    "PulseClock": "multiscale.nn.clocks.pulse",
    "SparsePulseClock": "multiscale.nn.clocks.pulse",
    "StackedRNN": "multiscale.backbones.stacked",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'multiscale' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
