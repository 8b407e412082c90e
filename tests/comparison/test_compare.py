"""The table of a comparison is right, and says what it leaves out."""

import csv
import io
import json
import os
import re

import numpy as np
import pytest
from rich.console import Console

from multiscale.checks import InvalidInput
from multiscale.comparison import text
from multiscale.comparison.runs import read_all
from multiscale.comparison.table import Table, build
from multiscale.comparison.text import format_configurations, write
from tests.helpers.run_folders import config, finished, summary, unfinished


def table(folder, baseline: str = "") -> Table:
    return build(read_all([folder]), baseline)


def rows(found: Table) -> dict:
    return {row.label: row for row in found.rows}


def sweep(folder, scores: dict[str, dict[int, float]], **settings) -> None:
    """Finished runs of models, by seed."""
    for model, by_seed in scores.items():
        for seed, score in by_seed.items():
            finished(folder / f"{model}_seed{seed}", score, model=model, seed=seed, **settings)


def test_seeds_of_a_configuration_are_one_row_the_best_row_first(tmp_path):
    sweep(tmp_path, {"stacked_lstm": {0: 2.0, 1: 2.2, 2: 2.1}, "hmlstm": {0: 1.9, 1: 2.0, 2: 2.4, 3: 1.7}})
    found = table(tmp_path)
    assert [(row.label, row.score.n, row.score.mean) for row in found.rows] == [
        ("hmlstm", 4, pytest.approx(2.0)),
        ("stacked_lstm", 3, pytest.approx(2.1)),
    ]
    assert rows(found)["hmlstm"].score.iqm == pytest.approx(1.95)
    assert found.rows[1].score.spread == pytest.approx((2.0, 2.2))
    assert found.rows[1].notes == ("seed 3 is missing",)
    assert found.apart == ()


def test_one_seed_has_no_spread_and_the_tables_say_so(tmp_path):
    sweep(tmp_path, {"hmlstm": {0: 1.5}})
    found = table(tmp_path)
    assert found.rows[0].score.spread is None
    assert "| hmlstm | 1 | 1.5000 | one seed | 1,234 |" in format_configurations(found)
    paths = write(found, tmp_path / "to")
    (cells,) = csv.DictReader(paths[2].open())
    assert [cells[name] for name in ("n", "mean", "low", "high", "spread")] == ["1", "1.5", "", "", "one seed"]


def test_a_difference_from_the_baseline_is_taken_over_shared_seeds(tmp_path):
    sweep(tmp_path, {"stacked_lstm": {0: 2.0, 1: 3.0, 5: 9.0}, "hmlstm": {0: 1.5, 1: 2.7, 7: 0.0}})
    found = rows(table(tmp_path, "stacked_lstm"))
    difference = found["hmlstm"].difference
    assert difference.seeds == (0, 1)
    np.testing.assert_allclose(difference.values, [-0.5, -0.3])
    np.testing.assert_allclose(difference.spread, [-0.5, -0.3])
    assert found["stacked_lstm"].difference is None
    text = format_configurations(table(tmp_path, "stacked_lstm"))
    assert "-0.4000 [-0.5000, -0.3000] range, 2 pairs" in text


def test_folds_are_averaged_and_paired_with_seeds(tmp_path):
    scores = {
        "stacked_lstm": {(0, 0): 2.0, (0, 1): 3.0, (1, 0): 4.0},
        "hmlstm": {(0, 0): 1.5, (0, 1): 2.7, (1, 1): 0.0},
    }
    for model, own in scores.items():
        for (seed, fold), score in own.items():
            changes = {"data": {"folds": 2, "fold": fold}}
            finished(tmp_path / f"{model}_{seed}_{fold}", score, model=model, seed=seed, changes=changes)
    found = table(tmp_path, "stacked_lstm")
    row = rows(found)["hmlstm"]
    assert row.score.n == 3
    assert row.difference.seeds == ((0, 0), (0, 1))
    np.testing.assert_allclose(row.difference.values, [-0.5, -0.3])
    assert row.notes == ("seed 1, fold 0 is missing",)
    assert found.apart == ()
    paths = write(found, tmp_path / "to")
    assert [cells["fold"] for cells in csv.DictReader(paths[0].open())] == ["0", "1", "1", "0", "1", "0"]
    assert next(csv.DictReader(paths[2].open()))["seeds"] == "0/0 0/1 1/1"


