"""A driver's functions and lines from its PDB, as llvm-pdbutil dumps it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.drivers import pdb
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


@pytest.mark.skipif(not all(map(shutil.which, ("clang", "lld-link", pdb.TOOL))), reason="needs clang, lld and llvm")
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
