"""The tables, from runs.csv: ``python -m experiments.characters.study``. See README.md."""

from collections.abc import Iterator
from pathlib import Path

from experiments.check import show
from experiments.runs import Row, by_seed, group, markdown, read
from multiscale.comparison.statistics import estimate, estimate_difference

HERE = Path(__file__).parent
RIVAL = "lstm"
TEXTS = {"ptb": "Penn Treebank", "tinyshakespeare": "tiny Shakespeare"}
UNITS = {"ptb": ("spaces",), "tinyshakespeare": ("spaces", "sentence_ends")}  # the former has no full stops
BITS = ("arm", "seeds", "epochs", "test bpc", "minus the LSTM's", "parameters", "products a step, with the head's")
LEVELS = ("arm", "level", "fires", "against", "F1", "R-value", "by surprisal", "by entropy", "at random")


def tabulate() -> Iterator[str]:
    """Of each text: what each arm predicts at which cost, the least bits first, and what its levels find."""
    texts = group(read(HERE / "runs.csv"), "data")
    for text, told in TEXTS.items():
        arms = {name: rows for (name,), rows in group(texts.get((text,), ()), "name").items()}
        ordered = sorted(arms, key=lambda name: estimate(by_seed(arms[name], "score")).mean)
        yield f"\n**{told}: bits**\n"
        yield from markdown(BITS, (_bits(name, arms[name], arms.get(RIVAL)) for name in ordered))
        yield f"\n**{told}: levels**\n"
        yield from markdown(
            LEVELS,
            (
                _level(arms[name], level, unit)
                for name in ordered
                if name.startswith("hmlstm")
                for level in (1, 2)
                for unit in UNITS[text]
            ),
        )


def _bits(name: str, rows: list[Row], rival: list[Row] | None) -> list[str]:
    bits = by_seed(rows, "score")
    against = None if name == RIVAL or rival is None else estimate_difference(bits, by_seed(rival, "score"))
    products = estimate(by_seed(rows, "macs_done")).mean + estimate(by_seed(rows, "macs_head")).mean
    return [
        f"`{name}`",
        str(len(rows)),
        f"{float(rows[0]['epochs']):.0f}",
        show(estimate(bits), "{:.3f}"),
        show(against, "{:+.3f}"),
        f"{float(rows[0]['parameters']):,.0f}",
        f"{products:,.0f}",
    ]


def _level(rows: list[Row], level: int, unit: str) -> list[str]:
    scores = [f"{score}_{level}" for score in (f"f1_{unit}", f"r_value_{unit}")]
    baselines = [f"f1_{unit}_{kind}_{level}" for kind in ("surprisal", "entropy", "random")]
    return [
        f"`{rows[0]['name']}`",
        str(level),
        f"{estimate(by_seed(rows, f'boundary_{level}')).mean:.2f}",
        unit.replace("_", " "),
        *(show(estimate(by_seed(rows, column)), "{:.2f}") for column in scores),
        *(f"{estimate(by_seed(rows, column)).mean:.2f}" for column in baselines),
    ]


if __name__ == "__main__":
    print("\n".join(tabulate()))
