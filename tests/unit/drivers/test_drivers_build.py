"""Building with mingw-w64: reproducible, kept, and loadable; every wrong build is really another program."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pefile
import pytest
from support.damage import flip

from wsklab import images
from wsklab.drivers import build
from wsklab.drivers.check import check_file
from wsklab.drivers.errors import DriverError
from wsklab.drivers.twins import find_twin, twins

needs_mingw = pytest.mark.skipif(shutil.which(build.COMPILER) is None, reason="needs mingw-w64")


@pytest.fixture(scope="module")
def cache() -> Path:
    """Provide the usual cache, in which most is built already."""
    return images.cache_folder()


@needs_mingw
def test_the_driver_is_the_same_wherever_it_is_built(cache: Path, tmp_path: Path) -> None:
    here, there = build.build_driver(None, cache), build.build_driver(None, tmp_path / "somewhere" / "else")
    assert here.path != there.path
    assert here.path.read_bytes() == there.path.read_bytes()
    assert here.symbols.read_bytes() == there.symbols.read_bytes()
    assert here.sha256 == hashlib.sha256(here.path.read_bytes()).hexdigest()
    assert here.symbols.stat().st_size > here.path.stat().st_size


@needs_mingw
def test_a_second_build_does_nothing(cache: Path) -> None:
    build.build_driver(None, cache)
    said: list[str] = []
    again = build.build_driver(None, cache, said.append)
    assert said == []
    assert again.path.is_file()


BUILDS: dict[str, Callable[[Path, build.Progress | None], build.BuiltDriver]] = {
    "the driver": lambda cache, progress: build.build_driver(None, cache, progress),
    "a sample": lambda cache, progress: build.build_sample("echo", cache, progress),
    "the provider": lambda cache, progress: build.build_standin(cache, progress).netio,
    "the agent": build.build_agent,
}


@pytest.fixture(scope="module")
def own(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a cache that may be damaged, with the builds of the usual one."""
    folder = tmp_path_factory.mktemp("cache")
    for make in BUILDS.values():
        kept = make(cache, None).path.parent
        shutil.copytree(kept, folder / "drivers" / kept.name)
    return folder


@needs_mingw
@pytest.mark.parametrize(
    ("what", "wrong", "spoil"),
    [
        ("the driver", "", flip),
        ("a sample", "", flip),
        ("the provider", "", flip),
        ("the agent", "", flip),
        ("a sample", "symbols/", flip),
        ("a sample", "", Path.unlink),
    ],
)
def test_a_damaged_build_is_made_again_with_a_sentence(
    own: Path, what: str, wrong: str, spoil: Callable[[Path], None]
) -> None:
    made = BUILDS[what](own, None)
    content, symbols = made.path.read_bytes(), made.symbols.read_bytes()
    spoil(made.path.parent / f"{wrong}{made.path.name}")
    said: list[str] = []
    again = BUILDS[what](own, said.append)
    assert again == made
    assert (again.path.read_bytes(), again.symbols.read_bytes()) == (content, symbols)
    assert again.content() == content
    assert said[0].endswith(f"{wrong}{made.path.name} is not as it was built (SHA-256 differs), so it is built again")
    assert not list((own / "drivers").glob(".*")), "nothing of the damaged one is left"


@needs_mingw
def test_a_build_without_its_hashes_is_made_again(own: Path) -> None:
    made = build.build_sample("echo", own)
    (made.path.parent / "hashes.json").write_text("[]")
    said: list[str] = []
    assert build.build_sample("echo", own, said.append) == made
    assert "is not as it was built" in said[0]


def test_what_changed_since_it_was_built_does_not_go_into_a_guest(tmp_path: Path) -> None:
    file = tmp_path / "x.sys"
    file.write_bytes(b"MZ and more")
    driver = build.BuiltDriver(file, hashlib.sha256(b"MZ and more").hexdigest(), "x", None, file)
    assert driver.content() == b"MZ and more"
    flip(file)
    with pytest.raises(DriverError, match=r"x\.sys is not what it was when this run began \(SHA-256 differs\)"):
        driver.content()
    file.unlink()
    with pytest.raises(DriverError, match=r"x\.sys cannot be read"):
        driver.content()


