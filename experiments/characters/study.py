"""The tables and the curves, from runs.csv: ``python -m experiments.characters.study``. See README.md."""

from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from experiments.check import show
from experiments.runs import Row, by_seed, group, mark, markdown, products, read
from multiscale.analysis.plots import save
from multiscale.comparison.statistics import estimate, estimate_difference

HERE = Path(__file__).parent
RIVAL = "lstm"
TEXTS = {"ptb": "Penn Treebank", "tinyshakespeare": "tiny Shakespeare"}
CHARACTERS = 784 * 6400  # of an epoch of Penn Treebank: batches of 64 streams by 100
BITS = ("arm", "seeds", "epochs", "test bpc", "minus the LSTM's", "parameters", "products a step, with the head's")
LEVELS = ("arm", "level", "fires", "F1", "R-value", "by surprisal", "by entropy", "at random")


def tabulate() -> Iterator[str]:
    """Of each text: what each arm predicts at which cost, the least bits first, and what its levels find."""
    texts = group(read(HERE / "runs.csv"), "data")
    for text, told in TEXTS.items():
        if (text,) not in texts:
            continue
        arms = {name: rows for (name,), rows in group(texts[text,], "name").items()}
        ordered = sorted(arms, key=lambda name: estimate(by_seed(arms[name], "score")).mean)
        yield f"\n**{told}: bits**\n"
        yield from markdown(BITS, (_bits(name, arms[name], arms.get(RIVAL)) for name in ordered))
        yield f"\n**{told}: levels, against spaces**\n"
        yield from markdown(
            LEVELS,
            (_level(arms[name], level) for name in ordered if name.startswith("hmlstm") for level in (1, 2)),
        )


def draw() -> Figure:
    """Validation bits on Penn Treebank by epoch, and by products of the forward pass: every seed, and the means."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    arms = group((row for row in read(HERE / "runs.csv") if row["data"] == "ptb"), "name")
    for place, ((name,), rows) in enumerate(
        sorted(arms.items(), key=lambda arm: mean(float(r["score"]) for r in arm[1]))
    ):
        curves = [[float(value) for value in row["by_epoch"].split()] for row in rows]
        style = mark(place)
        epochs = list(range(1, len(curves[0]) + 1))
        for axes, unit in zip(panels, (1.0, CHARACTERS * products(rows) / 1e12), strict=True):
            x = [epoch * unit for epoch in epochs]
            for curve in curves:
                axes.plot(x, curve, alpha=0.3, linewidth=0.8, color=style["color"])
            axes.plot(x, [mean(values) for values in zip(*curves, strict=True)], label=name, linewidth=1.2, **style)
    panels[0].set(xlabel="epoch", ylabel="validation, bits per character", xticks=epochs)
    panels[1].set(xlabel="multiply-accumulates done by the forward pass, $10^{12}$", xscale="log")
    for axes in panels:
        axes.grid(alpha=0.3)
    panels[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _bits(name: str, rows: list[Row], rival: list[Row] | None) -> list[str]:
    bits = by_seed(rows, "score")
    against = None if name == RIVAL or rival is None else estimate_difference(bits, by_seed(rival, "score"))
    return [
        f"`{name}`",
        str(len(rows)),
        f"{float(rows[0]['epochs']):.0f}",
        show(estimate(bits), "{:.3f}"),
        show(against, "{:+.3f}"),
        f"{float(rows[0]['parameters']):,.0f}",
        f"{products(rows):,.0f}",
    ]


def _level(rows: list[Row], level: int) -> list[str]:
    scores = [f"{score}_spaces_{level}" for score in ("f1", "r_value")]
    baselines = [f"f1_spaces_{kind}_{level}" for kind in ("surprisal", "entropy", "random")]
    return [
        f"`{rows[0]['name']}`",
        str(level),
        f"{estimate(by_seed(rows, f'boundary_{level}')).mean:.2f}",
        *(show(estimate(by_seed(rows, column)), "{:.2f}") for column in scores),
        *(f"{estimate(by_seed(rows, column)).mean:.2f}" for column in baselines),
    ]


if __name__ == "__main__":
    print("\n".join(tabulate()))
    save(draw(), HERE / "curves.png")
