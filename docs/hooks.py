"""What mkdocs adds to the pages of this folder: the experiments' READMEs, the models, the configuration and the API.

All of it is made from the repository at each build, so that a new model, choice, module or experiment is in it by
itself. Links that leave docs/ are written for the repository's own tree; here they lead to the same page of the site,
to the API of a module, or, where the site has none, become plain text. Formulas become MathML, which browsers draw by
themselves.
"""

import html
import posixpath
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
PACKAGES = {  # of the API, and what each is
    "backbones": "What maps an input to the hidden sequences of several levels, and the contract that all share.",
    "nn": "Heads, encoders, schedules, clocks and boundary detectors.",
    "analysis": "Boundary metrics, the read-out of clocks, excerpts, and plots of a trace.",
    "comparison": "Run folders, read into one table, its statistics, figures and page.",
}
MODULE = re.compile(r"multiscale/(\w+)/([\w/]+)\.py")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
FILE = re.compile(r"^- \[`model=(\w+)`\]\(\S+\).*\n(?:  .*\n)*", re.M)  # an item of docs/models.md that links a file
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the API, and the experiments' READMEs and pictures."""
    for package, text in PACKAGES.items():
        files.append(File.generated(config, f"api/{package}.md", content=api(package, text)))
    for path in sorted((ROOT / "experiments").rglob("*")):
        if path.name == "README.md" or path.suffix in (".png", ".svg"):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mend links that lead out of docs/ or come from outside of it; add what two pages have from code and conf/."""
    here = page.file.src_uri
    home = here if here.startswith("experiments/") else f"docs/{here}"
    if here == "models.md":
        markdown = FILE.sub(lambda item: f"{item[0]}\n{options(item[1])}", markdown)

    def mended(link: re.Match[str]) -> str:
        picture, text, target, anchor = link.groups(default="")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(home), target))
        path = path.removeprefix("docs/")
        if (module := MODULE.fullmatch(path)) and module[1] in PACKAGES:
            path, anchor = f"api/{module[1]}.md", f"#multiscale.{module[1]}.{module[2].replace('/', '.')}"
        if files.get_file_from_path(path) is None:
            if home != here and not target.startswith("../"):
                return link[0]  # within docs/, where mkdocs says what is wrong
            if not (ROOT / path).exists():
                raise ValueError(f"{home} refers to {target}, which does not exist")
            return text
        return f"{picture}[{text}]({posixpath.relpath(path, posixpath.dirname(here) or '.')}{anchor})"

    return LINK.sub(mended, markdown) + (MADE[here](markdown) if here in MADE else "")


def on_page_content(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put MathML in the place of what pymdownx.arithmatex has marked."""

    def drawn(found: re.Match[str]) -> str:
        if found[1] == "span":
            return convert(html.unescape(found[2]))
        return f"<p>{convert(html.unescape(found[2]), display='block')}</p>"  # for its margins

    return FORMULA.sub(drawn, text)


def options(model: str) -> str:
    """A model's file with its comments, to be opened, below its item of a list."""
    text = (CONF / f"model/{model}.yaml").read_text().strip()
    return f'    ??? note "Its options"\n\n        ```yaml\n{textwrap.indent(text, " " * 8)}\n        ```\n'


def about(path: Path) -> str:
    """The first comment line of a file of conf/, which says what it is."""
    lines = (line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("# "))
    return next((line for line in lines if not line.startswith("@package")), "")


def models(page: str) -> str:
    """For each class of conf/model that the page does not tell of its files and its docstring."""
    classes: dict[str, list[Path]] = {}
    for path in sorted((CONF / "model").glob("*.yaml")):
        if f"[`model={path.stem}`]" not in page:
            classes.setdefault(target_of(path), []).append(path)
    text = [""]
    shown = "    options: {show_root_heading: false, show_root_toc_entry: false, members: false}"
    for target, paths in sorted(classes.items(), key=lambda item: item[0].rpartition(".")[2].lower()):
        chosen = "\n".join(f"- `model={path.stem}`: {about(path)}" for path in paths)
        text.append(f"## {target.rpartition('.')[2]}\n\n{chosen}\n\n::: {target}\n{shown}")
    return "\n\n".join(text)


def target_of(path: Path) -> str:
    """The class of a file of conf/model, which may stand in the file that it starts from."""
    values = yaml.safe_load(path.read_text())
    return values["_target_"] if "_target_" in values else target_of(path.with_stem(values["defaults"][0]))


def configuration(_: str) -> str:
    """A table of the choices of each group."""
    text = [""]
    for group in sorted(path for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"):
        rows = "\n".join(f"| `{name}` | {line} |" for name, line in choices(group))
        text.append(f"## {group.name}\n\n| `{group.name}=` | what it is |\n|---|---|\n{rows}")
    return "\n\n".join(text)


def choices(group: Path) -> Iterator[tuple[str, str]]:
    """The name and the first comment line of each file of a group."""
    for path in sorted(group.rglob("*.yaml")):
        yield path.relative_to(group).with_suffix("").as_posix(), about(path).replace("|", "\\|")


def api(package: str, text: str) -> str:
    """The public functions and classes of each module of a package."""
    folder = ROOT / "multiscale" / package
    names = sorted(path.relative_to(ROOT).with_suffix("") for path in folder.rglob("*.py") if path.stem != "__init__")
    modules = "\n\n".join(f"::: {'.'.join(name.parts)}\n    options: {{heading_level: 2}}" for name in names)
    return f"# multiscale.{package}\n\n{text}\n\n{modules}\n"


MADE = {"models.md": models, "configuration.md": configuration}
