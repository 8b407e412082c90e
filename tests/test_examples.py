"""The scripts of ``examples/`` run, and what they train gets better."""

import re
import runpy

from tests.conftest import ROOT


def script(name: str):
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"]


def test_the_plain_loop_learns_and_prints_where_the_network_cuts(capsys):
    first, last = script("plain_loop")(epochs=2, chunks=20)
    assert last < first - 0.2
    assert capsys.readouterr().out.replace("|", "").startswith("the quick brown fox")


def test_the_lightning_module_runs():
    assert script("lightning_module")(epochs=1, count=64) < 3.0


def test_the_page_of_the_library_names_both_and_its_own_example_runs():
    page = (ROOT / "docs/library.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(re.sub(r"^(.*\.shape)  # (\[.*\])$", r"assert list(\1) == \2", example, flags=re.M), {})
    for path in (ROOT / "examples").glob("*.py"):
        assert f"examples/{path.name}" in page
        assert len(path.read_text().splitlines()) <= 60
