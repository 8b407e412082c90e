"""The page of a comparison shows what was measured, holds what runs say apart from markup, and needs nothing else."""

import csv
import gzip
import json
import re
from base64 import b85decode
from html.parser import HTMLParser

import numpy as np
import pytest
from plotly import graph_objects

from multiscale.comparison import draw_matplotlib, draw_plotly, page, passages
from multiscale.comparison.charts import POINTS, find_front, thin
from multiscale.comparison.figures import Axis, Chart, Series, Style, make_styles
from tests.helpers.page_runs import NASTY, TEXT, excerpt, made, several, table
from tests.helpers.run_folders import log, unfinished


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return page.write(table(several(tmp_path_factory.mktemp("runs"))), tmp_path_factory.mktemp("page"))


@pytest.fixture
def without_pictures(monkeypatch):
    """The PNG and PDF files, which take the longest, are not drawn."""
    monkeypatch.setattr(draw_matplotlib, "draw", lambda figure, png, pdf: None)


class Outline(HTMLParser):
    """Links, labels and elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.plots: list[dict] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.tags.append(tag)
        self.links += [named["href"]] if tag == "a" else []
        self.plots += [named] if named.get("class") == "plot" else []


def unpacked(text: str) -> dict:
    """What the page's script unpacks."""
    size, packed = re.search(r'id="figures" data-bytes="(\d+)">([^\n]*)</script>', text).groups()
    return json.loads(gzip.decompress(b85decode(packed)[: int(size)]))


def specs(text: str) -> dict[str, dict]:
    """The figures, with their lists in place."""
    packed = unpacked(text)

    def fill(value):
        return packed["lists"][value["list"]] if isinstance(value, dict) and "list" in value else value

    return {
        key: {**spec, "data": [{name: fill(value) for name, value in trace.items()} for trace in spec["data"]]}
        for key, spec in packed["figures"].items()
    }


