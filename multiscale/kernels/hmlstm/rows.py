"""Which rows of a batch an HM-LSTM's products matter in, as hard boundaries decide.

A closed gate's operand is zero, and so is the gradient of a COPY step's gates. Gathering the other rows costs time, so
each question is answered with None, for all rows, where that is quicker. Devices that would have to be waited for are
never asked.
"""

from collections.abc import Sequence

from torch import Tensor

from multiscale.kernels.hmlstm.gates import Layer
from multiscale.kernels.product import worth_gathering, worth_skipping

Rows = Tensor | None

# Multiplications of a whole step of a layer below which its rows are not even counted.
_WORTH_COUNTING = 1 << 25


class OpenRows:
    """The rows of one layer; the products are the recurrent, the bottom-up and the top-down one, in this order."""

    def __init__(self, layer: Layer, widths: Sequence[int], skip: bool, every_gate: bool) -> None:
        """``skip`` false: all rows always. ``every_gate``: a COPY step's too, which its choice's gradient reads."""
        self.layer, self.widths = layer, widths
        self.batch, self.columns = layer.cell.size(1), 4 * layer.size
        self.known = skip and layer.options.boundary != "soft" and layer.cell.device.type == "cpu"
        work = self.batch * self.columns * sum(widths)
        self.counted = self.known and work >= _WORTH_COUNTING
        self.all_recurrent = every_gate or not layer.options.copy or layer.z_under is None

    def of_step(self, t: int) -> list[Rows] | None:
        """For each product of step t the rows that it is needed in; None if nothing worth it is saved."""
        if not self.counted:
            return None
        layer = self.layer
        under = None if layer.z_under is None else layer.z_under[t] != 0
        over = None if layer.z is None else layer.z[t] != 0
        active = None if under is None or self.all_recurrent else under if over is None else under | over
        rows = [None if mask is None else mask.nonzero()[:, 0] for mask in (active, under, over)[: len(self.widths)]]
        saved = sum((self.batch - len(r)) * w for r, w in zip(rows, self.widths, strict=True) if r is not None)
        return rows if worth_skipping(saved * self.columns) else None

    def active_by_step(self) -> Sequence[Tensor] | None:
        """For each step the rows that are not copied."""
        active = self._active()
        if active is None:
            return None
        counts = active.sum(1).tolist()
        saved = self.batch - sum(counts) / len(counts)
        if not worth_skipping(saved * self.columns * sum(self.widths)):
            return None
        return active.nonzero()[:, 1].split(counts)

    def of_sequence(self) -> list[Rows]:
        """For each product the rows of all steps [T B] in which neither its operand nor its gradient is zero."""
        if not self.known:
            return [None for _ in self.widths]
        layer = self.layer
        rows: list[Rows] = []
        under = None if layer.z_under is None else layer.z_under != 0
        over = None if layer.z is None else layer.z[:-1] != 0
        for mask, width in zip((self._active(), under, over), self.widths, strict=False):
            if mask is None:
                rows.append(None)
                continue
            found = mask.flatten().nonzero()[:, 0]
            rows.append(found if worth_gathering(len(found), mask.numel(), self.columns, width) else None)
        return rows

    def _active(self) -> Tensor | None:
        """[T, B], where a step is no COPY."""
        layer = self.layer
        if not self.known or not layer.options.copy or layer.z_under is None:
            return None
        under = layer.z_under != 0
        return under if layer.z is None else under | (layer.z[:-1] != 0)
