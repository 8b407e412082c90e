"""The scripts and notebooks of ``examples/`` run, and what the scripts train gets better."""

import json
import re
import runpy

import pytest

from tests.conftest import ROOT, TEXT
from tests.helpers import tiny

NOTEBOOKS = {"compare_models": "stacked_lstm .* 7[0-9],[0-9]{3} ", "series_boundaries": "boundaries of layer 1 at "}


def script(name: str):
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"]


def test_the_plain_loop_learns_and_prints_where_the_network_cuts(capsys):
    first, last = script("plain_loop")(epochs=2, chunks=20)
    assert last < first - 0.2
    assert capsys.readouterr().out.replace("|", "").startswith("the quick brown fox")


def test_the_lightning_module_runs():
    assert script("lightning_module")(epochs=1, count=64) < 3.0


def test_every_notebook_is_run():
    assert {path.stem for path in (ROOT / "examples").glob("*.ipynb")} == {*NOTEBOOKS}


@pytest.mark.parametrize("name", [pytest.param("compare_models", marks=pytest.mark.slow), "series_boundaries"])
def test_a_notebook_is_without_outputs_and_its_cells_run_in_their_order(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    (tmp_path / "book.txt").write_text(TEXT * 2)  # what is there is taken, and this is small
    tiny.series(tmp_path, steps=300)
    names = {}
    for cell in json.loads((ROOT / "examples" / f"{name}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            exec("".join(cell["source"]), names)
    assert re.search(NOTEBOOKS[name], capsys.readouterr().out)


def test_the_page_of_the_library_names_both_and_its_own_example_runs():
    page = (ROOT / "docs/library.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(re.sub(r"^(.*\.shape)  # (\[.*\])$", r"assert list(\1) == \2", example, flags=re.M), {})
    for path in (ROOT / "examples").glob("*.*"):
        assert f"examples/{path.name}" in page
        assert path.suffix == ".ipynb" or len(path.read_text().splitlines()) <= 60
