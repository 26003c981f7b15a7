"""The sample drivers: they build, would load, and owe nothing to this lab."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from wsklab import images
from wsklab.drivers import build
from wsklab.drivers.check import check_file
from wsklab.drivers.errors import DriverError
from wsklab.drivers.profile import load_profile

SAMPLES = build.HOME / "samples"
NAMES = sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())

needs_mingw = pytest.mark.skipif(shutil.which(build.COMPILER) is None, reason="needs mingw-w64")


@needs_mingw
@pytest.mark.parametrize("name", NAMES)
def test_a_sample_would_load_on_windows(name: str) -> None:
    built = build.build_sample(name, images.cache_folder())
    assert built.path == load_profile(name).resolve(images.cache_folder())
    report = check_file(built.path)
    assert report.loadable
    assert {module.lower() for module in report.imports} <= {"ntoskrnl.exe", "hal.dll", "netio.sys"}
    assert [finding.sentence for finding in report.findings if "signed" not in finding.sentence] == []


def make(folder: Path, compiler: str, *words: str) -> Path:
    """Return what the Makefile beside the samples builds of `folder`, in a folder of its own."""
    for tool in ("make", "clang" if compiler == "clang" else build.COMPILER):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    command: list[str | Path] = [
        "make",
        "-s",
        "-f",
        SAMPLES / "Makefile",
        f"SOURCES={folder}",
        f"COMPILER={compiler}",
        *words,
    ]
    command.append("DRIVER=made")
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
        assert Path(scratch, "build", "made.debug").stat().st_size > Path(scratch, "build", "made.sys").stat().st_size
        return Path(shutil.copy(Path(scratch, "build", "made.sys"), folder / "made.sys"))


@needs_mingw
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", NAMES)
def test_the_makefile_to_copy_builds_the_samples(name: str, compiler: str, tmp_path: Path) -> None:
    folder = shutil.copytree(SAMPLES / name, tmp_path / name)
    report = check_file(make(folder, compiler, "CFLAGS=-std=c11 -O2 -g -Wall -Wextra -Werror"))
    assert report.loadable
    assert {module.lower() for module in report.imports} <= {"ntoskrnl.exe", "hal.dll", "netio.sys"}
    assert [finding.sentence for finding in report.findings if "signed" not in finding.sentence] == []


@needs_mingw
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_makefile_to_copy_builds_a_driver_in_cpp(compiler: str, tmp_path: Path) -> None:
    styles = build.HOME / "include" / "tests"
    for name in ("classes.cpp", "call.h"):
        shutil.copy(styles / name, tmp_path)
    (tmp_path / "entry.cpp").write_text(
        '#include "call.h"\nextern "C" NTSTATUS Use(PWSK_SOCKET, WSK_BUF *);\n'
        'extern "C" NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT, PUNICODE_STRING) { return Use(nullptr, nullptr); }\n'
    )
    report = check_file(make(tmp_path, compiler))
    assert report.loadable
    assert {module.lower() for module in report.imports} == {"ntoskrnl.exe"}


@needs_mingw
def test_clang_builds_structured_exception_handling(tmp_path: Path) -> None:
    (tmp_path / "guarded.c").write_text(
        "#include <wsk.h>\nDRIVER_INITIALIZE DriverEntry;\n"
        "NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING key)\n{\n    (void)driver;\n"
        "    __try {\n        MmProbeAndLockPages((PMDL)key, KernelMode, IoReadAccess);\n"
        "    } __except (1) {\n        return STATUS_ACCESS_VIOLATION;\n    }\n    return STATUS_SUCCESS;\n}\n"
    )
    report = check_file(make(tmp_path, "clang", "CFLAGS=-std=c17 -O2 -g -Wall -Wextra -fms-extensions"))
    assert "__C_specific_handler" in report.imports["ntoskrnl.exe"]


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
