"""The house rules that tools can check: imports point one way, types hold, the lint is clean, nothing shadows PyPI."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
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

ROOMS = (
    "errors",
    "unexpected",
    "scenario",
    "observe",
    "judge",
    "results",
    "guest",
    "lab",
    "liveness",
    "play",
    "run",
    "history",
    "fleet",
    "live",
    "pytest_plugin",
    "starting",
    "mutation",
    "trials",
    "field",
    "release",
    "commands",
    "__main__",
)
"""The rooms of the orchestrator; each imports only from itself and from those before it."""

PARTS_OF_FIELD = ("packets", "endings", "debug_text", "scenarios", "search", "replay", "__init__")
"""The same for `orchestrator/field`."""

PARTS_OF_FLEET = (
    "extra",
    "security",
    "job",
    "needs",
    "transport",
    "worker",
    "serving",
    "client",
    "bench_workers",
    "bench",
    "__init__",
)
"""The same for `orchestrator/fleet`."""

PARTS_OF_WINDOWS = ("media", "disk", "answers", "install", "__init__")
"""The same for `images/windows`."""


def imports(file: Path) -> set[str]:
    """Return the modules that a file imports from `wsklab`."""
    return imported(file.read_text(encoding="utf-8"), ("wsklab", *file.relative_to(ROOT).parts[:-1]))


def imported(source: str, package: tuple[str, ...]) -> set[str]:
    """Return the names in import statements, wherever they stand; relative ones are resolved from `package`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *(node.module.split(".") if node.module else ())))
            names |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("wsklab.")}


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_layers_import_downwards(layer: str) -> None:
    wrong = {
        str(file.relative_to(ROOT)): found
        for file in (ROOT / layer).rglob("*.py")
        if (found := {name.split(".")[1] for name in imports(file)} - MAY_IMPORT[layer])
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("package", "order"),
    [
        ("orchestrator", ROOMS),
        ("orchestrator/field", PARTS_OF_FIELD),
        ("orchestrator/fleet", PARTS_OF_FLEET),
        ("images/windows", PARTS_OF_WINDOWS),
    ],
)
def test_rooms_import_downwards(package: str, order: tuple[str, ...]) -> None:
    prefix = f"wsklab.{package.replace('/', '.')}."
    wrong = []
    for file in sorted((ROOT / package).rglob("*.py")):
        room = file.relative_to(ROOT / package).parts[0].removesuffix(".py")
        if room == "__init__" and package == "orchestrator":
            continue
        assert room in order, f"{file.relative_to(ROOT)} is in no room"
        for name in sorted(imports(file)):
            if name.startswith(prefix) and order.index(name.removeprefix(prefix).split(".")[0]) > order.index(room):
                wrong.append(f"{file.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_a_relative_import_is_an_import() -> None:
    assert imported("from ..orchestrator import errors", ("wsklab", "drivers")) == {"wsklab.orchestrator.errors"}
    assert imported("from . import build", ("wsklab", "drivers")) == {"wsklab.drivers.build"}


def test_our_qemu_folder_does_not_hide_the_library_of_that_name() -> None:
    code = "import qemu.qmp, wsklab.qemu; print(qemu.qmp.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "site-packages" in found.stdout


def test_ruff_is_clean() -> None:
    ruff = Path(sys.executable).with_name("ruff")
    result = subprocess.run([ruff, "check", "."], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_types_hold(tmp_path: Path) -> None:
    """mypy sees the layers as `wsklab.<layer>`, the way the installed package maps them, and all tests."""
    package = tmp_path / "wsklab"
    package.mkdir()
    for layer in MAY_IMPORT:
        (package / layer).symlink_to(ROOT / layer)
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    result = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(package), str(ROOT / "tests")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MYPYPATH": f"{tmp_path}:{ROOT / 'tests'}"},
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_room_is_in_the_package() -> None:
    """An editable installation finds rooms that a wheel would lack."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    with_code = {
        ".".join(("wsklab", *init.parent.relative_to(ROOT).parts))
        for layer in MAY_IMPORT
        for init in (ROOT / layer).rglob("__init__.py")
    }
    assert set(listed) == with_code
