"""netio.sys as a file: what Wine's loader must find in it, and the header that describes its interface."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from wsklab import images
from wsklab.drivers import build

DRIVERS = Path(build.__file__).parent
EXPORTS = {
    "WskCaptureProviderNPI",
    "WskDeregister",
    "WskQueryProviderCharacteristics",
    "WskRegister",
    "WskReleaseProviderNPI",
}

pytestmark = pytest.mark.skipif(shutil.which(build.COMPILER) is None, reason="needs mingw-w64")


@pytest.fixture(scope="module")
def listing() -> str:
    image = build.build_standin(images.cache_folder()).netio.path
    return subprocess.run(
        ["x86_64-w64-mingw32-objdump", "-p", image], capture_output=True, text=True, check=True
    ).stdout


def test_exports_what_drivers_import_from_netio(listing: str) -> None:
    assert set(re.findall(r"^\t\[ *\d+\] (\w+)$", listing, re.MULTILINE)) == EXPORTS


def test_imports_only_the_kernel_and_the_loader(listing: str) -> None:
    assert sorted(re.findall(r"DLL Name: (.*)", listing)) == ["ntdll.dll", "ntoskrnl.exe"]


def test_is_a_library_whose_entry_point_is_called(listing: str) -> None:
    """Only a DLL is given to importers by Wine's loader; of a native one it does not call the entry point (R82)."""
    assert re.search(r"^Subsystem\s+00000002", listing, re.MULTILINE)
    assert "DLL" in listing.split("Time/Date")[0]


def test_a_callback_has_the_documented_type(tmp_path: Path) -> None:
    """R1, by the compiler: and a callback of another type is refused."""
    right = "NTSTATUS NTAPI f(PVOID c, ULONG g) { (void)c, (void)g; return 0; }"
    wrong = "NTSTATUS NTAPI f(PVOID c) { (void)c; return 0; }"
    assert compiles(tmp_path, right)
    assert not compiles(tmp_path, wrong)


def compiles(folder: Path, function: str) -> bool:
    source = folder / "callback.c"
    source.write_text(f'#include "wsk.h"\n{function}\nconst PFN_WSK_DISCONNECT_EVENT event = f;\n')
    command: list[str | Path] = [
        build.COMPILER, "-std=c11", "-Werror=incompatible-pointer-types", f"-I{build.DDK}", f"-I{DRIVERS / 'include'}",
        "-fsyntax-only", source,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
