"""The page works in a browser, from the disk: tabs, filter, hover, theme, a phone's width; no errors, no requests."""

import re
import shutil

import pytest

from multiscale.comparison import page
from tests.helpers.page_runs import NASTY, TEXT, made, several, table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
FLAGS += " disable-component-update disable-sync"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=[f"--{flag}" for flag in FLAGS.split()])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page with what could be mistaken for markup in names and in the text."""
    top = tmp_path_factory.mktemp("browsed")
    several(top / "runs")
    made(top / "runs", 4.0, model=NASTY)
    return page.write(table(top / "runs"), top / "page").as_uri()


@pytest.fixture
def visit(browser, address):
    """Open the page in a window of a size and a colour scheme; what it reports or asks for fails the test."""
    opened, trouble = [], []

    def call(size=WIDE, scheme: str = "light"):
        context = browser.new_context(viewport=size, color_scheme=scheme)
        sheet = context.new_page()
        sheet.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
        sheet.on("pageerror", lambda error: trouble.append(str(error)))
        sheet.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
        sheet.on(
            "request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or trouble.append(asked.url)
        )
        sheet.goto(address)
        opened.append(context)
        return sheet

    yield call
    for context in opened:
        context.close()
    assert trouble == []


def show(sheet, tab: str) -> None:
    sheet.get_by_role("tab", name=re.compile(tab)).click()


def plot(sheet, key: str):
    """A figure, scrolled to and drawn."""
    found = sheet.locator(f'[id="plot-{key}"]')
    found.scroll_into_view_if_needed()
    found.locator(".main-svg").first.wait_for()
    return found


def colours(place) -> set[str]:
    return set(place.evaluate("e => [...e.querySelectorAll('text')].map((t) => getComputedStyle(t).fill)"))


def test_every_tab_opens_its_section_alone_and_draws_its_figures(visit):
    sheet = visit()
    tabs = sheet.get_by_role("tab").all()
    assert len(tabs) == 9
    for tab in tabs:
        tab.click()
        assert sheet.locator('[role="tabpanel"]:visible').count() == 1
        for place in sheet.locator(".plot:visible").all():
            place.scroll_into_view_if_needed()
            place.locator(".main-svg").first.wait_for()
        assert tab.get_attribute("aria-selected") == "true"


def test_tabs_are_reached_by_the_keyboard(visit):
    sheet = visit()
    sheet.get_by_role("tab", name="Leaderboard").focus()
    sheet.keyboard.press("ArrowRight")
    assert sheet.get_by_role("tab", name="Curves").get_attribute("aria-selected") == "true"


def test_hovering_over_a_boundary_tells_its_probability_and_its_character(visit):
    sheet = visit()
    show(sheet, "Boundaries")
    place = plot(sheet, "boundaries-1-python_docs-1-hmlstm")
    told = {}
    for t in (1, 2, 11):  # a space, a bracket, a double quotation mark
        x, y = place.evaluate(
            """(e, t) => { const l = e._fullLayout, box = e.getBoundingClientRect();
            return [box.x + l.xaxis._offset + l.xaxis.d2p(256 + t), box.y + l.yaxis._offset + l.yaxis.d2p(1)]; }""",
            t,
        )
        sheet.mouse.move(x - 3, y)
        sheet.mouse.move(x, y)
        sheet.wait_for_function(
            "n => document.querySelector('.hovertext')?.textContent.includes(n)", arg=f"step {256 + t}"
        )
        told[t] = place.locator(".hovertext").text_content()
        sheet.mouse.move(5, 5)
    assert "z, layer 1" in told[1]
    assert "step 257: space, a boundary" in told[1]
    assert "probability of a boundary 0.750" in told[1]
    assert "step 258: ‘<’" in told[2]
    assert "probability of a boundary 0.125" in told[2]
    assert "a boundary" not in told[2].replace("of a boundary", "")
    assert "‘" + TEXT[11] + "’" in told[11]


def test_text_is_written_as_it_is(visit):
    sheet = visit()
    show(sheet, "Boundaries")
    place = plot(sheet, "boundaries-1-python_docs-1-hmlstm")
    shown = place.evaluate("e => [...e.querySelectorAll('.scatterlayer text')].map((t) => t.textContent).join('')")
    assert shown == TEXT.replace(" ", "·").replace("\n", "↵")
    assert sheet.locator("th", has_text=NASTY).count() > 0
    show(sheet, "Costs")
    names = plot(sheet, "cost-time-1-python_docs").evaluate("e => e.data.map((t) => t.name)")
    assert NASTY.replace("<", "&lt;").replace(">", "&gt;") in names


def test_the_filter_acts_on_the_leaderboard_and_on_figures(visit):
    sheet = visit()
    rows = sheet.locator("#panel-0 tbody tr:visible")
    assert rows.count() == 4
    show(sheet, "Curves")
    drawn = plot(sheet, "curves-val-1-python_docs")
    lines = drawn.locator(".scatterlayer .lines path.js-line")
    before = lines.count()
    sheet.get_by_role("checkbox", name="learned_clock").uncheck()
    assert 0 < lines.count() < before
    show(sheet, "Clocks")
    assert sheet.locator("#panel-4 figure:visible").count() == 3
    show(sheet, "Leaderboard")
    assert rows.count() == 3
    sheet.get_by_role("checkbox", name="python_docs").uncheck()
    assert rows.count() == 1
    show(sheet, "Curves")
    assert not drawn.is_visible()
    sheet.get_by_role("checkbox", name="python_docs").check()
    sheet.get_by_role("checkbox", name="learned_clock").check()
    plot(sheet, "curves-val-1-python_docs")
    assert lines.count() == before


def test_a_column_sorts_its_table_both_ways(visit):
    sheet = visit()
    header = sheet.locator("#panel-0 table").first.get_by_role("button", name="bpc")
    scores = sheet.locator("#panel-0 table").first.locator("tbody td:nth-child(3)")
    header.click()
    rising = [float(text) for text in scores.all_text_contents()]
    header.click()
    assert rising == sorted(rising)
    assert [float(text) for text in scores.all_text_contents()] == rising[::-1]


def test_columns_are_shown_and_hidden_by_choice_and_none_is_cut_unasked(visit):
    sheet = visit()
    box = sheet.locator("#panel-0 .wide:has(table)").first
    assert box.evaluate("e => e.scrollWidth <= e.clientWidth")
    heads = box.locator("th[scope=col]:visible")
    assert "state" not in heads.all_text_contents()
    sheet.locator("#panel-0 details.columns summary").first.click()
    chooser = sheet.locator("#panel-0 details.columns").first
    chooser.get_by_label("state", exact=True).check()
    chooser.get_by_label("seeds", exact=True).uncheck()
    assert "state" in heads.all_text_contents()
    assert "seeds" not in heads.all_text_contents()
    assert box.locator("tbody tr").first.locator("td:visible").count() == heads.count() - 1


def test_a_table_that_is_wider_than_a_phone_scrolls_in_its_box_and_fades_where_it_goes_on(visit):
    box = visit(PHONE).locator("#panel-0 .wide:has(table)").first
    assert box.evaluate("e => e.scrollWidth > e.clientWidth && e.classList.contains('more')")
    box.evaluate("e => e.scrollTo(e.scrollWidth, 0)")
    box.page.wait_for_function("e => !e.classList.contains('more')", arg=box.element_handle())


def test_the_boundaries_of_a_seed_are_shown_when_it_is_chosen(visit):
    sheet = visit()
    show(sheet, "Boundaries")
    titles = sheet.locator("#panel-3 figure:visible h3")
    assert sum("seed 0" in title for title in titles.all_text_contents()) == titles.count() > 1
    sheet.locator("#seed").select_option("1")
    assert titles.all_text_contents() == ["hmlstm, seed 1, on python_docs, language_model"]
    plot(sheet, "boundaries-1-python_docs-1-hmlstm-seed-1")


def test_the_command_of_a_run_is_copied(visit):
    sheet = visit()
    sheet.context.grant_permissions(["clipboard-read", "clipboard-write"])
    show(sheet, "Runs")
    sheet.get_by_role("button", name="Copy").first.click()
    sheet.get_by_role("button", name="Copied").wait_for()
    assert sheet.evaluate("navigator.clipboard.readText()") == "python -m that"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_until_it_is_switched(visit, scheme):
    sheet = visit(scheme=scheme)
    show(sheet, "Curves")
    place = plot(sheet, "curves-val-1-python_docs")
    theme = sheet.locator("html")
    assert theme.get_attribute("data-theme") == scheme
    ground, ink = sheet.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    assert colours(place) == {ink}
    sheet.get_by_role("button", name="Light or dark").click()
    assert theme.get_attribute("data-theme") != scheme
    assert sheet.evaluate("getComputedStyle(document.body).backgroundColor") != ground
    assert colours(place) == {sheet.evaluate("getComputedStyle(document.body).color")}
    assert ink not in colours(place)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_section_is_wider_than_the_window(visit, size, scheme, tmp_path):
    sheet = visit(size, scheme)
    for number, tab in enumerate(sheet.get_by_role("tab").all()):
        tab.click()
        for place in sheet.locator(".plot:visible").all():
            place.scroll_into_view_if_needed()
            place.locator(".main-svg").first.wait_for()
        assert sheet.evaluate("document.documentElement.scrollWidth") == size["width"]
        sheet.evaluate("window.scrollTo(0, 0)")
        picture = tmp_path / f"{scheme}_{number}.png"
        assert sheet.screenshot(path=picture, full_page=True)[:4] == b"\x89PNG"
