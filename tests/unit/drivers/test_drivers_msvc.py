"""A driver built as Microsoft's compiler builds one: cookies, Control Flow Guard, INIT and PAGE, inline CR8."""

from __future__ import annotations

import shutil
import struct

import pefile
import pytest

from wsklab import images
from wsklab.drivers.build import BuiltDriver, build_driver, build_sample
from wsklab.drivers.check import check_file

pytestmark = pytest.mark.skipif(
    shutil.which("clang") is None or shutil.which("lld-link") is None, reason="needs clang and lld"
)

DEFAULT_COOKIE = 0x00002B992DDFA232
READ_CR8 = bytes.fromhex("440f20c0")
DISCARDABLE = 0x02000000


@pytest.fixture(scope="module")
def made() -> BuiltDriver:
    return build_driver(None, images.cache_folder(), toolchain="msvc")


@pytest.fixture(scope="module")
def image(made: BuiltDriver) -> pefile.PE:
    return pefile.PE(str(made.path))


def test_it_would_load(made: BuiltDriver) -> None:
    report = check_file(made.path)
    assert [f.sentence for f in report.findings if f.severity == "error"] == []
    assert set(report.imports) == {"ntoskrnl.exe", "HAL.dll", "NETIO.SYS"}


def test_it_has_the_sections_of_a_driver_of_the_field(image: pefile.PE) -> None:
    sections = {section.Name.rstrip(b"\0").decode(): section for section in image.sections}
    assert {"INIT", "PAGE"} <= set(sections)
    assert sections["INIT"].Characteristics & DISCARDABLE


def test_the_load_configuration_names_cookie_and_guard(image: pefile.PE) -> None:
    loaded = image.DIRECTORY_ENTRY_LOAD_CONFIG.struct
    at = loaded.SecurityCookie - image.OPTIONAL_HEADER.ImageBase
    assert struct.unpack("<Q", image.get_data(at, 8)) == (DEFAULT_COOKIE,)
    assert loaded.GuardCFDispatchFunctionPointer
    assert loaded.GuardCFFunctionCount > 10
    assert image.OPTIONAL_HEADER.DllCharacteristics & 0x4000  # GUARD_CF


def test_it_reads_the_irql_inline(made: BuiltDriver) -> None:
    assert READ_CR8 in made.path.read_bytes()


def test_a_sample_can_be_built_so_as_well() -> None:
    sample = build_sample("pinger", images.cache_folder(), toolchain="msvc")
    assert hasattr(pefile.PE(str(sample.path)), "DIRECTORY_ENTRY_LOAD_CONFIG")
