"""What a comparison says in words and to LaTeX is what its statistics say, and it says it again while watching."""

import csv
import json

import pytest

from multiscale import compare
from multiscale.comparison import draw_matplotlib
from multiscale.comparison.answer import tell
from multiscale.comparison.text import escape_latex, write
from tests.comparison.test_compare import sweep, table
from tests.helpers.run_folders import finished


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"a": [1.0], "b": [2.0]}, "No ranking, which takes 5 seeds each. The lowest mean is a, bpc 1.0000 (one seed)"),
        ({"a": [1.0, 1.2], "b": [2.0, 2.2]}, "The range of a overlaps no other."),
        ({"a": [1.0, 1.2], "b": [1.1, 2.2]}, "The range of a overlaps that of b."),
        (
            {"a": [1.0, 1.1, 1.2, 1.1, 1.1], "b": [2.2] * 5},
            "Best is a, bpc 1.1000 (5 seeds, [1.0400, 1.1600] 95% interval); b is next, 1.1000 (50.0%) above",
        ),
        ({"a": [1.0, 1.1, 1.2, 1.1, 1.1], "b": [1.1, 1.2] * 3}, "No ranking: every interval overlaps"),
        (
            {"a": [1.0, 1.1, 1.2, 1.1, 1.1], "b": [1.1, 1.2] * 3, "c": [3.0] * 5, "d": [0.9]},
            "overlaps that of b; all others lie above. Not ranked, with fewer than 5 seeds: d.",
        ),
    ],
)
def test_the_answer_ranks_only_what_seeds_enough_tell_apart(tmp_path, scores, said):
    sweep(tmp_path, {model: dict(enumerate(own)) for model, own in scores.items()})
    (setting,) = table(tmp_path).settings()
    answer = tell(setting)
    assert said in answer.verdict
    assert ("Best" in answer.verdict) == said.startswith("Best")
    assert answer.costs.startswith("d takes" if "d" in scores else "a takes 1,234 parameters and 1,500 products a step")
    assert answer.sizes == ""


def test_sizes_that_differ_by_more_than_a_tenth_are_flagged(tmp_path):
    sweep(tmp_path, {"a": {0: 1.0}, "b": {0: 2.0}})
    path = tmp_path / "b_seed0" / "summary.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"parameters": 4936, "macs": {"done": 1600}}))
    (setting,) = table(tmp_path).settings()
    assert tell(setting).sizes == "Sizes differ: parameters from 1,234 (a) to 4,936 (b), 4.0 times as many."


def test_the_table_for_latex_says_names_as_they_are(tmp_path):
    assert escape_latex(r"a_b & 5% $x^2$ {c} \d #1 ~") == (
        r"a\_b \& 5\% \$x\textasciicircum{}2\$ \{c\} \textbackslash{}d \#1 \textasciitilde{}"
    )
    assert escape_latex("x-2 -0.5 [-1, -2]") == "x-2 $-$0.5 {[}$-$1, $-$2{]}"
    sweep(tmp_path, {"a_b": {0: 1.0, 1: 2.0}})
    text = write(table(tmp_path), tmp_path / "to")[4].read_text()
    assert r"a\_b & 2 & 1.5000 & {[}1.0000, 2.0000{]} range & 1,234 & 1,500 &" in text
    assert text.count("{") == text.count("}")


def test_watching_writes_again_when_a_summary_comes_and_ends_quietly(tmp_path, monkeypatch, capsys):
    finished(tmp_path / "runs" / "a", 1.0)
    looks = iter([None, lambda: finished(tmp_path / "runs" / "b", 2.0, seed=1)])

    def pause(seconds: float) -> None:
        look = next(looks, "enough")
        if look == "enough":
            raise KeyboardInterrupt
        if look:
            look()

    monkeypatch.setattr(compare, "sleep", pause)
    monkeypatch.setattr(draw_matplotlib, "draw", lambda *_: None)
    compare.main([str(tmp_path / "runs"), f"to={tmp_path}/to", "watch=true"])
    assert capsys.readouterr().out.count("index.html") == 2
    assert len(list(csv.DictReader((tmp_path / "to" / "runs.csv").open()))) == 2
