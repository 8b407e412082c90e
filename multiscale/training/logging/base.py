"""What a run tells its loggers, of which none need to listen to all."""

from abc import ABC
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger


class RunLogger(Logger, ABC):
    """A Lightning logger that may also show pictures, tables and numbers of a run; what it does not, it ignores."""

    rows = 0  # of metrics, that it can read back

    @property
    def experiment(self) -> Any:
        """What the logger writes to, for those who know its package; None where there is nothing of that kind."""
        return None

    def begin(self, rows: int, again: int) -> None:
        """Go on after the first ``rows`` rows of metrics; the next ``again`` ones it has been told before."""

    def log_image(self, key: str, path: Path) -> None:
        """Show a picture."""

    def log_table(self, key: str, columns: Mapping[str, Sequence[str]]) -> None:
        """Show a table, given by its columns."""

    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        """Show numbers of the whole run, such as ``cost/parameters``."""

    def finish(self, state: str) -> None:
        """End the run as ``finished``, ``failed`` or ``interrupted``."""

    def closing_lines(self) -> list[str]:
        """What stands under a run's summary, once the logger is closed."""
        return []
