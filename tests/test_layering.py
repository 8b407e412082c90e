"""Data flows one way: a file imports only from its own tier or from those before it."""

import ast
import subprocess
import sys

from tests.conftest import ROOT

PACKAGE = ROOT / "multiscale"
TIERS = [
    {"checks", "configuration", "annotations", "signatures", "instantiation"},
    {"data"},
    {"backbones", "nn", "kernels"},
    {"training"},
    {"analysis"},
    {
        "session",
        "preflight",
        "trial",
        "doctor",
        "comparison",
        "compare",
        "folder",
        "launch",
        "job",
        "sweep",
        "resume",
        "benchmark",
        "benchmarks",
        "run",
        "command",
        "generate",
        "segment",
        "search",
        "study",
    },
]


def tier(part: str) -> int:
    return next(i for i, parts in enumerate(TIERS) if part in parts)


def imports(path) -> set[str]:
    """The parts of multiscale that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"relative import in {path}"
        found |= {name.split(".")[1] for name in names if name.startswith("multiscale.")}
    return found


def test_every_file_belongs_to_a_tier_and_imports_only_leftwards():
    checked = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        wrong = {other for other in imports(path) if tier(other) > tier(part)}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"
        checked += 1
    assert checked > 15


def test_a_backbone_knows_neither_lightning_nor_data():
    for path in [
        *(PACKAGE / "backbones").glob("*.py"),
        *(PACKAGE / "nn").glob("*.py"),
        *(PACKAGE / "kernels").glob("*.py"),
    ]:
        assert not imports(path) & {"data", "training"}
        assert "lightning" not in path.read_text()


def test_importing_the_library_is_cheap_and_its_face_is_complete():
    program = "import sys, multiscale as m; assert 'torch' not in sys.modules; [getattr(m, n) for n in m.__all__]"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
