"""The checker of driver files: finds what matters, and no damaged file upsets it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.drivers.check import Report, check_bytes, check_file
from wsklab.drivers.errors import DriverError


def make_pe(*, machine: int = 0x8664, subsystem: int = 1, dll: int = 0x160, flags: int = 0x60000020,
            relocations: int = 12, module: bytes = b"NETIO.SYS", name: bytes = b"WskRegister") -> bytes:  # fmt: skip
    """A minimal driver: one section at address 0x1000, file offset 0x200, with one import. Its checksum is right."""
    section = bytearray(0x200)
    struct.pack_into("<IIIII", section, 0, 0x1040, 0, 0, 0x1080, 0x1060)
    struct.pack_into("<QQ", section, 0x40, 0x10A0, 0)
    section[0x80 : 0x80 + len(module) + 1] = module + b"\0"
    section[0xA2 : 0xA2 + len(name) + 1] = name + b"\0"
    header = bytearray(0x200)
    header[:2] = b"MZ"
    struct.pack_into("<I", header, 0x3C, 0x40)
    struct.pack_into("<IHHIIIHH", header, 0x40, 0x4550, machine, 1, 0, 0, 0, 240, 0x22)
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
    assert "user32.dll" in sentences(report, "warning")
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
