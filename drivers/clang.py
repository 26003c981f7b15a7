"""How clang and lld-link are called to build a driver with a PDB, as a driver of the field has one. Pure.

The target is Microsoft's ABI, the headers and import libraries are mingw-w64's: `-fgnuc-version` has the headers take
clang for a compiler that knows attributes. gcc's build stays the usual one: it needs nothing besides mingw-w64.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

COMPILER, LINKER = "clang", "lld-link"
HEADERS = Path("/usr/share/mingw-w64/include")
LIBRARIES = Path("/usr/x86_64-w64-mingw32/lib")
PACKAGES = "clang, lld and mingw-w64"
"""Debian's, for people; llvm-pdbutil, which reads the PDB, is in llvm."""

COMPILE = (
    "--target=x86_64-pc-windows-msvc", "-fgnuc-version=12.2.0", "-gcodeview",
    "-ffile-compilation-dir=.",  # the command line stands in the PDB, and must not tell where it was given
    "-fno-inline",  # llvm-pdbutil names an inlined line by its call
    # mingw-w64's wdm.h would define these in every object.
    "-D__INTRINSIC_DEFINED_InterlockedBitTestAndSet", "-D__INTRINSIC_DEFINED_InterlockedBitTestAndReset",
    "-isystem", str(HEADERS / "ddk"), "-isystem", str(HEADERS),
)  # fmt: skip
"""Flags besides those of gcc's build."""

AS_MSVC = (
    *COMPILE, "-fstack-protector-strong", "-Xclang", "-cfguard", "-DWSKLAB_MSVC",
)  # fmt: skip
"""As Microsoft's compiler makes a driver: cookies of /GS, Control Flow Guard, INIT and PAGE sections, inline CR8."""

_LINK = (
    "/nologo", "/driver", "/nodefaultlib", "/entry:DriverEntry", "/subsystem:native,10.0", "/base:0x140000000",
    "/dynamicbase", "/nxcompat", "/highentropyva", "/debug", "/Brepro",
    "/pdbsourcepath:/build",  # of relative paths, so that the PDB does not tell where it was made
    "/pdbaltpath:%_PDB%",
)  # fmt: skip


def pdb_of(output: str) -> str:
    """Return the name of the PDB beside a driver."""
    return str(Path(output).with_suffix(".pdb"))


_LINK_AS_MSVC = ("/guard:cf", "/entry:GsDriverEntry", "/section:INIT,ERD", "/section:PAGE,ER")


def link_command(output: str, objects: Sequence[str], libraries: Sequence[str], as_msvc: bool = False) -> list[str]:
    """Return the command that links `output` and its PDB; `libraries` are named as gcc wants them: `-lhal`."""
    more = _LINK_AS_MSVC if as_msvc else ()
    archives = [str(LIBRARIES / f"lib{library.removeprefix('-l')}.a") for library in libraries]
    return [LINKER, *_LINK, *more, f"/out:{output}", f"/pdb:{pdb_of(output)}", *objects, *archives]
