"""The checker of driver files: finds what matters, and no damaged file upsets it."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pefile
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.drivers.check import Report, check_bytes, check_file
from wsklab.drivers.errors import DriverError


def make_pe(*, machine: int = 0x8664, subsystem: int = 1, dll: int = 0x160, flags: int = 0x60000020,
            relocations: int = 12, module: bytes = b"NETIO.SYS", name: bytes = b"WskRegister",
            characteristics: int = 0x22) -> bytes:  # fmt: skip
    """Return a minimal driver: one section at address 0x1000, file offset 0x200, with one import.

    Its checksum is right.
    """
    section = bytearray(0x200)
    struct.pack_into("<IIIII", section, 0, 0x1040, 0, 0, 0x1080, 0x1060)
    struct.pack_into("<QQ", section, 0x40, 0x10A0, 0)
    section[0x80 : 0x80 + len(module) + 1] = module + b"\0"
    section[0xA2 : 0xA2 + len(name) + 1] = name + b"\0"
    header = bytearray(0x200)
    header[:2] = b"MZ"
    struct.pack_into("<I", header, 0x3C, 0x40)
    struct.pack_into("<IHHIIIHH", header, 0x40, 0x4550, machine, 1, 0, 0, 0, 240, characteristics)
    optional = 0x58
    struct.pack_into("<H", header, optional, 0x20B)
    struct.pack_into("<I", header, optional + 16, 0x1000)
    struct.pack_into("<HH", header, optional + 68, subsystem, dll)
    struct.pack_into("<I", header, optional + 108, 16)
    struct.pack_into("<II", header, optional + 112 + 8, 0x1000, 40)
    struct.pack_into("<II", header, optional + 112 + 40, 0x1100, relocations)
    struct.pack_into("<8sIIII12xI", header, optional + 240, b".text", 0x200, 0x1000, 0x200, 0x200, flags)
    data = bytes(header + section)
    checksum = check_bytes(data).computed_checksum
    return data[: optional + 64] + struct.pack("<I", checksum) + data[optional + 68 :]


def sentences(report: Report, severity: str) -> str:
    return " ".join(finding.sentence for finding in report.findings if finding.severity == severity)


def test_a_good_driver_only_lacks_its_signature() -> None:
    report = check_bytes(make_pe())
    assert report.loadable
    assert [finding.sentence for finding in report.findings] == [
        "The file is not signed: 64-bit Windows refuses it; use `wsklab driver sign`."
    ]
    assert report.imports == {"NETIO.SYS": ("WskRegister",)}


def test_an_import_that_only_windows_has_is_named_before_the_boot() -> None:
    report = check_bytes(make_pe(module=b"WDFLDR.SYS", name=b"WdfVersionBind"))
    assert report.loadable
    assert "imports WdfVersionBind from WDFLDR.SYS, which the stand-in target does not have" in sentences(
        report, "note"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"machine": 0x14C}, "machine type"),
        ({"subsystem": 3}, "subsystem is 3"),
        ({"flags": 0xE0000020}, "writable and executable"),
        ({"relocations": 0}, "relocations"),
    ],
)
def test_what_keeps_it_from_loading_is_an_error(change: dict[str, int], says: str) -> None:
    report = check_bytes(make_pe(**change))  # type: ignore[arg-type]
    assert not report.loadable
    assert says in sentences(report, "error")


def test_a_wrong_checksum_is_an_error() -> None:
    data = bytearray(make_pe())
    data[-1] ^= 1
    assert "checksum" in sentences(check_bytes(bytes(data)), "error")


def test_imports_are_judged() -> None:
    report = check_bytes(make_pe(module=b"user32.dll", name=b"MessageBoxA"))
    assert "user32.dll" in sentences(report, "error")
    assert "does not import from NETIO.SYS" in sentences(report, "warning")
    assert "WskFuture" in sentences(check_bytes(make_pe(name=b"WskFuture")), "note")
    assert "NX_COMPAT" in sentences(check_bytes(make_pe(dll=0x60)), "warning")


@pytest.mark.parametrize("data", [b"", b"MZ", b"\x7fELF" + bytes(200), b"MZ" + bytes(200)])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(DriverError):
        check_bytes(data)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="cannot be read"):
        check_file(tmp_path / "none.sys")


@given(st.integers(0, 0x3FF), st.binary(min_size=1, max_size=8), st.integers(0, 0x400))
def test_damage_is_a_driver_error_or_a_finding(at: int, bytes_: bytes, length: int) -> None:
    good = make_pe()
    for data in (good[:at] + bytes_ + good[at + len(bytes_) :], good[:length]):
        try:
            check_bytes(data)
        except DriverError:
            continue


@given(st.binary(max_size=600))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DriverError):
        check_bytes(b"MZ" + data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"subsystem": 2, "module": b"USER32.dll"}, "this is a Windows program with windows, no driver"),
        ({"subsystem": 3, "characteristics": 0x2022}, "this is a user-mode DLL"),
        ({"module": b"KERNEL32.dll"}, "It imports from KERNEL32.dll, which exists in user mode only"),
        ({"module": b"api-ms-win-crt-runtime-l1-1-0.dll"}, "user mode only"),
    ],
)
def test_a_program_or_a_library_of_user_mode_is_no_driver(change: dict[str, Any], says: str) -> None:
    report = check_bytes(make_pe(**change))
    assert says in sentences(report, "error")
    assert any(finding.no_driver for finding in report.findings)


# Where the fields of `make_pe` are: the PE offset, the header, the directories, the section table, the import table.
FIELDS = [
    0x3C,
    0x46,
    0x54,
    0x58,
    0x68,
    0x98,
    0x9C,
    0xC4,
    *range(0xC8, 0x148, 4),
    *range(0x148, 0x170, 4),
    *range(0x200, 0x214, 4),
    0x240,
    0x244,
    0x248,
    0x280,
    0x2A0,
]
EDGES = [
    0,
    1,
    0x7F,
    0x200,
    0x3FF,
    0x400,
    0x1000,
    0x11FF,
    0x1200,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFF0,
    0xFFFFFFFF,
]


@given(
    st.lists(
        st.tuples(st.sampled_from(FIELDS), st.sampled_from(EDGES) | st.integers(0, 0xFFFFFFFF)), min_size=1, max_size=6
    ),
    st.binary(max_size=64),
)
def test_any_fields_give_a_report_or_a_sentence(changes: list[tuple[int, int]], more: bytes) -> None:
    data = bytearray(make_pe() + more)
    for at, value in changes:
        struct.pack_into("<I", data, at, value)
    try:
        report = check_bytes(bytes(data))
    except DriverError as error:
        assert str(error).endswith(".")
    else:
        assert all(finding.sentence.isprintable() for finding in report.findings)


def overlapping(modules: int, names: int) -> bytes:
    """Return a hostile import table: every module has the same long list of names, and every name is long."""
    pe = bytearray(make_pe())
    at_modules, at_names, at_text = 0x2000, 0x2000 + 20 * (modules + 1), 0x2000 + 20 * (modules + 1) + 8 * (names + 1)
    body = struct.pack("<IIIII", at_names, 0, 0, at_text + 2, at_names) * modules + bytes(20)
    body += struct.pack("<Q", at_text) * names + bytes(8) + b"\0\0" + b"n" * 500 + b"\0"
    struct.pack_into("<H", pe, 0x46, 2)
    struct.pack_into("<II", pe, 0x58 + 112 + 8, at_modules, 40)
    struct.pack_into(
        "<8sIIII12xI", pe, 0x58 + 240 + 40, b".idata", len(body), at_modules, len(body), len(pe), 0x40000040
    )
    return bytes(pe) + body


def test_import_tables_that_overlap_are_refused_before_they_fill_the_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DriverError, match="imports more than 32768 names"):
            check_bytes(overlapping(modules=250, names=8000))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_large_file_does_not_take_many_times_its_size() -> None:
    data = make_pe() + bytes(16 << 20)
    tracemalloc.start()
    try:
        check_bytes(data)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
    finally:
        tracemalloc.stop()


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "zero.sys").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "fifo.sys")
    with (tmp_path / "huge.sys").open("wb") as huge:
        huge.truncate(65 << 20)
    for name, says in (("zero", "a device"), ("fifo", "a fifo"), ("huge", "larger than 64 MiB")):
        with pytest.raises(DriverError, match=f"cannot be read: it is {says}"):
            check_file(tmp_path / f"{name}.sys")
    with pytest.raises(DriverError, match="it is a folder, not a regular file"):
        check_file(tmp_path)


@pytest.mark.parametrize("sections", [97, 2048, 65535])
def test_a_table_of_many_sections_is_refused_before_it_fills_the_memory(sections: int) -> None:
    pe = bytearray(make_pe()) + b"\x01" * (40 * sections)
    struct.pack_into("<H", pe, 0x46, sections)
    tracemalloc.start()
    try:
        with pytest.raises(DriverError, match=f"it claims {sections} sections"):
            check_bytes(bytes(pe))
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_long_list_in_a_large_section_is_read_piece_by_piece() -> None:
    """Reading one name must not copy its section: eight thousand copies of megabytes would take minutes."""
    pe = bytearray(overlapping(modules=4, names=8000))
    size = 24 << 20
    struct.pack_into("<I", pe, 0x58 + 240 + 40 + 8, size)
    struct.pack_into("<I", pe, 0x58 + 240 + 40 + 16, size)
    pe += bytes(size + 0x400 - len(pe))
    read: list[int] = []
    get_data = pefile.SectionStructure.get_data

    def counting(section: Any, start: int, length: int | None = None, *more: Any) -> bytes:
        data: bytes = get_data(section, start, length, *more)
        read.append(len(data))
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pefile.SectionStructure, "get_data", counting)
        assert sum(map(len, check_bytes(bytes(pe)).imports.values())) == 4 * 8000
    assert max(read) <= 512
