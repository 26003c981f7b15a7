"""The stand-in WSK provider as a Linux program, under sanitizers, against real connections on the loopback interface.

The cases are C functions in drivers/standin/tests, named by the requirement (R) or ending (C) they show.
WSKLAB_SOAK sets the number of connections of the soak test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support import native
from support.own_network import in_own_network
from support.standin_cases import CASE, CASES, DRIVERS

SOURCES = [
    path for folder in ("standin", "standin/tests", "strict", "native") for path in DRIVERS.glob(f"{folder}/*.c")
]
FLAGS = [
    "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fshort-wchar", "-fno-omit-frame-pointer", "-pthread",
    "-DWSKLAB_NATIVE", f"-I{DRIVERS / 'native'}", f"-I{DRIVERS / 'include'}", f"-I{DRIVERS / 'standin'}",
    f"-I{DRIVERS / 'strict'}",
]  # fmt: skip

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def build(name: str, sanitizers: str) -> Path:
    return native.program(name, SOURCES, [*FLAGS, f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"])


def run(program: Path, *arguments: str, seconds: int = 60) -> str:
    done = subprocess.run(
        in_own_network(program, *arguments), capture_output=True, text=True, check=False, timeout=seconds
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def program() -> Path:
    return build("provider", "address,undefined")


@pytest.fixture(scope="module")
def threaded() -> Path:
    program = build("provider-threads", "thread")
    works = subprocess.run([program, "list"], capture_output=True, text=True, check=False)
    if "unexpected memory mapping" in works.stderr:
        pytest.skip("this kernel's address layout is not known to gcc's thread sanitizer")
    return program


def test_every_case_is_known_here(program: Path) -> None:
    assert run(program, "list").split() == [name for suite in order() for name in suite]


def order() -> list[list[str]]:
    """Return the cases in the program's order of suites."""
    suites = ("connection", "closing", "transfer", "events", "listen", "rules", "witness", "scarcity", "threads")
    return [CASE.findall((DRIVERS / f"standin/tests/test_{suite}.c").read_text()) for suite in suites]


@pytest.mark.parametrize("case", CASES)
def test_case(program: Path, case: str) -> None:
    run(program, case)


def test_no_data_races(threaded: Path) -> None:
    run(threaded, *CASES, seconds=120)


def test_a_thousand_connections_reset_at_once(program: Path) -> None:
    run(program, "crowd", "1000")


@pytest.mark.parametrize("build", ["program", "threaded"])
def test_several_threads_at_once(build: str, request: pytest.FixtureRequest) -> None:
    run(request.getfixturevalue(build), "soak", "300", "concurrent=on seed=3")


def test_nothing_grows(program: Path) -> None:
    run(program, "soak", os.environ.get("WSKLAB_SOAK", "4000"), seconds=600)
