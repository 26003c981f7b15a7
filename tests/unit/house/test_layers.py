"""The house rules that tools can check: imports point one way, types hold, the lint is clean, nothing shadows PyPI."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAY_IMPORT = {
    "common": {"common"},
    "qemu": {"qemu", "common"},
    "drivers": {"drivers", "common"},
    "images": {"images", "qemu", "common"},
    "orchestrator": {"orchestrator", "images", "drivers", "qemu", "common"},
}


def imports(file: Path) -> set[str]:
    """The layers that a module names in its imports, wherever they stand."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("wsklab.")}


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_imports_point_one_way(layer: str) -> None:
    wrong = {str(file.relative_to(ROOT)): found for file in (ROOT / layer).rglob("*.py")
             if (found := imports(file) - MAY_IMPORT[layer])}
    assert wrong == {}


def test_our_qemu_folder_does_not_hide_the_library_of_that_name() -> None:
    code = "import qemu.qmp, wsklab.qemu; print(qemu.qmp.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "site-packages" in found.stdout


def test_ruff_is_clean() -> None:
    ruff = Path(sys.executable).with_name("ruff")
    result = subprocess.run([ruff, "check", "."], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_types_hold(tmp_path: Path) -> None:
    """mypy sees the layers as `wsklab.<layer>`, the way the installed package maps them."""
    package = tmp_path / "wsklab"
    package.mkdir()
    for layer in MAY_IMPORT:
        (package / layer).symlink_to(ROOT / layer)
    command = [sys.executable, "-m", "mypy", "--strict", "--namespace-packages", "--explicit-package-bases",
               "--cache-dir", str(ROOT / ".mypy_cache"), "-p", "wsklab"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
