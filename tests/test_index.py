"""The index of experiments says what its runs say."""

import csv

import pytest
import yaml

from experiments.check import HOME, here, main
from experiments.enter import enter
from tests.helpers.run_folders import finished, unfinished


def test_every_figure_of_the_index_is_computed_from_its_runs():
    main([])


def test_a_figure_is_a_mean_with_an_interval_from_five_seeds_on_and_a_range_below(tmp_path):
    (tmp_path / "page").mkdir()
    rows = ["state,arm,score", *(f"finished,a,{n}" for n in (1, 2, 3)), *(f"finished,b,{n}" for n in range(9))]
    (tmp_path / "page/runs.csv").write_text("\n".join([*rows, "failed,a,100", "finished,c,0.5"]))
    row = {"what": "x", "page": "page", "runs": "runs.csv", "value": "score", "digits": 1}
    assert here({**row, "where": {"arm": "a"}}, tmp_path) == ("2.0 (1.0 to 3.0)", "3")
    assert here({**row, "where": {"arm": "c"}, "percent": True}, tmp_path) == ("50.0 %", "1")
    mean, seeds = here({**row, "where": {"arm": "b"}}, tmp_path)
    assert mean.startswith("4.0 (2.")
    assert seeds == "9"
    with pytest.raises(ValueError, match=r"no run in page/runs\.csv has"):
        here({**row, "where": {"arm": "d"}}, tmp_path)


def test_a_row_without_runs_has_not_run():
    assert here({"what": "x"}) == ("not run", "")
    assert all({"section", "what", "page"} <= row.keys() for row in yaml.safe_load((HOME / "index.yaml").read_text()))


def test_a_table_of_runs_fills_over_several_sweeps_and_an_entry_is_replaced(tmp_path):
    def entered() -> dict[str, float]:
        with (tmp_path / "runs.csv").open(newline="") as file:
            return {row["folder"]: float(row["score"]) for row in csv.DictReader(file)}

    one, two = tmp_path / "a/multirun/x", tmp_path / "b/multirun/y"
    finished(one / "0_first", 1.5, seed=0)
    unfinished(one / "1_second", "failed", seed=1)
    assert enter(tmp_path, [str(one)]) == 1
    finished(two / "0_third", 1.25, seed=0, width=64)
    finished(one / "1_second", 1.75, seed=1)
    assert enter(tmp_path, [str(two), str(one)]) == 3
    wanted = {"multirun/x/0_first": 1.5, "multirun/x/1_second": 1.75, "multirun/y/0_third": 1.25}
    assert entered() == wanted
    finished(one / "0_first", 1.0, seed=0)
    assert enter(tmp_path, [str(one)], ["model.hidden_size", "data.no_such"]) == 2
    assert entered() == {**wanted, "multirun/x/0_first": 1.0}
    with (tmp_path / "runs.csv").open(newline="") as file:
        assert [row["model.hidden_size"] for row in csv.DictReader(file)] == ["32", "32", ""]
