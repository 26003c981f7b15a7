"""Driver profiles and test signing."""

from __future__ import annotations

import datetime
import shutil
import stat
from pathlib import Path

import pytest

from wsklab.drivers.check import check_file
from wsklab.drivers.errors import DriverError
from wsklab.drivers.profile import load_profile
from wsklab.drivers.sign import sign, signing_key

GOOD = "name: mine\nservice: mine\ntarget_path: 'C:\\drivers\\mine.sys'\n"


def test_the_built_in_profile_and_its_twins() -> None:
    assert load_profile("wsklab").twin is None
    assert load_profile("wsklab:silent").twin == "silent"
    with pytest.raises(DriverError, match="no twin 'loud'"):
        load_profile("wsklab:loud")
    with pytest.raises(DriverError, match="built in: echo, pinger, wsklab"):
        load_profile("unknown")


def test_a_profile_of_a_file_is_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD + "path: build/mine.sys\nfiles: {'C:\\x.ini': x.ini}\n")
    profile = load_profile(str(tmp_path / "mine.yaml"))
    assert profile.path == tmp_path / "build" / "mine.sys"
    assert profile.files == {"C:\\x.ini": tmp_path / "x.ini"}
    with pytest.raises(DriverError, match="does not exist"):
        profile.resolve(tmp_path)
    profile.path.parent.mkdir()
    profile.path.write_bytes(b"MZ")
    assert profile.resolve(tmp_path) == profile.path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD, "either build or path"),
        (GOOD + "path: a\nbuild: wsklab\n", "either build or path"),
        (GOOD + "path: a\ntwin: silent\n", "twin needs build"),
        (GOOD + "path: a\ncolour: red\n", r"p\.yaml:5: colour: unknown key 'colour'"),
        (GOOD + "path: a\npattern: []\n", "unknown key 'pattern'; did you mean 'patterns'"),
        (GOOD.replace("C:", "D:") + "path: a\n", "drive C"),
        (GOOD.replace("drivers", "..") + "path: a\n", "drive C"),
        ("- 1\n", "keys and values"),
        ("a: [", "not YAML: "),
        ("a: 2001-13-45", r"p\.yaml:1: a: unknown key 'a'"),
        ("[" * 5000, "not YAML: exceeded maximum nesting depth"),
        ("[" * 100, "nested more than 32 levels deep"),
    ],
)
def test_a_wrong_profile_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(DriverError, match=says):
        load_profile(str(tmp_path / "p.yaml"))


@pytest.mark.skipif(shutil.which("osslsigncode") is None, reason="needs osslsigncode")
@pytest.mark.skipif(shutil.which("x86_64-w64-mingw32-gcc") is None, reason="needs mingw-w64")
def test_a_signed_driver_has_nothing_left_to_find(tmp_path: Path) -> None:
    pair = signing_key(tmp_path, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    assert stat.S_IMODE(pair.key.stat().st_mode) == 0o600
    assert signing_key(tmp_path, datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)) == pair
    driver = load_profile("wsklab").resolve(tmp_path)
    sign(driver, tmp_path / "signed.sys", pair)
    report = check_file(tmp_path / "signed.sys")
    assert report.signed
    assert report.findings == ()
    with pytest.raises(DriverError, match="cannot sign"):
        sign(tmp_path / "none.sys", tmp_path / "signed.sys", pair)
