"""The numbers of a metrics.csv are read, in whatever state the file is."""

import csv

import pytest

from multiscale.runs.metrics import read_column, read_rows


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.csv"


def test_rows_are_cells_by_name(path):
    path.write_text("epoch,step,a\n0,9,1.5\n0,19,\n")
    assert read_rows(path) == [{"epoch": "0", "step": "9", "a": "1.5"}, {"epoch": "0", "step": "19", "a": ""}]


def test_a_column_is_its_numbers_without_the_gaps(path):
    path.write_text("step,a\n1,1.5\n2,\n3,-inf\n4,what\n5,2e-3\n")
    assert read_column(path, "a") == [1.5, -float("inf"), 0.002]
    assert read_column(path, "b") == []


@pytest.mark.parametrize("text", [None, "", "step,a\n", "step,a", "\n"])
def test_a_file_without_rows_has_none(path, text):
    if text is not None:
        path.write_text(text)
    assert read_rows(path) == []
    assert read_column(path, "a") == []


def test_a_last_line_cut_short_is_left_out(path):
    path.write_text("step,a\n1,1.25\n2,1.2")  # was 1.25
    assert read_column(path, "a") == [1.25]


def test_rows_of_another_width_shift_no_cell(path):
    path.write_text("step,a,b\r\n1,1\r\n2,2,3,4\r\n\r\n5,6,7\r\n")
    assert read_rows(path) == [{"step": "1", "a": "1", "b": ""}, {"step": "5", "a": "6", "b": "7"}]


@pytest.mark.parametrize("damage", ['2,"2', "2,\x00\x00", "2," + "\x00" * 2 * csv.field_size_limit()])
def test_a_damaged_cell_takes_no_other_row_with_it(path, damage):
    path.write_text(f"step,a\n1,1.5\n{damage}\n3,2.5\n")
    assert read_column(path, "a") == [1.5, 2.5]


def test_a_name_may_hold_a_comma(path):
    path.write_text('step,"a, b"\n1,1.5\n')
    assert read_column(path, "a, b") == [1.5]
