"""The callback that keeps a page by which a run can be watched: its curves, its last figures, its pictures."""

import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pytorch_lightning as pl

from multiscale.checks import positive_int
from multiscale.runs import files
from multiscale.runs.metrics import read_rows, to_number

WIDTH, HEIGHT, EDGE = 640, 240, 60  # of the chart, in pixels
COLOURS = ("#D55E00", "#0072B2")  # of the validation's curve and the training's, told apart by all eyes
STYLE = "body{font-family:sans-serif;margin:2em;max-width:60em;overflow-wrap:anywhere}img,svg{max-width:100%}"
STYLE += "td{padding-right:2em}"
Curve = list[tuple[float, float]]


class Watch(pl.Callback):
    """Writes ``watch.html`` at the start of a training, after each validation and after the test: the curve of the
    monitored metric, the last figure of every other, and the pictures that are there. A browser that has it open loads
    it again by itself until the run has been tested. It needs ``metrics.csv``, as every file of ``conf/logger`` writes
    it.

    Args:
        folder: of the run.
        monitor: the metric, as ``val/bpc``; its curve in training is drawn beside it.
        every_seconds: after which a browser loads the page again.
    """

    def __init__(self, folder: str, monitor: str, every_seconds: int = 10) -> None:
        self.folder, self.monitor = Path(folder), monitor
        self.every_seconds = positive_int("every_seconds", every_seconds)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._write(trainer, over=False)
            print(f"watch       {self.folder / 'watch.html'}", flush=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and trainer.state.fn == "fit":
            self._write(trainer, over=False)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._write(trainer, over=True)

    def _write(self, trainer: pl.Trainer, over: bool) -> None:
        curves: dict[str, Curve] = {}
        for row in read_rows(self.folder / "metrics.csv"):
            for name, cell in row.items():
                if (value := to_number(cell)) is not None:
                    curves.setdefault(name, []).append((to_number(row.get("step", "")) or 0.0, value))
        shown = [self.monitor, self.monitor.replace("val/", "train/")]
        last = [(name, curve[-1][1]) for name, curve in sorted(curves.items()) if name not in ("step", "epoch")]
        rows = "\n".join(f"<tr><td>{escape(name)}</td><td>{value:.5g}</td></tr>" for name, value in last)
        state = "tested" if over else f"epoch {trainer.current_epoch + 1}, step {trainer.global_step:,}"
        again = "" if over else f'<meta http-equiv="refresh" content="{self.every_seconds}">'
        pictures = "\n".join(f'<p><img src="{escape(path)}" alt="{escape(path)}"></p>' for path in self._pictures())
        page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">{again}<title>{escape(self.folder.name)}</title>
<meta name="viewport" content="width=device-width">
<style>{STYLE}</style></head>
<body><h1>{escape(self.folder.name)}</h1><p>{state}</p>
{draw_curves({name: curves.get(name, []) for name in shown})}
{pictures}
<table>{rows}</table></body></html>
"""
        files.write(self.folder / "watch.html", page.encode())

    def _pictures(self) -> list[str]:
        """Of each picture the one of the tested weights, else the last."""
        found = sorted((self.folder / "figures").glob("*.png"))
        if not found:
            epochs = sorted((self.folder / "figures" / "epochs").glob("*_*.png"))
            found = list({path.stem.rpartition("_")[0]: path for path in epochs}.values())
        return [os.path.relpath(path, self.folder) for path in found]


def draw_curves(curves: dict[str, Curve]) -> str:
    """Curves over steps as SVG, a line of text where there is none yet; what is no finite number is left out."""
    finite = {name: [point for point in curve if math.isfinite(point[1])] for name, curve in curves.items()}
    points = [point for curve in finite.values() for point in curve]
    if not points:
        return "<p>Nothing has been measured yet.</p>"
    (left, right), (low, high) = (_bounds(axis) for axis in zip(*points, strict=True))
    drawn = []
    for place, (name, curve) in enumerate(finite.items()):
        at = [
            f"{EDGE + (x - left) / (right - left) * (WIDTH - 2 * EDGE):.1f},"
            f"{HEIGHT - 30 - (y - low) / (high - low) * (HEIGHT - 60):.1f}"
            for x, y in curve
        ]
        drawn.append(f'<polyline points="{" ".join(at)}" fill="none" stroke="{COLOURS[place]}" stroke-width="2"/>')
        if len(at) == 1:
            x, y = at[0].split(",")
            drawn.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{COLOURS[place]}"/>')
        drawn.append(f'<text x="{EDGE + 160 * place}" y="16" fill="{COLOURS[place]}">{escape(name)}</text>')
    drawn += [f'<text x="0" y="{y}">{value:.4g}</text>' for y, value in ((HEIGHT - 26, low), (34, high))]
    drawn.append(f'<text x="{WIDTH - EDGE}" y="{HEIGHT - 6}" text-anchor="end">step {right:,.0f}</text>')
    return f'<svg width="{WIDTH}" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="13" role="img">{"".join(drawn)}</svg>'


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest, which differ."""
    low, high = min(values), max(values)
    return low, high if high > low else low + 1