def values(folder, key: str) -> list[dict]:
    with (folder / "figures" / f"{key}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_figure_has_its_files_and_words_for_those_who_cannot_see_it(written):
    outline = Outline(written.read_text())
    keys = [plot["data-figure"] for plot in outline.plots]
    kinds = {key.rsplit("-1-python_docs")[0].rsplit("-2-artificial_language")[0] for key in keys}
    assert kinds >= {"curves-val", "curves-train", "cost-parameters", "cost-updates", "cost-operations", "cost-time"}
    assert kinds >= {"rates-update", "rates-boundary", "boundaries", "raster", "periods", "links"}
    assert sorted(outline.links) == sorted(f"figures/{key}.{kind}" for key in keys for kind in ("png", "pdf", "csv"))
    assert all((written.parent / link).stat().st_size for link in outline.links)
    assert all(len(plot["aria-label"]) > 40 for plot in outline.plots)


def test_the_page_holds_all_it_needs(written):
    outline = Outline(written.read_text())
    assert not {"link", "iframe", "img"} & set(outline.tags)
    assert "default-src 'none'" in written.read_text()
    assert not re.search(r"<script[^>]* src=", written.read_text())


def test_curves_are_means_over_seeds_with_the_lowest_and_the_highest(written):
    rows = {row["name"]: row for row in values(written.parent, "curves-val-1-python_docs")}
    assert float(rows["hmlstm"]["val/bpc"]) == pytest.approx((2.0 + 2.25) / 2 + 0.5)
    assert (float(rows["hmlstm"]["lowest"]), float(rows["hmlstm"]["highest"])) == pytest.approx((2.5, 2.75))
    assert rows["hmlstm"]["note"] == "2 seeds"
    train = [row for row in values(written.parent, "curves-train-1-python_docs") if row["name"] == "learned_clock"]
    assert [int(row["training step"]) for row in train] == [9, 19]
    assert [float(row["train/bpc"]) for row in train] == pytest.approx([3.6, 3.55])


def test_beside_the_end_of_a_curve_is_a_dot_a_seed(written):
    data = specs(written.read_text())["curves-val-1-python_docs"]["data"]
    dots = [[*zip(trace["x"], trace["y"], strict=True)] for trace in data if trace["mode"] == "markers"]
    assert dots == [[(19 * 1.02, 2.5), (19 * 1.02, 2.75)], [(19 * 1.02, 3.5), (19 * 1.02, 4.5)]]


def test_costs_are_held_against_the_test_score(written):
    row = values(written.parent, "cost-parameters-1-python_docs")[0]
    assert (row["name"], float(row["parameters"]), float(row["test/bpc"])) == ("hmlstm", 1234, 2.125)


def test_the_page_opens_with_its_answer_then_score_against_products_then_the_table(written):
    text = written.read_text()
    first = re.search(r'<section id="panel-0".*?</section>', text, re.DOTALL)[0]
    answer, plot, grid = (first.index(mark) for mark in ('class="answer"', 'id="plot-cost-operations', "<table>"))
    assert answer < plot < grid
    assert "No ranking, which takes 5 seeds each. The lowest mean is hmlstm" in first[answer:plot]


def test_every_seed_is_a_dot_and_the_front_goes_through_what_nothing_beats(written):
    data = specs(written.read_text())["cost-operations-1-python_docs"]["data"]
    dots = [trace["y"] for trace in data if trace["mode"] == "markers"]
    assert dots == [[2.0, 2.25], [3.0, 4.0]]
    (front,) = [trace for trace in data if "models" in trace["meta"]]
    assert (front["x"], front["y"]) == ([1500], [2.125])
    assert find_front([(3, 1), (1, 3), (2, 3), (2, 2), (4, 1)]) == [(1, 3), (2, 2), (3, 1)]


def test_columns_tell_what_they_mean_and_all_can_be_chosen(written):
    first = re.search(r'<section id="panel-0".*?</section>', written.read_text(), re.DOTALL)[0]
    table = re.search(r"<table>.*?</table>", first, re.DOTALL)[0]
    assert "" not in re.findall(r'<th scope="col"[^>]* title="([^"]*)"', table)
    boxes = re.findall(r'data-column="\d+"( checked)?>([^<]*)<', first[: first.index("<table>")])
    heads = re.findall(r"<button type=\"button\">([^<]*)<", table)
    assert [name for _, name in boxes] == heads[1:]
    assert {"F1", "seconds", "boundaries"} <= {name for checked, name in boxes if checked}
    assert "state" in {name for checked, name in boxes if not checked}


def test_the_boundaries_of_every_seed_are_there_under_its_choice(written):
    found = dict(re.findall(r'data-seeds="([^"]*)">\s*<h3>([^<]*)</h3>', written.read_text()))
    assert found["1"] == "hmlstm, seed 1, on python_docs, language_model"
    assert "boundaries-1-python_docs-1-hmlstm-seed-1" in specs(written.read_text())


def test_the_page_is_light_for_all_that_is_in_it(written):
    assert written.stat().st_size < 2_000_000


def test_the_values_of_boundaries_are_those_of_the_excerpt(written):
    rows = values(written.parent, "boundaries-1-python_docs-1-hmlstm")
    assert "".join(row["symbol"] for row in rows) == TEXT
    assert [int(row["step"]) for row in rows] == list(range(256, 256 + len(TEXT)))
    assert [row["z, layer 1, boundary"] for row in rows] == [str(int(symbol.isspace())) for symbol in TEXT]
    assert [float(row["z, layer 1, probability of a boundary"]) for row in rows][:2] == [0.125, 0.75]
    assert [t for t, row in enumerate(rows) if row["true word ends"] == "1"] == [0, 5]
    assert not any("layer 3" in title for title in rows[0])  # which has no detector


def test_a_strip_on_the_page_shows_every_step_once_in_its_place(written):
    traces = specs(written.read_text())["boundaries-1-python_docs-1-hmlstm"]["data"]
    cells = [
        trace for trace in traces if trace["type"] == "heatmap" and trace["hovertemplate"].startswith("z, layer 1")
    ]
    shown = [pair for trace in cells for pair in zip(trace["x"], trace["z"][0], strict=True)]
    assert shown == [(256 + t, 0.75 if symbol.isspace() else 0.125) for t, symbol in enumerate(TEXT)]
    text = [trace for trace in traces if trace.get("mode") == "text"]
    assert [x for trace in text for x in trace["x"]] == list(range(256, 256 + len(TEXT)))
    assert "".join(s for trace in text for s in trace["text"]).startswith("a·&lt;b&gt;·&amp;·&#123;c}")


def test_plotly_takes_every_figure(written):
    for spec in specs(written.read_text()).values():
        graph_objects.Figure({"data": spec["data"], "layout": spec["layout"]})


def test_pictures_for_papers_have_fonts_that_publishers_take(written):
    for path in (written.parent / "figures").glob("*.pdf"):
        content = path.read_bytes()
        assert content.startswith(b"%PDF")
        assert b"/CIDFontType2" in content  # TrueType
        assert b"/Type3" not in content
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (written.parent / "figures").glob("*.png"))


def test_true_periods_stand_beside_the_learned_ones(written):
    layout = specs(written.read_text())["periods-1-python_docs-2-learned_clock"]["layout"]
    (line,) = layout["shapes"]
    assert (line["y0"], line["y1"], line["label"]["text"]) == (6, 6, "true period 6")
    assert 10 ** layout["yaxis"]["dtick"] == pytest.approx(2)  # a tick an octave
    rows = values(written.parent, "periods-1-python_docs-2-learned_clock")
    assert [float(row["period (steps)"]) for row in rows] == [1, 1, 4, 5, 9, 8]


