"""The table and the figure of the study, from the folder of its runs. See README.md.

python -m experiments.live_levels.study multirun/live_levels
"""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from multiscale.analysis.plots import COLOURS, save
from multiscale.runs.metrics import read_rows

HERE = Path(__file__).parent
ARMS = ("paper", "norm", "rates", "nested", "share", "drawn", "open", "live", "select", "mix", "change")
UNITS = {  # what the levels of a text are to find
    "python_docs": ("spaces", "spaces"),
    "python_docs, letters27": ("spaces", "spaces"),
    "artificial_language": ("word_ends", "phrase_ends"),
}
LEFT_OUT = ("precision_", "recall_")  # of what a summary tells of a level: F1 and the R-value come of them
Row = dict[str, Any]


class Reading(NamedTuple):
    """F1 of a level, and of what knows nothing of its boundaries, at its rate."""

    found: float
    random: float
    surprisal: float
    entropy: float


def read(folder: Path) -> list[Row]:
    """A row a run that has ended: what it is, what it costs, and what each level that detects did on the test split."""
    rows = []
    for path in sorted(folder.rglob("summary.json")):
        summary = json.loads(path.read_text())
        form = OmegaConf.load(path.parent / "config.yaml").data.get("form", "plain")
        text = summary["choices"]["data"] + (f", {form}" if form != "plain" else "")
        row: Row = {"text": text, "arm": summary["choices"]["experiment"].split("/")[-1], "seed": summary["seed"]}
        row |= {"units": summary["levels"][0]["units"], "parameters": summary["parameters"]}
        row |= {"test_bpc": summary["test"]["test/bpc"], "val_bpc": summary["val"]["val/bpc"]}
        macs = summary["macs"]
        row |= {"products_done": macs["done"], "products_dense": macs["dense"], "products_of_head": macs["head"]}
        tested = min(read_rows(path.parent / "metrics.csv"), key=lambda line: float(line.get("val/bpc") or "inf"))
        for number, level in enumerate(summary["levels"][:-1], 1):
            kept = [name for name in sorted(level) if name not in ("name", "units") and not name.startswith(LEFT_OUT)]
            row |= {f"{name}_{number}": level[name] for name in kept}
            row[f"val_boundary_{number}"] = float(tested.get(f"trace/boundary_{number}", "nan"))
        rows.append({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    return rows


def reading(row: Row, level: int) -> Reading:
    """How well a level found its unit."""
    unit = UNITS[row["text"]][level - 1]
    return Reading(*(row[f"f1_{unit}{kind}_{level}"] for kind in ("", "_random", "_surprisal", "_entropy")))


def dots(axes: Axes, place: float, values: Sequence[float], colour: str, marker: str = "o") -> None:
    """Every seed, and the median across them."""
    axes.plot([place] * len(values), values, marker, color=colour, alpha=0.6, markersize=4.5)
    if values:
        axes.plot([place], [median(values)], "_", color=colour, markersize=13, markeredgewidth=2)


def draw(rows: Sequence[Row]) -> Figure:
    """A row a text: bits, and for both levels the rate and F1, of every arm and seed."""
    texts = [text for text in UNITS if any(row["text"] == text for row in rows)]
    arms = [arm for arm in ARMS if any(row["arm"] == arm for row in rows)]
    figure = Figure(figsize=(13, 3.1 * len(texts)), layout="constrained")
    panels = figure.subplots(len(texts), 4, squeeze=False)
    for (bits, rate, *scores), text in zip(panels, texts, strict=True):
        of_text = [row for row in rows if row["text"] == text]
        for place, arm in enumerate(arms):
            mine = [row for row in of_text if row["arm"] == arm]
            dots(bits, place, [row["test_bpc"] for row in mine], COLOURS[0])
            for level, axes in enumerate(scores, 1):
                dots(rate, place + (level - 1.5) / 4, [row[f"boundary_{level}"] for row in mine], COLOURS[level - 1])
                found = [reading(row, level) for row in mine]
                dots(axes, place - 0.2, [r.found for r in found], COLOURS[0])
                dots(axes, place, [r.entropy for r in found], COLOURS[2], "d")
                dots(axes, place + 0.2, [r.surprisal for r in found], COLOURS[1], "x")
                dots(axes, place + 0.35, [r.random for r in found], "#777777", ".")
        lstm = [row["test_bpc"] for row in of_text if row["arm"] == "lstm"]
        if lstm:
            bits.axhline(median(lstm), color="#777777", linestyle="--", linewidth=1)
        bits.set_ylabel(f"{text}\ntest bits per character")
        rate.set_ylabel("boundaries a step")
        rate.set_yscale("symlog", linthresh=0.01)
        for level, axes in enumerate(scores, 1):
            axes.set_ylabel(f"F1, level {level}, {UNITS[text][level - 1].replace('_', ' ')}")
            axes.set_ylim(-0.03, 1.03)
        for axes in (bits, rate, *scores):
            axes.set_xticks(range(len(arms)), arms, rotation=45, ha="right", fontsize=8)
            axes.grid(alpha=0.3, axis="y")
    handles = [
        Axes.plot(panels[0][2], [], [], mark, color=colour)[0]
        for mark, colour in (("o", COLOURS[0]), ("d", COLOURS[2]), ("x", COLOURS[1]), (".", "#777777"))
    ]
    names = ["the level's boundaries", "by entropy, as often", "by surprisal, as often", "at random, as often"]
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    panels[0][0].set_title("dashed: stacked LSTM at equal products", fontsize=8)
    panels[0][1].set_title("level 1 (left) and 2 (right) of each", fontsize=8)
    return figure


def summarise(rows: Sequence[Row]) -> Iterable[str]:
    """A Markdown table: of each text and arm the median of the seeds, with the worst and the best in brackets."""
    names = [
        "text",
        "arm",
        "seeds",
        "test bpc",
        "done / dense",
        "fires (1)",
        "fires (2)",
        "F1 (1)",
        "by entropy",
        "F1 (2)",
        "by entropy",
    ]
    yield "| " + " | ".join(names) + " |"
    yield "|---" * len(names) + "|"
    for text in UNITS:
        for arm in (*ARMS, "lstm"):
            mine = [row for row in rows if row["text"] == text and row["arm"] == arm]
            if not mine:
                continue
            bpc = spread([row["test_bpc"] for row in mine], 3)
            share = f"{median(row['products_done'] / row['products_dense'] for row in mine):.2f}"
            cells = [f"`{text}`", f"`{arm}`", str(len(mine)), bpc, share]
            if arm != "lstm":
                cells += [spread([row[f"boundary_{level}"] for row in mine], 2) for level in (1, 2)]
                for level in (1, 2):
                    found = [reading(row, level) for row in mine]
                    cells += [spread([r.found for r in found], 2), f"{median(r.entropy for r in found):.2f}"]
            yield "| " + " | ".join([*cells, *["-"] * (len(names) - len(cells))]) + " |"


def spread(values: Sequence[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main(words: list[str]) -> None:
    rows = [row for folder in words for row in read(Path(folder))]
    if not rows:
        sys.exit(__doc__)
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with (HERE / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)
    save(draw(rows), HERE / "levels.png")
    print("\n".join(summarise(rows)))


if __name__ == "__main__":
    main(sys.argv[1:])
