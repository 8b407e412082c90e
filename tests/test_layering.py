"""Data flows one way: a package imports only from those before it, a file from no file that imports it."""

import ast
import graphlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "multiscale"
LAYERS = [  # one package or file of the top each; what all share first
    *("checks", "cli", "config", "data", "nn", "kernels", "backbones", "testing", "runs", "training", "analysis"),
    *("benchmarks", "jobs", "comparison", "__main__"),
]
DOORS = {"run", "compare", "search", "benchmark", "doctor", "generate", "segment"}


def modules() -> dict[str, ast.Module]:
    """Every file of the package by its dotted name."""
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): ast.parse(path.read_text()) for path, name in names.items()}


MODULES = modules()


def imports(tree: ast.Module) -> set[str]:
    """The modules of the package that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else str(node.module) for name in whole}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("multiscale.")}


GRAPH = {name: imports(tree) for name, tree in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"multiscale"}))
def test_a_file_imports_only_from_the_rooms_before_its_own(module):
    mine = room(module)
    assert mine in LAYERS or mine in DOORS, f"{mine} has no place among the layers"
    for other in {room(name) for name in GRAPH[module]} - {mine}:
        assert other in LAYERS, f"{module} imports the door {other}"
        assert mine in DOORS or LAYERS.index(other) < LAYERS.index(mine), f"{module} imports {other}, which is above"


def test_no_files_import_each_other():
    graphlib.TopologicalSorter(GRAPH).prepare()


def test_the_top_holds_doors_and_what_all_share():
    there = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert DOORS <= there <= DOORS | {"checks", "cli", "testing", "__main__"}


def test_a_backbone_knows_neither_lightning_nor_data():
    for module, tree in MODULES.items():
        if module.startswith(("multiscale.backbones", "multiscale.nn", "multiscale.kernels")):
            assert not {room(name) for name in GRAPH[module]} & {"data", "training", "config"}
            assert "lightning" not in ast.unparse(tree)


@pytest.mark.parametrize("package", ["config", "runs"])
def test_words_and_folders_know_no_lightning(package):
    for module, tree in MODULES.items():
        if module.startswith(f"multiscale.{package}"):
            named = [n for node in ast.walk(tree) if isinstance(node, ast.ImportFrom | ast.Import) for n in names(node)]
            assert not [name for name in named if "lightning" in name], module


def names(node: ast.ImportFrom | ast.Import) -> list[str]:
    return [str(node.module)] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


def test_importing_the_library_is_cheap_and_its_face_is_complete():
    program = "import sys, multiscale as m; assert 'torch' not in sys.modules; [getattr(m, n) for n in m.__all__]"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