def test_who_reads_whom_is_a_matrix_with_the_reader_in_the_row(written):
    (cells,) = specs(written.read_text())["links-1-python_docs-2-learned_clock"]["data"]
    assert cells["z"] == [[1.0, 0.25, 0.5], [0.75, 1.0, 0.125], [0.0, 0.5, 1.0]]
    assert (cells["zmin"], cells["zmax"], cells["customdata"][1][0]) == (0, 1, ["layer 2", "layer 1"])
    rows = values(written.parent, "links-1-python_docs-2-learned_clock")
    assert (rows[1]["level"], rows[1]["links to layer 1"], rows[1]["links to layer 3"]) == ("layer 2", "0.75", "0.125")


@pytest.mark.parametrize("links", [[[1.0, 0.5], [1.0]], [], [[1.0] * 4] * 4, [[2.0]], "links"])
def test_a_matrix_that_is_none_makes_its_excerpt_damaged(links):
    assert passages._is_whole(excerpt(matrices={"links": [[1.0, 0.5], [0.5, 1.0]]}))
    assert not passages._is_whole(excerpt(matrices={"links": links}))


def test_a_configuration_has_one_colour_in_all_figures(written):
    seen: dict[str, set[str]] = {}
    for key, spec in specs(written.read_text()).items():
        for trace in spec["data"]:
            if "model" not in trace["meta"]:  # of several
                continue
            if not key.startswith(("boundaries", "raster")) and trace.get("line", {}).get("color"):
                seen.setdefault(trace["meta"]["model"], set()).add(trace["line"]["color"])
            if trace["type"] == "heatmap" and not key.startswith("links"):
                red, green, blue = re.findall(r"\d+", trace["colorscale"][1][1])[:3]
                seen.setdefault(trace["meta"]["model"], set()).add(f"#{int(red):02X}{int(green):02X}{int(blue):02X}")
    assert sorted(map(len, seen.values())) == [1, 1]
    assert len(set.union(*seen.values())) == 2


def test_styles_are_told_apart_and_do_not_run_out():
    styles = make_styles([str(i) for i in range(28)]).values()
    assert len({(style.colour, style.marker) for style in styles}) == 28
    assert len(make_styles([str(i) for i in range(100)])) == 100


def test_long_curves_are_thinned_evenly_from_the_first_point_to_the_last():
    kept = thin(10_001)
    assert (len(kept), kept[0], kept[-1]) == (POINTS, 0, 10_000)
    assert np.ptp(np.diff(kept)) <= 1
    assert thin(7).tolist() == list(range(7))
    assert len(thin(0)) == 0


def test_what_runs_say_is_never_markup(tmp_path, without_pictures):
    made(tmp_path, 2.0, model=NASTY, data="</script><script>alert(1)</script>")
    text = page.write(table(tmp_path), tmp_path / "to").read_text()
    assert "<img" not in text
    assert "<script>alert" not in text
    assert text.count("<script") == text.count("</script>")
    assert draw_plotly.escape_text("%{x} <b>&") == "%&#123;x} &lt;b&gt;&amp;"


def test_runs_set_apart_are_named_with_the_reason_and_their_command(written):
    text = written.read_text()
    assert "failed at epoch 2, step 40: ValueError: &lt;img src=x onerror=alert(1)&gt;" in text
    assert "<code>python -m that</code>" in text
    assert "5 runs of 3 configurations, and 1 set apart" in text


def test_a_damaged_excerpt_is_said_and_the_page_still_written(tmp_path, without_pictures):
    made(tmp_path, 2.0, told=excerpt(truth={"spaces": 7}))
    made(tmp_path, 2.5, "clockwork", told={"symbols": "?"})
    text = page.write(table(tmp_path), tmp_path / "to").read_text()
    assert "hmlstm__0: its excerpt.json is damaged." in text
    assert "curves-val" in text


def test_only_so_many_passages_are_shown_and_the_page_says_so(tmp_path, without_pictures, monkeypatch):
    monkeypatch.setattr(passages, "EXCERPTS", 1)
    for seed in (3, 0):
        made(tmp_path, 2.0, seed=seed)
    made(tmp_path, 3.0, "clockwork")
    text = page.write(table(tmp_path), tmp_path / "to").read_text()
    shown = [key for key in specs(text) if key.startswith("raster")]
    assert shown == ["raster-1-python_docs-1-hmlstm"]
    assert "hmlstm, seed 0, on" in text
    assert "1 more configurations are left out" in text


def test_a_page_of_runs_that_all_failed_says_so(tmp_path):
    log(unfinished(tmp_path / "runs" / "failed", "failed"))
    text = page.write(table(tmp_path / "runs"), tmp_path / "to").read_text()
    assert "No run has a result." in text
    assert "No run tells this." in text


def test_steps_are_whole_numbers_where_a_curve_is_one_point():
    one = Series("gru", "gru", Style("#000000", 0, 0), [14], [5.0], [5.0], [5.0], dots=[(14.28, 5.0)])
    chart = Chart(key="c", title="c", caption="", data="", x=Axis("training step"), y=Axis("bpc"), series=[one])
    (axes,) = draw_matplotlib._draw_chart(chart).axes
    assert [tick for tick in axes.get_xticks() if tick != round(tick)] == []
