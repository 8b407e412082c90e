"""What is installed: the files of the distributions, the command, the packages that it needs, and in which versions."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import multiscale
from multiscale.__main__ import commands
from tests.conftest import ROOT, TINY
from tests.helpers.lowest import lowest
from tests.test_layering import DOORS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {extra: [Requirement(need) for need in needs] for extra, needs in PROJECT["optional-dependencies"].items()}
NEEDS = [Requirement(need) for need in PROJECT["dependencies"]]
PYTHON = os.environ.get("PYTHON_UNDER_TEST", sys.executable)  # of another environment: see make test-minimal
DATA = (".j2", ".js", ".css", ".cpp", ".h", ".typed")  # files of the package that are no Python


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(words, check=True, capture_output=True, text=True)
    return folder


def package_files() -> set[str]:
    """What an installed package holds, by its path in the wheel."""
    code = {path for path in (ROOT / "multiscale").rglob("*") if path.suffix in (".py", *DATA)}
    conf = {path for path in (ROOT / "conf").rglob("*") if path.is_file()}
    return {str(path.relative_to(ROOT)) for path in code} | {f"multiscale/{path.relative_to(ROOT)}" for path in conf}


def test_the_wheel_holds_the_code_the_configs_the_templates_and_the_marker_of_types(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        info = f"multiscale_rnn-{multiscale.__version__}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        license_text = archive.read(f"{info}/licenses/LICENSE").decode()
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert names == package_files()
    assert {"multiscale/py.typed", "multiscale/conf/config.yaml"} <= names
    assert "License-Expression: MIT" in metadata
    assert license_text == (ROOT / "LICENSE").read_text()
    assert "multiscale = multiscale.__main__:main" in entry_points


def test_the_sdist_holds_what_it_takes_to_build_test_and_cite(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "CITATION.cff", "README.md", "pyproject.toml", "Makefile", "tests/conftest.py"} <= names
    assert {"multiscale/py.typed", "conf/config.yaml"} <= names


def test_the_version_is_one_and_the_citation_has_what_the_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert multiscale.__version__ == PROJECT["version"] == citation["version"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert all(citation[key] for key in ("message", "title", "abstract", "keywords"))
    assert citation["authors"] == PROJECT["authors"]
    papers = " ".join(str(paper) for paper in citation["references"])
    assert all(paper["type"] and paper["authors"] and paper["title"] for paper in citation["references"])
    assert set(re.findall(r"arxiv.org/abs/([\d.]+)", (ROOT / "README.md").read_text())) == set(
        re.findall(r"arxiv.org/abs/([\d.]+)", papers)
    )


def test_every_door_is_a_command_and_help_tells_each_in_a_line(cli):
    assert set(commands()) == DOORS
    told = cli("--help", module="__main__").stdout
    lines = {words[0]: words[1] for line in told.splitlines()[1:] if (words := line.split(maxsplit=1))}
    assert set(lines) == DOORS
    assert lines["run"] == "Train one backbone, test it, and say what it learned"


@pytest.mark.parametrize(("words", "message"), [(["rnu"], r"got 'rnu'. Did you mean 'run'\?$"), ([], "got ''.$")])
def test_a_command_that_is_none_is_one_line_with_the_nearest(cli, words, message):
    done = cli(*words, module="__main__")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch("error: command must be one of benchmark, .*" + message, done.stderr.strip())


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("run", ["--cfg", "job", "model=clockwork"]),  # Hydra's own flags
        ("run", ["-m", "model=hmlstmm"]),
        ("run", ["--help"]),
        ("compare", ["--help"]),
        ("benchmark", ["model=x"]),
    ],
)
def test_a_command_does_what_its_module_does(cli, module, words):
    one, other = cli(*words, module=module), cli(module, *words, module="__main__")
    assert (one.returncode, one.stdout, one.stderr) == (other.returncode, other.stdout, other.stderr)


def test_picking_a_command_imports_nothing_of_weight():
    program = "import sys, multiscale.__main__ as m; m.help_text(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True, text=True)
    assert not {"torch", "numpy", "hydra", "omegaconf", "rich", "yaml"} & set(done.stdout.split())


def refused() -> list[str]:
    """The packages to import of every extra, but for those that the core needs too."""
    of_core = {need.name for need in NEEDS} | {"hydra-core"}
    of_extras = {need.name for needs in EXTRAS.values() for need in needs} - of_core - {"multiscale-rnn"}
    known = packages_distributions().items()
    found = {package for package, homes in known if of_extras.intersection(homes) and not of_core.intersection(homes)}
    assert {"pytest", "optuna", "mypy"} <= found
    return sorted(found)


@pytest.mark.slow  # and run by `make test-minimal`
def test_nothing_imports_what_only_an_extra_brings():
    program = ROOT / "tests" / "helpers" / "import_all.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [PYTHON, str(program), *refused()]
    done = subprocess.run(words, check=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        *(f"multiscale.jobs.{name}: No module named 'optuna'" for name in ("plan", "study")),
        *(f"multiscale.kernels.hmlstm.triton_{way}: No module named 'triton'" for way in ("backward", "forward")),
    ]


def test_what_an_extra_is_for_names_the_extra_where_it_is_missing():
    program = (
        "import sys; from tests.helpers.import_all import Refuse; from multiscale.__main__ import main\n"
        "sys.meta_path.insert(0, Refuse(['optuna'])); main()"
    )
    words = [sys.executable, "-c", program, "search", "search=lr_and_size"]
    done = subprocess.run(words, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "error: a search needs Optuna: pip install 'multiscale-rnn[search]' (No module named 'optuna').\n"
    )


def test_every_dependency_has_a_lowest_version_and_the_installed_is_one_of_those_allowed():
    assert len(lowest()) == len(NEEDS) - 1  # but torch
    for need in NEEDS:
        assert need.specifier.contains(version(need.name)), need


@pytest.mark.skipif(sys.executable == PYTHON, reason="in an environment of the lowest versions: make test-minimal")
def test_a_run_ends_with_the_lowest_versions(tmp_path):
    program = "from importlib.metadata import version; import sys; print(*map(version, sys.argv[1:]))"
    names = [constraint.partition("==")[0] for constraint in lowest()]
    found = subprocess.run([PYTHON, "-c", program, *names], check=True, capture_output=True, text=True).stdout.split()
    for constraint, there in zip(lowest(), found, strict=True):
        assert Requirement(constraint).specifier.contains(there), f"{constraint}, found {there}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [PYTHON, "-m", "multiscale", "run", *TINY]
    subprocess.run(words, check=True, cwd=tmp_path, env=environment)
    subprocess.run([PYTHON, "-m", "multiscale", "compare", "runs"], check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "comparison" / "index.html").is_file()