def test_without_a_shared_seed_there_is_no_difference_and_a_note(tmp_path):
    sweep(tmp_path, {"stacked_lstm": {0: 2.0}, "hmlstm": {1: 1.5}})
    row = rows(table(tmp_path, "stacked_lstm"))["hmlstm"]
    assert row.difference is None
    assert row.notes == ("seed 0 is missing", "shares no seed with stacked_lstm")


def test_where_the_baseline_has_several_configurations_that_of_the_same_settings_is_taken(tmp_path):
    for width, gain in ((32, 0.1), (64, 0.2)):
        folder = tmp_path / str(width)
        sweep(folder, {"stacked_lstm": {0: 2.0, 1: 3.0}, "hmlstm": {0: 2.0 - gain, 1: 3.0 - gain}}, width=width)
    sweep(tmp_path / "odd", {"clockwork": {0: 2.0}}, width=48)
    found = rows(table(tmp_path, "stacked_lstm"))
    for width, gain in ((32, 0.1), (64, 0.2)):
        row = found[f"hmlstm, hidden_size {width}"]
        assert row.baseline == f"stacked_lstm, hidden_size {width}"
        assert row.difference.mean == pytest.approx(-gain)
    assert found["clockwork"].difference is None
    assert any("no stacked_lstm of the same settings" in note for note in found["clockwork"].notes)
    one = rows(table(tmp_path, "stacked_lstm, hidden_size 64"))
    assert {row.baseline for row in one.values()} == {"stacked_lstm, hidden_size 64"}


def test_a_baseline_that_is_not_there_is_said_with_the_nearest_name(tmp_path):
    sweep(tmp_path, {"stacked_lstm": {0: 2.0}, "hmlstm": {0: 1.5}})
    with pytest.raises(InvalidInput, match=r"baseline must be one of .*Did you mean 'stacked_lstm'"):
        table(tmp_path, "stacked_lst")


def test_a_run_that_crashed_stands_apart_and_its_seed_is_missed(tmp_path):
    sweep(tmp_path, {"stacked_lstm": {0: 2.0, 1: 2.2}, "hmlstm": {0: 1.9}})
    unfinished(tmp_path / "crashed", "failed", {"error": "RuntimeError: no memory"}, seed=1)
    found = table(tmp_path)
    assert rows(found)["hmlstm"].score.values == (1.9,)
    assert rows(found)["hmlstm"].notes == ("seed 1 is missing (failed at epoch 2, step 40: RuntimeError: no memory)",)
    assert [(apart.run.seed, apart.run.state) for apart in found.apart] == [(1, "failed")]
    text = format_configurations(found)
    assert "hmlstm, seed 1: failed at epoch 2, step 40: RuntimeError: no memory" in text
    assert "hmlstm: seed 1 is missing" in text


@pytest.mark.parametrize("state", ["running", "interrupted"])
def test_a_run_without_an_end_is_never_averaged(tmp_path, state):
    sweep(tmp_path, {"hmlstm": {0: 1.9, 1: 2.1}})
    folder = unfinished(tmp_path / "on", state, seed=2)
    (folder / "summary.json").write_text(json.dumps(summary(config(seed=2), 0.0)))  # of an earlier try
    found = table(tmp_path)
    assert found.rows[0].score.mean == pytest.approx(2.0)
    assert found.apart[0].run.state == state


def test_a_diverged_run_stands_apart(tmp_path):
    sweep(tmp_path, {"hmlstm": {0: 1.9, 1: float("nan")}})
    found = table(tmp_path)
    assert found.rows[0].score.values == (1.9,)
    assert found.apart[0].reason == "test/bpc is no number"


