"""Driver profiles and test signing."""

from __future__ import annotations

import datetime
import re
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab import images
from wsklab.common.text import visible
from wsklab.drivers.check import check_file
from wsklab.drivers.errors import DriverError
from wsklab.drivers.profile import load_profile, windows_path
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
        (GOOD, "say one of build, path and inf"),
        (GOOD + "path: a\nbuild: wsklab\n", "say one of build, path and inf"),
        (GOOD + "path: a\ntwin: silent\n", "twin needs build"),
        (GOOD + "path: a\ninf: a.inf\n", "say one of build, path and inf"),
        (GOOD + "inf: a.inf\n", "the INF file says these"),
        ("name: a\nservice: a\ninf: a.inf\nstart: boot\n", "the INF file says these"),
        ("name: a\nservice: a\npath: a\n", "by target_path"),
        (GOOD + "path: a\nupgrade_from: a.inf\n", "needs inf"),
        (GOOD + "path: a\nstart: disabled\n", "cannot be run"),
        (GOOD + "path: a\nstart: soon\n", "start: "),
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
    driver = load_profile("wsklab").resolve(images.cache_folder())
    sign(driver, tmp_path / "signed.sys", pair)
    report = check_file(tmp_path / "signed.sys")
    assert report.signed
    assert report.findings == ()
    # No page hashes (SpcSerializedObject of class a6b586d5-...): nothing here asks for them.
    assert bytes.fromhex("a6b586d5b4a12466ae05a217da8e60d6") not in (tmp_path / "signed.sys").read_bytes()
    with pytest.raises(DriverError, match="cannot sign"):
        sign(tmp_path / "none.sys", tmp_path / "signed.sys", pair)


@pytest.mark.parametrize(
    "path",
    [
        r"C:\x.sys",
        r"c:\drivers\my driver\a-b_c.1.sys",
        r"C:\wsklab\{1F}\x~1.sys",
        r"C:\console\comb.sys",
        r"C:\.x\y",
    ],
)
def test_a_path_in_the_target_is_taken_as_it_is(path: str) -> None:
    assert windows_path(path) == path


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("x.sys", "drive C"),
        (r"D:\x.sys", "drive C"),
        (r"\\host\c\x.sys", "drive C"),
        (r"\\?\C:\x.sys", "drive C"),
        ("C:/x.sys", "drive C"),
        (r"C:\..\x.sys", "drive C"),
        ("C:x.sys", "drive C"),
        ("C:", "drive C"),
        ('C:\\x".sys', "are made of"),
        ("C:\\a\nb.sys", r"a\x0ab.sys"),
        (r"C:\x.sys:stream", "are made of"),
        (r"C:\%TEMP%\x.sys", "are made of"),
        (r"C:\*.sys", "are made of"),
        ("C:\\x.sys\0", "are made of"),
        (r"C:\x.", "do not end with a dot"),
        (r"C:\x \y.sys", "are made of"),
        (r"C:\\x.sys", "are made of"),
        ("C:\\", "are made of"),
        (r"C:\NUL", "a device"),
        (r"C:\com1.sys", "a device"),
        (r"C:\Lpt9 .txt\x", "a device"),
        ("C:\\gr\u00fc\u00dfe.sys", "are made of"),
        (r"C:\conin$", "a device"),
        ("C:\\" + "x" * 200, "longer than 200"),
        ("C:\\a\u202eb.sys", "are made of"),
    ],
)
def test_a_path_that_could_mean_something_else_is_refused(path: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        windows_path(path)


@given(st.text('CcAUXNULom:\\/.~ "%1\n', max_size=30) | st.text(max_size=30).map("C:\\".__add__))
def test_what_is_taken_is_one_plain_file_on_drive_c(path: str) -> None:
    try:
        windows_path(path)
    except ValueError as error:
        assert visible(str(error)) == str(error)
    else:
        assert re.fullmatch(r"[Cc]:(\\[^\\/:*?\"<>|%\x00-\x1f]*[^\\/:*?\"<>|%\x00-\x1f. ])+", path)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("files: {'C:\\DRIVERS\\MINE.SYS': x}\n", r"two files go to c:\drivers\mine.sys"),
        ("files: {'C:\\a:b': x}\n", "files"),
        ('title: "a\\tb\\x9b"\n', "control character"),
        ("device: '\\\\.\\a b'\n", "device"),
        ("device: '\\\\host\\pipe\\x'\n", "device"),
        ('provoke: {by: command, port: 1, command: "a\\nb"}\n', "provoke.command"),
    ],
)
def test_no_value_smuggles_anything_into_the_target(tmp_path: Path, more: str, says: str) -> None:
    (tmp_path / "p.yaml").write_text(GOOD + "path: a\n" + more)
    with pytest.raises(DriverError, match=re.escape(says)):
        load_profile(str(tmp_path / "p.yaml"))