def test_drivers_that_anybody_could_have_put_there_are_not_run(tmp_path: Path) -> None:
    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers").chmod(0o777)
    with pytest.raises(DriverError, match="writable by everybody"):
        build.build_driver(None, tmp_path)


@needs_mingw
def test_the_driver_would_load(cache: Path) -> None:
    report = check_file(build.build_driver(None, cache).path)
    assert report.loadable
    assert report.timestamp == 0
    modules = {module.lower(): names for module, names in report.imports.items()}
    assert set(modules) == {"ntoskrnl.exe", "hal.dll", "netio.sys"}
    assert [finding.sentence for finding in report.findings if "signed" not in finding.sentence] == []


@needs_mingw
def test_twins_that_share_objects_are_the_same_bytes(tmp_path: Path) -> None:
    names = ("ignores-flag", "digs-deep")
    with build.twin_builder(tmp_path / "shared") as builder:
        shared = [builder(name).sha256 for name in names]
    assert shared == [build.build_driver(name, tmp_path / "alone").sha256 for name in names]
    assert [path.name for path in (tmp_path / "shared" / "drivers").iterdir() if path.name.startswith(".")] == []


@needs_mingw
def test_a_twin_is_another_program_and_says_so(cache: Path) -> None:
    correct, twin = build.build_driver(None, cache), build.build_driver("ignores-flag", cache)
    assert twin.twin == "ignores-flag"
    assert correct.sha256 != twin.sha256
    assert b"IGNORES_FLAG" in twin.path.read_bytes()
    assert not any(entry.define.encode() in correct.path.read_bytes() for entry in twins().values())


def test_an_unknown_twin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="no twin 'perfect'"):
        build.build_driver("perfect", tmp_path)


def test_a_missing_compiler_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "COMPILER", "no-such-compiler")
    build._version.cache_clear()
    try:
        with pytest.raises(DriverError, match="install the package mingw-w64"):
            build.build_driver(None, tmp_path)
    finally:
        build._version.cache_clear()


def test_the_catalogue_and_the_driver_know_the_same_twins() -> None:
    header = (build.HOME / "wsklab" / "twin.h").read_text()
    enumerated = set(re.findall(r"^    TWIN_([A-Z_]+),$", header, re.MULTILINE)) - {"CORRECT"}
    assert {twin.define for twin in twins().values()} == enumerated
    assert len(enumerated) >= 25
    sources = "".join(path.read_text() for path in (build.HOME / "wsklab").glob("*.c"))
    assert {name for name in enumerated if f"TWIN({name})" not in sources} == set()
    assert find_twin("silent").verdict == "inconclusive"


@needs_mingw
def test_the_agent_asks_for_nothing_that_an_older_kernel_lacks(cache: Path) -> None:
    """It starts on systems before Windows 8, too; what is newer is looked up when it runs."""
    program = pefile.PE(str(build.build_agent(cache).path), fast_load=True)
    program.parse_data_directories([pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_IMPORT"]])
    names = {one.name.decode() for module in program.DIRECTORY_ENTRY_IMPORT for one in module.imports if one.name}
    assert not names & {"GetSystemTimePreciseAsFileTime", "GetTickCount64"}
    assert {"SetupComm", "GetCommState", "GetProcAddress"} <= names, "without a large buffer requests are lost"


@needs_mingw
@pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")
@pytest.mark.parametrize("source", sorted((build.HOME / "agent").glob("*.c")), ids=lambda path: path.name)
def test_the_agent_compiles_for_32_bits(source: Path) -> None:
    headers = ["-isystem", "/usr/share/mingw-w64/include", "-I", str(build.HOME.parent / "common/json")]
    words = ["clang", "--target=i686-w64-mingw32", "-std=c11", "-fsyntax-only", "-Wall", "-Werror", *headers]
    done = subprocess.run([*words, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
