"""The sample drivers: they build, would load, and owe nothing to this lab."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from wsklab.drivers import build
from wsklab.drivers.check import check_file
from wsklab.drivers.errors import DriverError
from wsklab.drivers.profile import load_profile

SAMPLES = build.HOME / "samples"
NAMES = sorted(path.name for path in SAMPLES.iterdir())

needs_mingw = pytest.mark.skipif(shutil.which(build.COMPILER) is None, reason="needs mingw-w64")


@needs_mingw
@pytest.mark.parametrize("name", NAMES)
def test_a_sample_would_load_on_windows(name: str, tmp_path: Path) -> None:
    built = build.build_sample(name, tmp_path)
    assert built.path == load_profile(name).resolve(tmp_path)
    report = check_file(built.path)
    assert report.loadable
    assert {module.lower() for module in report.imports} <= {"ntoskrnl.exe", "hal.dll", "netio.sys"}
    assert [finding.sentence for finding in report.findings if "signed" not in finding.sentence] == []


def test_there_is_no_other_sample(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="no sample driver 'ftp'; there are echo, pinger"):
        build.build_sample("ftp", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_shares_no_code_with_the_lab(name: str) -> None:
    for path in (SAMPLES / name).iterdir():
        text = path.read_text(encoding="ascii")
        assert set(re.findall(r'#include ["<]([^">]+)', text)) <= {"wsk.h", f"{name}.h"}
        assert not re.search("wine|stand-?in|wsklab", text, re.IGNORECASE), path
        assert len(text.splitlines()) < 400, path