def test_runs_on_another_version_of_the_data_stand_apart_with_both_checksums(tmp_path):
    sweep(tmp_path, {"hmlstm": {0: 1.0, 1: 1.2}})
    finished(tmp_path / "new", 5.0, sha256="b" * 64, seed=2)
    finished(tmp_path / "new_lstm", 5.0, sha256="b" * 64, model="stacked_lstm", seed=0)
    found = table(tmp_path)
    assert [(row.label, row.score.n) for row in found.rows] == [("hmlstm", 2)]
    assert len(found.apart) == 2
    assert all("bbbbbbbb" in apart.reason and "aaaaaaaa" in apart.reason for apart in found.apart)


def test_of_two_versions_as_common_the_first_stays(tmp_path):
    finished(tmp_path / "0", 1.0, sha256="c" * 64, seed=0)
    finished(tmp_path / "1", 2.0, sha256="b" * 64, seed=1)
    assert table(tmp_path).rows[0].score.values == (1.0,)


def test_how_data_are_read_is_no_other_version_and_other_content_is_no_wrong_one(tmp_path):
    finished(tmp_path / "0", 1.0)
    finished(tmp_path / "1", 1.0, sha256="b" * 64, changes={"data": {"batch_size": 8, "steps": 32}})
    finished(tmp_path / "2", 1.0, sha256="c" * 64, changes={"data": {"length": 5}})
    found = table(tmp_path)
    assert [apart.run.folder.name for apart in found.apart] == ["1"]
    finished(tmp_path / "3", 1.0, sha256="d" * 64, data="text8")
    assert len(table(tmp_path).apart) == 1


def test_scores_on_other_data_or_another_metric_stand_in_other_tables(tmp_path):
    sweep(tmp_path / "a", {"hmlstm": {0: 1.0}})
    sweep(tmp_path / "b", {"hmlstm": {1: 2.0}}, data="text8", sha256="b" * 64)
    sweep(tmp_path / "c", {"hmlstm": {2: 3.0}}, changes={"data": {"length": 5}}, sha256="c" * 64)
    found = table(tmp_path, "hmlstm")
    assert [row.score.values for row in found.rows] == [(1.0,), (2.0,), (3.0,)]
    assert len({row.first.setting for row in found.rows}) == 3
    assert all(row.notes == () for row in found.rows)  # no seed is missed that only other data have
    text = format_configurations(found)
    assert text.count("\n## ") == 3
    assert "## python_docs, language_model (1): test bpc" in text  # of the two of that name
    assert "## text8, language_model: test bpc" in text


def test_of_a_seed_that_was_run_twice_the_last_to_finish_counts(tmp_path):
    for name, score, when in (("again", 3.0, 300), ("first", 1.0, 100), ("second", 2.0, 200)):
        os.utime(finished(tmp_path / name, score) / "summary.json", (when, when))
    unfinished(tmp_path / "third", "failed")
    found = table(tmp_path)
    assert found.rows[0].score.values == (3.0,)
    assert [apart.reason.endswith("in again") for apart in found.apart] == [True, True, False]


def test_a_row_tells_size_cost_boundaries_and_clocks(tmp_path):
    sweep(tmp_path, {"hmlstm": {0: 1.0, 1: 1.0}})
    path = tmp_path / "hmlstm_seed1" / "summary.json"
    told = json.loads(path.read_text())
    told |= {"seconds": 37.5, "trace": {"operations": 0.25}}
    told["levels"][0]["f1"] = 0.8
    path.write_text(json.dumps(told))
    measured = table(tmp_path).rows[0].measures
    assert measured["seconds"] == 25.0
    assert measured["operations"] == 0.5
    assert measured["f1_1"] == pytest.approx(0.7)
    fixed = {"parameters": 1234, "macs": 2000, "macs_done": 1500, "state_size": 130, "boundary_1": 0.5, "update_2": 0.5}
    assert {name: measured[name] for name in fixed} == fixed
    # the validation metric was best in the first epoch, where the second clock's period was 6; it ended at 7
    assert (measured["period_1"], measured["period_2"]) == (1, 6)
    text = format_configurations(table(tmp_path))
    assert "| parameters | MACs done | seconds | F1 | boundaries | MACs per step |" in text  # what matters first
    assert "| 1,234 | 1,500 | 25 | 0.7 | 0.5 | 2,000 | 0.500 | 130 | 1 / 0.5 | 1 / 6 |" in text


