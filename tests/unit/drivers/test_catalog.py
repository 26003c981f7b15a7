"""Catalogs and packages: what is written is read, verified by osslsigncode, and refused when it does not fit."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import driver_package

from wsklab.drivers import catalog, der, package
from wsklab.drivers.errors import DriverError
from wsklab.drivers.sign import SigningKey, signing_key

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
signs = pytest.mark.skipif(
    shutil.which("osslsigncode") is None or shutil.which("x86_64-w64-mingw32-gcc") is None,
    reason="needs osslsigncode and mingw-w64",
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,12}\.(sys|inf)", fullmatch=True), st.binary(), min_size=1, max_size=4))
def test_what_is_written_is_read(files: dict[str, bytes]) -> None:
    data = catalog.write([catalog.member(name, content) for name, content in files.items()], NOW)
    found = catalog.read(data)
    assert not found.signed and all(found.holds(content) for content in files.values())
    assert not found.holds(b"something else " + b"".join(files.values()))
    assert data == catalog.write([catalog.member(n, c) for n, c in reversed(files.items())], NOW)


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_any_bytes_are_read_or_refused(data: bytes, at: int, byte: int) -> None:
    whole = bytearray(catalog.write([catalog.member("a.inf", data)], NOW))
    whole[at % len(whole)] = byte
    for damaged in (data, bytes(whole), bytes(whole[: at % len(whole)])):
        try:
            catalog.read(damaged)
        except DriverError as error:
            assert "no security catalog" in str(error)


@given(st.integers(0, 1 << 70))
def test_numbers_are_der(number: int) -> None:
    node = der.parse(der.integer(number))
    assert int.from_bytes(node.content, "big", signed=True) == number
    assert len(node.content) == 1 or node.content[0] or node.content[1] & 0x80


@signs
def test_a_package_is_signed_as_windows_verifies_it(tmp_path: Path) -> None:
    pair = signing_key(tmp_path, NOW)
    mine = package.find(driver_package.make(tmp_path / "mine", start=0), "ECHO")
    files = package.signed(mine, pair, tmp_path / "signed", NOW)
    assert sorted(files) == ["echo.cat", "echo.inf", "echo.sys"] and not package.catalog_as_given(mine)
    out = tmp_path / "out"
    out.mkdir()
    for name, content in files.items():
        (out / name).write_bytes(content)

    def verify(file: Path) -> bool:
        words = ["-CAfile", str(pair.certificate), "-catalog", str(out / "echo.cat"), "-in", str(file)]
        done = subprocess.run(["osslsigncode", "verify", *words], capture_output=True, text=True)
        return done.returncode == 0 and "Signature verification: ok" in done.stdout

    assert verify(out / "echo.sys") and verify(mine.driver), "the signature in the file is not part of its hash"
    (out / "other.sys").write_bytes(files["echo.sys"].replace(b"echo: ", b"ECHO: "))
    assert not verify(out / "other.sys")
    assert package.signed(mine, pair, tmp_path / "signed", NOW) == files, "the same files, the same catalog"

    # What comes signed goes as it is, and must fit.
    for name in ("echo.cat", "echo.sys"):
        (mine.inf.parent / name).write_bytes(files[name])
    assert package.catalog_as_given(mine) and package.signed(mine, pair, tmp_path / "other", NOW) == files
    (mine.inf.parent / "echo.sys").write_bytes((out / "other.sys").read_bytes())
    with pytest.raises(DriverError, match=r"is signed, but does not hold echo\.sys as it is now"):
        package.signed(mine, pair, tmp_path / "other", NOW)
    (mine.inf.parent / "echo.cat").write_bytes(b"no catalog")
    with pytest.raises(DriverError, match=r"echo\.cat is damaged"):
        package.signed(mine, pair, tmp_path / "other", NOW)


def test_what_windows_would_not_install_is_refused(tmp_path: Path) -> None:
    inf = driver_package.make(tmp_path, driver=b"MZ")
    inf.write_bytes(inf.read_bytes().decode("utf-16").replace("CatalogFile = echo.cat", "").encode("utf-16"))
    pair = SigningKey(tmp_path / "none", tmp_path / "none")
    with pytest.raises(DriverError, match="names no catalog"):
        package.signed(package.find(inf, "echo"), pair, tmp_path, NOW)
    with pytest.raises(DriverError, match="adds no service other; it adds echo"):
        package.find(inf, "other")
    (tmp_path / "echo.sys").unlink()
    with pytest.raises(DriverError, match=r"names echo\.sys, which is not in its folder"):
        package.find(inf, "echo")


@pytest.mark.parametrize(
    ("older", "version", "is_newer"), [("1.3.0.0", "1.4.0.0", True), ("1.10", "1.9", False), ("1.4", "1.4", False)]
)
def test_the_newer_is_told_by_driverver(tmp_path: Path, older: str, version: str, is_newer: bool) -> None:
    old = package.find(driver_package.make(tmp_path / "old", older, driver=b"MZ"), "echo")
    assert package.newer(package.find(driver_package.make(tmp_path, version, driver=b"MZ"), "echo"), old) == is_newer
