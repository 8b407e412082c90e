"""The table and the figure, from runs.csv: ``python -m experiments.ablations.study``. See README.md."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.check import show
from experiments.runs import markdown, read
from multiscale.analysis.plots import COLOURS, save
from multiscale.comparison.statistics import estimate, estimate_difference

HERE = Path(__file__).parent
UNITS = {"python_docs": ("spaces", "spaces"), "artificial_language": ("word_ends", "phrase_ends")}
TEXTS = {"python_docs": "python_docs, letters27", "artificial_language": "artificial_language"}
BASES = {"hmlstm": "live levels", "hmlstm_paper": "to the letter"}
ARMS = {
    "no_top_down": "no top-down",
    "no_flush": "no FLUSH",
    "no_copy": "no COPY",
    "no_boundary_bias": "no boundary bias",
    "layer_norm": "layer norm",
    "select": "choice: no gradient",
    "mix": "choice: all gradient",
    "sample": "boundaries drawn",
    "soft": "boundaries soft",
    "slope_fixed": "slope 1",
    "slope_annealed": "slope 1 to 5",
    "slope_steep": "slope 5",
}
COLUMNS = ("arm", "seeds", "test bpc", "products done", "fires (1)", "fires (2)", "F1 (1)", "F1 (2)")
BySeed = dict[int, float]


def gather() -> dict[tuple[str, str], dict[str, dict[str, BySeed]]]:
    """Of each base and text, of each arm, of each measure, the value of each seed."""
    found: dict[tuple[str, str], dict[str, dict[str, BySeed]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(dict))
    )
    for row in read(HERE / "runs.csv"):
        arm, seed = found[row["model"], row["data"]][row["name"]], int(row["seed"])
        arm["bpc"][seed] = float(row["score"])
        arm["work"][seed] = float(row["macs_done"])
        for level, unit in enumerate(UNITS[row["data"]], 1):
            arm[f"f1_{level}"][seed] = float(row[f"f1_{unit}_{level}"])
            arm[f"rate_{level}"][seed] = float(row[f"boundary_{level}"])
    return found


def tabulate() -> Iterator[str]:
    """A table in Markdown for each base and text: what all in gives, and what each arm differs from it by."""
    for (base, text), arms in sorted(gather().items()):
        yield f"\n**{BASES[base]}, `{TEXTS[text]}`**\n"
        lines = (_line(name, arms[name], arms["full"]) for name in ("full", *ARMS) if name in arms)
        yield from markdown(COLUMNS, lines)


def _line(name: str, arm: dict[str, BySeed], full: dict[str, BySeed]) -> list[str]:
    values = {key: estimate(by_seed) for key, by_seed in arm.items()}
    if name == "full":
        cells = [show(values["bpc"], "{:.3f}"), f"{values['work'].mean:,.0f}"]
        scores = [show(values[f"f1_{level}"], "{:.2f}") for level in (1, 2)]
    else:
        cells = [show(estimate_difference(arm["bpc"], full["bpc"]), "{:+.3f}")]
        cells.append(f"x {values['work'].mean / estimate(full['work']).mean:.2f}")
        scores = [show(estimate_difference(arm[f"f1_{n}"], full[f"f1_{n}"]), "{:+.2f}") for n in (1, 2)]
    rates = [f"{values[f'rate_{level}'].mean:.2f}" for level in (1, 2)]
    return ["all in" if name == "full" else ARMS[name], str(values["bpc"].n), *cells, *rates, *scores]


def draw() -> Figure:
    """What each arm differs by from all in, paired by seed: every seed, mean and interval; a row a base and text."""
    groups = sorted(gather().items())
    heights = [1.1 + 0.17 * len(arms) for _, arms in groups]
    figure = Figure(figsize=(11, sum(heights)), layout="constrained")
    panels = figure.subplots(len(groups), 3, squeeze=False, sharey="row", height_ratios=heights)
    for row, ((base, text), arms) in zip(panels, groups, strict=True):
        names = [name for name in ARMS if name in arms]
        titles = [
            "test bits per character",
            *(f"F1, level {n}, {unit.replace('_', ' ')}" for n, unit in enumerate(UNITS[text], 1)),
        ]
        for axes, measure, title in zip(row, ("bpc", "f1_1", "f1_2"), titles, strict=True):
            for place, name in enumerate(names):
                found = estimate_difference(arms[name][measure], arms["full"][measure])
                if found is None:
                    continue
                axes.plot(found.values, [place] * found.n, "o", color=COLOURS[0], alpha=0.45, markersize=4)
                if found.spread:
                    axes.plot(found.spread, [place] * 2, color=COLOURS[1], linewidth=2)
                axes.plot([found.mean], [place], "D", color=COLOURS[1], markersize=5)
            axes.axvline(0, color="#777777", linewidth=1, linestyle="--")
            axes.set_xlabel(f"{title}, minus all in")
            axes.grid(alpha=0.3, axis="x")
            axes.xaxis.set_major_locator(MaxNLocator(4))
        row[0].set_yticks(range(len(names)), [ARMS[name] for name in names])
        row[0].set_ylim(len(names) - 0.5, -0.5)
        row[0].set_title(f"{BASES[base]}, {TEXTS[text]}", fontsize=10, loc="left")
    return figure


if __name__ == "__main__":
    print("\n".join(tabulate()))
    save(draw(), HERE / "effects.png")
