"""Who has signed a driver: files and catalogs signed by osslsigncode, with certificates worded like Microsoft's."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import driver_package
from support.certificates import publisher

from wsklab.drivers import package, signature
from wsklab.drivers.errors import DriverError
from wsklab.drivers.sign import SigningKey, sign, signing_key

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
ATTESTED, WHQL = "1.3.6.1.4.1.311.10.3.5.1", "1.3.6.1.4.1.311.10.3.5"
pytestmark = pytest.mark.skipif(
    shutil.which("osslsigncode") is None or shutil.which("x86_64-w64-mingw32-gcc") is None,
    reason="needs osslsigncode and mingw-w64",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a package whose driver nobody has signed."""
    return driver_package.make(tmp_path_factory.mktemp("mine")).parent


def signed(driver: Path, pair: SigningKey, to: Path) -> bytes:
    sign(driver, to, pair)
    return to.read_bytes()


def test_a_file_that_nobody_has_signed(folder: Path) -> None:
    assert signature.of_driver((folder / "echo.sys").read_bytes()) == []
    assert not signature.production([])


@pytest.mark.parametrize(
    ("organization", "purpose", "grade"),
    [
        ("Microsoft Corporation", ATTESTED, "attested"),
        ("Microsoft Corporation", WHQL, "tested for its logo (WHQL)"),
        ("Microsoft Corporation", "1.3.6.1.5.5.7.3.4", None),
        ("Example, Inc.", ATTESTED, None),
    ],
)
def test_what_microsoft_signs_is_told_from_the_rest(
    folder: Path, tmp_path: Path, organization: str, purpose: str, grade: str | None
) -> None:
    pair = publisher(tmp_path, organization, purpose)
    (found,) = signature.of_driver(signed(folder / "echo.sys", pair, tmp_path / "echo.sys"))
    assert (found.signer, found.issuer, found.organization) == ("A Publisher", "A Third Party CA", organization)
    assert found.grade == grade and found.holds and signature.production([found]) == (grade is not None)


def test_the_labs_own_signature_is_no_production_signature(folder: Path, tmp_path: Path) -> None:
    (found,) = signature.of_driver(signed(folder / "echo.sys", signing_key(tmp_path, NOW), tmp_path / "echo.sys"))
    assert found.text == "the file is signed by wsklab test signing; issued by wsklab test signing"
    assert not signature.production([found])


def test_a_file_that_was_changed_after_it_was_signed(folder: Path, tmp_path: Path) -> None:
    pair = publisher(tmp_path, "Microsoft Corporation", ATTESTED)
    content = bytearray(signed(folder / "echo.sys", pair, tmp_path / "echo.sys"))
    content[content.index(b"This program")] ^= 1
    (found,) = signature.of_driver(bytes(content))
    assert not found.holds and not signature.production([found]) and "changed afterwards" in found.text


def test_a_signature_beside_another_is_seen(folder: Path, tmp_path: Path) -> None:
    """A vendor's comes first, then Microsoft's, nested in it."""
    first = publisher(tmp_path / "a", "Example, Inc.", "1.3.6.1.5.5.7.3.3")
    second = publisher(tmp_path / "b", "Microsoft Corporation", ATTESTED)
    once = tmp_path / "once.sys"
    sign(folder / "echo.sys", once, first)
    sign(once, tmp_path / "twice.sys", second, nested=True)
    found = signature.of_driver((tmp_path / "twice.sys").read_bytes())
    assert [one.grade for one in found] == [None, "attested"] and all(one.holds for one in found)
    assert signature.production(found)


def test_a_catalog_signs_the_files_that_it_lists(folder: Path, tmp_path: Path) -> None:
    pair = publisher(tmp_path, "Microsoft Corporation", ATTESTED)
    mine = package.find(folder / "echo.inf", "echo")
    contents = package.signed(mine, pair, tmp_path / "signed", NOW)
    (found,) = signature.of_catalog(contents["echo.cat"], contents["echo.sys"])
    assert found.grade == "attested" and found.holds and found.text.startswith("the catalog is signed by A Publisher")
    (other,) = signature.of_catalog(contents["echo.cat"], b"another driver")
    assert not other.holds


@given(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=4))
def test_any_damage_is_read_or_refused(whole: bytes, at: int, change: bytes) -> None:
    start = len(whole) - 4096
    at = start + at % (len(whole) - start)
    damaged = whole[:at] + change + whole[at + len(change) :]
    for content in (damaged, whole[:at]):
        with suppress(DriverError):
            signature.of_driver(content)


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("whole")
    return signed(folder / "echo.sys", publisher(place, "Microsoft Corporation", ATTESTED), place / "echo.sys")
