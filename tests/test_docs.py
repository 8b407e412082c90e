"""The documentation is built without a warning and asks no network, and what is made for it is all there."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from types import ModuleType

import torch

import multiscale
from multiscale.config.compose import CONF, jobs
from multiscale.data.module import Passage
from tests.conftest import MODELS, ROOT, network

ELSEWHERE = re.compile(r"(https?:)?//")


class Loaded(HTMLParser):
    """What a page makes a browser load: addresses in any tag but a link that is clicked."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag != "a":
            self.addresses += [
                value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")
            ]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOKS, FIGURES = load("hooks"), load("figures")
README = (ROOT / "README.md").read_text()


def test_the_site_is_built_without_a_warning_or_a_network_and_loads_nothing_from_elsewhere(tmp_path):
    words = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(tmp_path),
    ]  # quiet, it would not count
    closed = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    env = {**os.environ, **closed, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    for name, page in pages.items():
        assert [at for at in Loaded(page).addresses if ELSEWHERE.match(at)] == [], name
        assert 'class="mermaid"' not in page, name  # the theme would fetch its script
        assert 'class="arithmatex"' not in page, name  # a formula that was not made MathML
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"""(@import|url\()\s*["']?(https?:)?//""", sheet.read_text()), sheet.name
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in pages["models.html"]
    assert "T_i in steps" in pages["api/backbones.html"]  # of the class's docstring
    assert 'href="api/backbones.html#multiscale.backbones.clockwork"' in pages["models.html"]
    assert 'id="multiscale.backbones.clockwork"' in pages["api/backbones.html"]
    assert re.search(
        r"<summary>Its options</summary>.*who reads whom", pages["models.html"], re.S
    )  # of a file of conf/
    assert 'href="backbones.html"' in pages["index.html"]
    assert 'href="experiments/first_comparison/index.html"' in pages["reproduced.html"]


def test_every_choice_of_every_group_is_told_in_a_line():
    table = HOOKS.configuration("")
    for path in (path for path in CONF.rglob("*/*.yaml") if path.relative_to(CONF).parts[0] != "hydra"):
        group, _, name = path.relative_to(CONF).with_suffix("").as_posix().partition("/")
        assert re.search(rf"^\| `{name}` \| \w", table.partition(f"## {group}\n")[2].partition("\n## ")[0], re.M), path


def test_every_model_of_the_readme_is_told_of_once_with_a_figure():
    page = (ROOT / "docs/models.md").read_text()
    named = {name for row in re.findall(r"^\| (`.*?) \|", README, re.M) for name in re.findall(r"`(\w+)`", row)}
    named &= set(MODELS)
    assert len(named) > 20
    assert sorted(re.findall(r"^- \[`model=(\w+)`\]\(\.\./conf/model/\1\.yaml\)", page, re.M)) == sorted(named)
    figures = re.findall(r"^!\[.+\]\(models/(\w+)\.png\)$", page, re.M)
    assert sorted(figures) == sorted(named)
    assert sorted(path.stem for path in (ROOT / "docs/models").iterdir()) == sorted(named)


def test_a_model_that_the_page_does_not_tell_of_is_told_by_its_docstring():
    page = "- [`model=gru`](x)"
    told = HOOKS.models(page)
    assert sorted(re.findall(r"^- `model=(\w+)`: \w", told, re.M)) == sorted(set(MODELS) - {"gru"})
    for model in ("hmlstm", "clockwork"):  # the first has its class from the file that it starts from
        target = jobs([f"model={model}"])[0].model._target_
        part = told.partition(f"## {target.rpartition('.')[2]}\n")[2].partition("##")[0]
        assert f"- `model={model}`: " in part
        assert f"\n::: {target}\n" in part


def test_what_is_left_of_a_character_is_nothing_where_it_was_not_read(data):
    module = network(data, "model=clockwork", "model.periods=[1,8,16]").eval()
    steps = FIGURES.WARM_UP + FIGURES.SHOWN
    text = Passage(torch.arange(steps)[None] % data.facts.num_symbols, ("",) * steps)
    left, at = FIGURES.what_is_left(module, text), FIGURES.CHANGED
    assert left.shape == (FIGURES.SHOWN, 3)
    assert not left[:at].any()
    assert (left[at, :2] > 0).all()  # step 8 + 256 is a tick of the period 8, not of the period 16
    assert left[at, 2] == 0
    assert torch.equal(left[at : at + 8, 1], left[at, 1].expand(8))  # held to the next tick


def test_the_home_of_every_class_of_the_library_is_in_its_api():
    api = "".join(HOOKS.api(package, "") for package in HOOKS.PACKAGES)
    for name in multiscale.__all__:
        if isinstance(found := getattr(multiscale, name), type):
            assert f"\n::: {found.__module__}\n" in api