def test_every_run_is_a_row_of_the_tidy_table_and_says_whether_it_counts(tmp_path):
    sweep(tmp_path / "runs", {"hmlstm": {0: 1.0, 1: 2.0}})
    unfinished(tmp_path / "runs" / "z", "failed", {"error": "bad | worse"}, seed=2)
    (tmp_path / "runs" / "z" / "config.yaml").write_text("a: [")
    paths = write(table(tmp_path), tmp_path / "to")
    cells = list(csv.DictReader(paths[0].open()))
    assert [(c["seed"], c["counted"], c["score"]) for c in cells] == [
        ("0", "yes", "1.0"),
        ("1", "yes", "2.0"),
        ("", "no", ""),
    ]
    assert cells[2]["reason"].endswith("bad | worse")
    assert len(paths[1].read_text().splitlines()) == 7
    assert r"bad \| worse" in paths[1].read_text()


def test_nothing_that_counts_is_said(tmp_path):
    unfinished(tmp_path / "a", "failed")
    found = table(tmp_path)
    assert found.rows == ()
    assert "No run has a result." in format_configurations(found)
    with pytest.raises(InvalidInput, match="baseline"):
        table(tmp_path, "hmlstm")


def test_the_command_line_prints_the_table_and_writes_the_files(cli, tmp_path):
    periods = {"model": {"periods": "[red]"}}
    sweep(tmp_path / "runs", {"stacked_lstm": {0: 2.0, 1: 2.2}, "clockwork": {0: 1.9}})
    finished(tmp_path / "runs" / "p", 1.0, model="clockwork", changes=periods)
    result = cli("runs", "baseline=stacked_lstm", "to=out", module="compare")
    assert result.returncode == 0, result.stderr
    assert "clockwork, periods [red]  " in result.stdout  # brackets are no markup
    assert "-1.0000, 1 pair" in result.stdout
    assert "seed 1 is missing" in result.stdout
    assert "A range is the lowest and the highest" in result.stdout
    assert "No ranking" in result.stdout.split("index.html")[1]  # the last lines are the answer
    names = {"runs.csv", "runs.md", "configurations.csv", "configurations.md", "configurations.tex"}
    assert names <= {path.name for path in (tmp_path / "out").iterdir()}
    assert all(f"out/{name}" in result.stdout for name in names)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "runs must be given"),
        (["nowhere"], "'nowhere'"),
        (["runs", "basline=x"], "Did you mean 'baseline'"),
        (["runs", "baseline=hmlst"], "Did you mean 'hmlstm'"),
        (["runs", "to=runs/a/summary.json"], "to must be a folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, words, message):
    from multiscale.cli import command
    from multiscale.compare import main

    finished(tmp_path / "runs" / "a", 1.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["compare", *words])
    with pytest.raises(SystemExit) as ended:
        command(main, "")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_narrow_terminal_shows_fewer_columns_and_no_broken_ones(tmp_path):
    for seed in (0, 1):
        sweep(tmp_path, {"a_long_name_of_a_model": {seed: 2.0 + seed}})
    shown = {}
    for width in (70, 160):
        console = Console(width=width, file=io.StringIO())
        text.show(table(tmp_path), console)
        shown[width] = console.file.getvalue().splitlines()
    assert re.fullmatch(r"a_long_name_of_a_model +2 +2.5000 +\[2.0000, 3.0000\] range *", shown[70][3])
    assert "seconds" in shown[160][2]
    for lines in shown.values():
        assert lines[1].endswith("the lower, the better"), "a heading may be longer than the table is wide"
    assert "Too wide for this terminal, and in the files: parameters, " in " ".join(shown[70])
    assert "Too wide" not in " ".join(shown[160])
