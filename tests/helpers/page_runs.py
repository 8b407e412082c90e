"""Run folders to make a page of, with curves and excerpts."""

import json

from multiscale.comparison.runs import read_all
from multiscale.comparison.table import Table, build
from tests.helpers.run_folders import finished, unfinished

TEXT = "a <b> & {c}: \"d\" \n%{x} $1$ 'e' and so on, to the end of a line and beyond it"
NASTY = "<img src=x onerror=alert(1)>"


def excerpt(**changes) -> dict:
    """What the callback writes of a network of three levels, the first of which fires at white space."""
    steps = len(TEXT)
    fires = [int(symbol.isspace()) for symbol in TEXT]
    whole = {
        "symbols": list(TEXT),
        "levels": ["layer 1", "layer 2", "layer 3"],
        "update": [[1.0] * steps, [0.25] * steps, [0.0] * steps],
        "boundary": [fires, [0] * steps, [0] * steps],
        "probability": [[0.75 if fire else 0.125 for fire in fires], [0.2] * steps, [0.0] * steps],
        "truth": {"spaces": [t for t, fire in enumerate(fires) if fire], "word_ends": [0, 5]},
        "periods": [],
        "true_periods": [],
        "start": 256,
    }
    return {**whole, **changes}


def made(top, score: float, model: str = "hmlstm", seed: int = 0, told: dict | None = None, **settings):
    """A finished run with an excerpt, and curves that start at its score."""
    folder = finished(top / f"{model}_{settings.get('data', '')}_{seed}", score, model=model, seed=seed, **settings)
    (folder / "excerpt.json").write_text(json.dumps(excerpt() if told is None else told))
    rows = [f"0,{step},,{score + 1 / (1 + step)}" for step in (9, 19)] + [f"0,19,{score + 0.5},"]
    (folder / "metrics.csv").write_text("\n".join(["epoch,step,val/bpc,train/bpc", *rows]) + "\n")
    return folder


def table(top) -> Table:
    return build(read_all([top]))


def several(top):
    """Two seeds of two models, one of which learns clocks, another data set, and a run that failed; returns ``top``."""
    for seed in (0, 1):
        made(top, 2.0 + seed / 4, seed=seed)
        links = {"links": [[1.0, 0.25, 0.5], [0.75, 1.0, 0.125], [0.0, 0.5, 1.0]]}
        clocks = excerpt(
            matrices=links, boundary=None, probability=None, truth={}, periods=[[1, 4, 9], [1, 5, 8]], true_periods=[6]
        )
        made(top, 3.0 + seed, "learned_clock", seed, clocks)
    made(top, 1.5, data="artificial_language")
    unfinished(top / "failed", "failed", {"error": f"ValueError: {NASTY}", "command": "python -m that"}, seed=9)
    return top
