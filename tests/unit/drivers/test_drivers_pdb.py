"""A driver's functions and lines from its PDB, as llvm-pdbutil dumps it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab import images
from wsklab.drivers import build, clang, pdb
from wsklab.drivers.build import HOME, BuiltDriver, build_driver
from wsklab.drivers.check import check_file
from wsklab.drivers.errors import DriverError
from wsklab.drivers.symbols import Symbols
from wsklab.orchestrator.lab.target import name_places

DUMP = r"""
                       Public Symbols
============================================================
  Records
      28 | S_PUB32 [size = 24] `helper`
           flags = function, addr = 0001:0000
      60 | S_PUB32 [size = 24] `imported`
           flags = function, addr = 0001:0096

                          Symbols
============================================================
  Mod 0000 | `C:\build\d.obj`:
      72 | S_GPROC32 [size = 48] `helper`
           parent = 0, end = 180, addr = 0001:0000, code size = 12
           type = `0x1001 (int (int))`, debug start = 0, debug end = 0, flags = none
     184 | S_LPROC32 [size = 52] `DriverEntry`
           parent = 0, end = 352, addr = 0001:0016, code size = 56

                           Lines
============================================================
Mod 0000 | `C:\build\d.obj`:
C:\build\d.c (MD5: 75B85F82E9C97CA554AD507B1D092FFF)
  0001:00000000-0000000C, line/addr entries = 2
     2 00000000 !    3 00000005 !

  0001:00000010-00000048, line/addr entries = 3
     6 00000010 !    7 0000001E !    8 0000002E !

                      Section Headers
============================================================

  SECTION HEADER #1
     .text name
       100 virtual size
      1000 virtual address
"""


@pytest.mark.parametrize(
    ("offset", "name"),
    [
        (0x1000, "helper+0x0, d.c:2"),
        (0x1007, "helper+0x7, d.c:3"),
        (0x101F, "DriverEntry+0xf, d.c:7"),
        (0x1060, "imported+0x0, d.c:8"),
        (0x0FFF, None),
        (0x1100, None),
    ],
)
def test_an_offset_is_function_and_line(offset: int, name: str | None) -> None:
    assert pdb.parse(DUMP).name(offset) == name


def test_places_in_a_reason_are_named() -> None:
    text = "0x000000d1 at d.sys+0x101f, ntoskrnl.exe+0x1007, from the kernel's memory"
    assert name_places(text, "D.sys", pdb.parse(DUMP)) == text.replace(
        "d.sys+0x101f", "d.sys+0x101f (DriverEntry+0xf, d.c:7)"
    )


@given(st.text(alphabet=DUMP, max_size=400), st.integers(0, len(DUMP)), st.integers(0, 1 << 32))
def test_whatever_is_dumped_is_read(junk: str, at: int, offset: int) -> None:
    name = pdb.parse(DUMP[:at] + junk + DUMP[at:]).name(offset)
    assert name is None or "+0x" in name


def test_without_a_pdb_there_are_no_names(tmp_path: Path) -> None:
    assert pdb.beside(tmp_path / "driver.sys") is None
    (tmp_path / "driver.pdb").write_bytes(b"no PDB")
    assert pdb.beside(tmp_path / "driver.sys") is None


needs_llvm = pytest.mark.skipif(
    not all(map(shutil.which, (clang.COMPILER, clang.LINKER, pdb.TOOL))), reason="needs clang, lld and llvm"
)


@needs_llvm
def test_a_real_pdb_is_read(tmp_path: Path) -> None:
    source = "int f(int x)\n{\n    return x * 3;\n}\nint DriverEntry(int a)\n{\n    return f(a);\n}\n"
    (tmp_path / "d.c").write_text(source)
    for command in (
        ["clang", "--target=x86_64-windows-msvc", "-g", "-gcodeview", "-O0", "-c", "d.c", "-o", "d.obj"],
        [
            "lld-link",
            "/nodefaultlib",
            "/entry:DriverEntry",
            "/subsystem:native",
            "/driver",
            "/debug",
            "/pdb:d.pdb",
            "/out:d.sys",
            "d.obj",
        ],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    found = pdb.beside(tmp_path / "d.sys")
    assert found is not None and found.functions.names == ("f", "DriverEntry")
    assert found.name(found.functions.starts[1]) == "DriverEntry+0x0, d.c:6"


@pytest.fixture(scope="module")
def crashing() -> BuiltDriver:
    """Provide a wrong build of our driver, with its PDB."""
    return build_driver("crashes", images.cache_folder(), toolchain="clang")


@needs_llvm
def test_our_driver_with_a_pdb_would_load_and_names_the_line_of_a_crash(crashing: BuiltDriver) -> None:
    report = check_file(crashing.path)
    assert report.loadable, report.findings
    assert {module.lower() for module in report.imports} == {"ntoskrnl.exe", "hal.dll", "netio.sys"}
    functions = pdb.functions_of(crashing.symbols)
    source = (HOME / "wsklab" / "events.c").read_text().splitlines()
    wanted = next(number for number, line in enumerate(source, 1) if "*(volatile uint32_t *)NULL" in line)
    (address,) = faulting(crashing.path)
    assert functions.name(address) == f"deviate+{address - start_of(functions, 'deviate'):#x}, events.c:{wanted}"


def faulting(driver: Path) -> list[int]:
    """Return where the code writes to address 0, from the base on: as a crash would tell it."""
    command = ["x86_64-w64-mingw32-objdump", "-d", "--no-show-raw-insn", str(driver)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.finditer(r"^\s*([0-9a-f]+):\s+mov.*,(?:%ds:)?0x0$", said, re.MULTILINE)
    return [int(one[1], 16) - 0x140000000 for one in found]


def start_of(functions: Symbols | pdb.Pdb, name: str) -> int:
    assert isinstance(functions, pdb.Pdb)
    return functions.functions.starts[functions.functions.names.index(name)]


@needs_llvm
def test_driver_and_pdb_are_the_same_wherever_they_are_built(crashing: BuiltDriver, tmp_path: Path) -> None:
    again = build_driver("crashes", tmp_path / "somewhere" / "else", toolchain="clang")
    assert again.path.read_bytes() == crashing.path.read_bytes()
    assert again.symbols.read_bytes() == crashing.symbols.read_bytes()
    assert again.path != crashing.path
    assert str(again.path.parent).encode() not in again.symbols.read_bytes()


@needs_llvm
def test_a_missing_toolchain_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clang, "LINKER", "no-such-linker")
    build._version.cache_clear()
    try:
        with pytest.raises(DriverError, match="install the packages clang, lld and mingw-w64"):
            build_driver(None, tmp_path, toolchain="clang")
    finally:
        build._version.cache_clear()


def test_without_its_pdb_a_driver_has_no_names(tmp_path: Path) -> None:
    assert pdb.functions_of(tmp_path / "gone.pdb").name(0) is None
    assert pdb.functions_of(tmp_path / "gone.sys").name(0) is None
