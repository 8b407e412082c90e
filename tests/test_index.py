"""The index of experiments says what its runs say."""

import pytest
import yaml

from experiments.check import HOME, here, main


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
