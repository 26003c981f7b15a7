"""What is read of crash dumps that are made here as the format's documents say; none of them is of a Windows."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dump_made import HEAD, STACK, Made

from wsklab.images.windows.disk import crash_report
from wsklab.images.windows.disk.crash_report import Unreadable, modules, report

KERNEL, DRIVER = ("ntoskrnl.exe", 0xFFFFF80002000000, 0x1000000), ("wsklab.sys", 0xFFFFF80005000000, 0x8000)
CRASH = 0xD1, (0x10, 2, 0, DRIVER[1] + 0x1234), DRIVER[1] + 0x1234, STACK + 0x40


@pytest.fixture(scope="module")
def made() -> Made:
    one = Made()
    one.modules(KERNEL, DRIVER)
    one.write(STACK, struct.pack("<16Q", *[0x42] * 8, DRIVER[1] + 0x2222, 7, KERNEL[1] + 0x333, *[0] * 5))
    return one


@pytest.mark.parametrize("form", ["complete", "bitmap"])
def test_code_registers_module_and_stack_are_read(made: Made, form: str, tmp_path: Path) -> None:
    path = tmp_path / "MEMORY.DMP"
    path.write_bytes(getattr(made, form)(*CRASH))
    said = report(path).splitlines()
    assert said[0].startswith("0x000000d1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x0000000000000010, 0x0000000000000002, ")
    assert said[0].endswith("complete dump")
    assert "parameter 4: wsklab.sys+0x1234" in said and "stopped in wsklab.sys+0x1234" in said
    assert any("rip fffff80005001234" in line for line in said) and any("r9  9999999999999999" in line for line in said)
    stack = said.index("addresses of code on the stack, from its top (some are left over from earlier calls):")
    assert said[stack + 1 : stack + 3] == ["  wsklab.sys+0x2222", "  ntoskrnl.exe+0x333"]
    assert said[-2:] == ["  fffff80002000000  1000000 ntoskrnl.exe", "  fffff80005000000     8000 wsklab.sys"]


def test_a_small_dump_tells_what_its_header_has(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "small.dmp"
    path.write_bytes(bytes(made.header(4, *CRASH)).ljust(20000, b"\0"))
    with pytest.raises(Unreadable, match=r"only its header can be read \(small dump\).*DRIVER_IRQL_NOT_LESS_OR_EQUAL"):
        report(path)


def test_what_is_no_dump_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.dmp"
    path.write_bytes(b"MZ")
    with pytest.raises(Unreadable, match=r"x\.dmp: it is no 64-bit crash dump"):
        report(path)


def test_a_dump_that_its_reader_does_not_survive_ends_the_reader_alone(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "MEMORY.DMP"
    path.write_bytes(made.complete(*CRASH))
    monkeypatch.setattr(crash_report, "PATIENCE", 0.0)
    with pytest.raises(Unreadable, match="could not be read in 0 s"):
        report(path)


@given(st.dictionaries(st.integers(0, 0x2000), st.binary(min_size=1, max_size=0x80), max_size=8))
@settings(max_examples=100)
def test_a_list_of_modules_of_any_content_comes_to_an_end(bits: dict[int, bytes]) -> None:
    memory = bytearray(0x3000)
    struct.pack_into("<Q", memory, 0, HEAD + 0x100)
    for at, data in bits.items():
        memory[at : at + len(data)] = data

    def read(address: int, count: int) -> bytes | None:
        at = address - HEAD
        return bytes(memory[at : at + count]) if at >= 0 and at + count <= len(memory) else None

    found = list(modules(read, HEAD))
    assert len(found) <= crash_report.MOST_MODULES and all(isinstance(one.name, str) for one in found)
