"""INF files: every way in which teams write them, and whatever else is in a file."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.drivers.errors import DriverError
from wsklab.drivers.inf import About, Service, load, read
from wsklab.drivers.inf_text import decode, parse

PRIMITIVE = r"""; A driver without a device.
[Version]
Signature   = "$Windows NT$"
Class       = System
ClassGuid   = {4d36e97d-e325-11ce-bfc1-08002be10318}
Provider    = %Maker%
CatalogFile = mine.cat
DriverVer   = 11/02/2026,1.4.0.7
PnpLockdown = 1

[SourceDisksNames]
1 = %Disk%,,,""
[SourceDisksFiles]
mine.sys = 1,,
[DefaultInstall.NTamd64]
CopyFiles = Drivers
[Drivers]
mine.sys
[DefaultInstall.NTamd64.Services]
AddService = Mine,0x800,\
             Mine.Service      ; joined

[Mine.Service]
DisplayName    = "The ""driver""; %Maker%"
ServiceType    = 1
StartType      = 0x1
ErrorControl   = 1
ServiceBinary  = %12%\mine.sys
LoadOrderGroup = NDIS
Dependencies   = AFD, netio , +TDI

[Strings]
Maker = "Example, Inc."
Disk  = "Disk 1"
[Strings.0407]
Maker = "Beispiel"
"""
SERVICE = Service(
    "Mine", "mine.sys", r"C:\Windows\System32\drivers\mine.sys", "system", "normal", "kernel", "NDIS",
    ("AFD", "netio"), ("TDI",),
)  # fmt: skip


def test_a_primitive_driver() -> None:
    assert read(PRIMITIVE) == About(
        "Example, Inc.", "1.4.0.7", "11/02/2026", "mine.cat", True, (SERVICE,), ("mine.sys",)
    )
    (display,) = [line for line in parse(PRIMITIVE).lines("mine.SERVICE") if line.key == "DisplayName"]
    assert display.fields == ('The "driver"; Example, Inc.',)


@pytest.mark.parametrize(
    "data",
    [
        PRIMITIVE.encode("utf-8"),
        codecs.BOM_UTF8 + PRIMITIVE.encode(),
        codecs.BOM_UTF16_LE + PRIMITIVE.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + PRIMITIVE.encode("utf-16-be"),
        PRIMITIVE.encode("utf-16-le"),
        PRIMITIVE.replace("\n", "\r\n").encode("cp1252"),
        PRIMITIVE.replace("Beispiel", "Gerät").encode("cp1252"),
    ],
)
def test_every_encoding_says_the_same(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "mine.inf").write_bytes(data)
    assert load(tmp_path / "mine.inf") == read(PRIMITIVE)


def test_a_device_driver_is_found_by_its_maker_and_models() -> None:
    text = PRIMITIVE.replace("DefaultInstall.NTamd64", "Install.NTamd64").replace("%12%", "%13%")
    text += "[Manufacturer]\n%Maker% = Models,NTamd64.10.0...17763, NTx86\n"
    text += "[Models.NTamd64.10.0...17763]\n%Disk% = Install, Root\\Mine\n[Models.NTx86]\n%Disk% = Other, Root\\Mine\n"
    package = read(text)
    assert not package.primitive and package.service("MINE") is not None
    assert package.services[0].path == "" and package.services[0].binary == "mine.sys"


def test_a_section_decorated_with_a_version_is_taken() -> None:
    assert read(PRIMITIVE.replace("DefaultInstall.NTamd64", "DefaultInstall.NTamd64.10.0...17763")).primitive


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"$Windows NT$"', '"$OS/2$"', "no Signature"),
        ("AddService = Mine", "DelService = Mine", "adds no service for x64"),
        ("NTamd64", "NTarm64", "adds no service for x64"),
        ("Mine.Service      ;", "Other             ;", r"names the section \[Other\], which is not there"),
        (r"%12%\mine.sys", r"C:\mine.sys", "should be a directory's number and a file"),
        (r"%12%\mine.sys", r"%16406%\mine.sys", "is in the directory 16406"),
        (r"%12%\mine.sys", r"%12%\..", "no plain file name"),
        ("= 0x1", "= soon", "should be a number"),
        ("= 0x1", "= 7", "start type 7"),
        ("ServiceType    = 1", "ServiceType    = 0x10", "type 0x10"),
        ("AFD,", "A|D,", r"depends on 'A\|D'"),
        ("mine.cat", r"..\mine.cat", "no plain file name"),
        ('"Disk 1"', '"Disk 1', "line 34 has a quote that does not end"),
        ("; A driver", "A driver", "line 1 stands before the first section"),
        ("[Drivers]", "[Drivers", "line 17 is no section"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, says: str) -> None:
    assert old in PRIMITIVE
    with pytest.raises(DriverError, match=says):
        read(PRIMITIVE.replace(old, new))


def test_strings_are_filled_in_once_and_what_is_none_stays() -> None:
    inf = parse('[A]\nk = %b%,100%%,%12%\\x.sys, %c d%\n[Strings]\nB = "%b%%b%"\nc d = " e "\n')
    assert inf.values("a", "K") == ("%b%%b%", "100%", r"%12%\x.sys", " e ")


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters='[]";%=,\\\x7f\x85\xa0'),
                min_size=1, max_size=12)  # fmt: skip
FIELDS = st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="%\x7f\x85\xa0\x1c"
                  ).filter(lambda c: len(c.splitlines()) <= 1), max_size=20), min_size=1, max_size=4)  # fmt: skip


@given(st.dictionaries(NAMES.filter(lambda n: n.lower() == n), FIELDS, min_size=1, max_size=5))
def test_what_is_written_with_quotes_is_read_as_it_was(lines: dict[str, list[str]]) -> None:
    def quote(field: str) -> str:
        return '"' + field.replace('"', '""') + '"'

    text = "[s]\n" + "".join(f"{key} = {', '.join(map(quote, fields))}\n" for key, fields in lines.items())
    assert {line.key: list(line.fields) for line in parse(text).lines("s")} == lines


@given(st.lists(st.sampled_from([*PRIMITIVE.splitlines(), '"', "[", "]", "%", "\\", ";", "=", ",", "\0", "%%", "[x]"])))
def test_lines_in_any_order_are_read_or_refused(lines: list[str]) -> None:
    try:
        assert read("\n".join(lines)).services
    except DriverError as error:
        assert str(error)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read(decode(data))
    except DriverError as error:
        assert str(error)


@given(st.integers(0, len(PRIMITIVE) - 1), st.characters())
def test_one_changed_character_is_read_or_refused(at: int, character: str) -> None:
    try:
        read(PRIMITIVE[:at] + character + PRIMITIVE[at + 1 :])
    except DriverError as error:
        assert str(error)
