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
        self.widths, self.copies = widths, layer.options.copy
        self.batch, self.columns = layer.cell.size(1), 4 * layer.size
        self.known = skip and layer.options.boundary != "soft" and layer.cell.device.type == "cpu"
        work = self.batch * self.columns * sum(widths)
        self.counted = self.known and work >= _WORTH_COUNTING
        self.every_gate = every_gate
        self.under = layer.z_under  # [T, B], of the bottom-up product; None: open at every step
        self.over = None if layer.z is None else layer.z[:-1]  # [T, B], of the top-down one

    def of_step(self, t: int) -> list[Rows] | None:
        """For each product of step t the rows that it is needed in; None if nothing worth it is saved."""
        if not self.counted:
            return None
        masks = self._open(t)
        if self.every_gate:
            masks[0] = None
        rows = [None if mask is None else mask.nonzero()[:, 0] for mask in masks]
        saved = sum((self.batch - len(r)) * w for r, w in zip(rows, self.widths, strict=True) if r is not None)
        return rows if worth_skipping(saved * self.columns) else None

    def active_by_step(self) -> Sequence[Tensor] | None:
        """For each step the rows that are not copied."""
        active = self._open(slice(None))[0] if self.known else None
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
        rows: list[Rows] = []
        for mask, width in zip(self._open(slice(None)), self.widths, strict=True):
            if mask is None:
                rows.append(None)
                continue
            found = mask.flatten().nonzero()[:, 0]
            rows.append(found if worth_gathering(len(found), mask.numel(), self.columns, width) else None)
        return rows

    def _open(self, t: int | slice) -> list[Tensor | None]:
        """For each product where its gate is open, [B] or [T, B]; of the recurrent one, where a step is no COPY."""
        under = None if self.under is None else self.under[t] != 0
        over = None if self.over is None else self.over[t] != 0
        active = None if under is None or not self.copies else under if over is None else under | over
        return [active, under, over][: len(self.widths)]
