"""The rules of the stand-in's strict mode as a Linux program, under sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support import native
from support.standin_cases import STRICT as CASES

DRIVERS = Path(__file__).parents[3] / "drivers"
TEST = DRIVERS / "strict/tests/test_strict.c"
SOURCES = [
    *DRIVERS.glob("strict/*.c"), TEST, *DRIVERS.glob("native/*.c"),
    DRIVERS / "standin/os_waiting.c", DRIVERS / "standin/os_sockets.c",
]  # fmt: skip
FLAGS = [
    "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-multichar", "-fshort-wchar", "-pthread",
    "-fno-omit-frame-pointer", "-DWSKLAB_NATIVE", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
    *(f"-I{DRIVERS / folder}" for folder in ("native", "include", "standin", "strict")),
]  # fmt: skip

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


@pytest.fixture(scope="module")
def program() -> Path:
    return native.program("strict", SOURCES, FLAGS)


def test_every_case_is_known_here(program: Path) -> None:
    done = subprocess.run([program, "list"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == CASES


@pytest.mark.parametrize("case", CASES)
def test_rule(program: Path, case: str) -> None:
    done = subprocess.run([program, case], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
