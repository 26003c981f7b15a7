"""Function and line of a driver by address, from the `.pdb` beside it; LLVM's llvm-pdbutil reads it, if installed."""

from __future__ import annotations

import bisect
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wsklab.drivers.symbols import Symbols, read_symbols

TOOL = "llvm-pdbutil"
PATIENCE = 60.0
"""Seconds for the tool to read one PDB."""

_SECTION = re.compile(r"^\s*([0-9A-F]+) virtual size\n\s*([0-9A-F]+) virtual address$", re.MULTILINE)
_FUNCTION = re.compile(r"S_[GL]PROC32(?:_ID)? \[size = \d+\] `(.+)`\n.*addr = (\d+):(\d+), code size = (\d+)")
_PUBLIC = re.compile(r"S_PUB32 \[size = \d+\] `(.+)`\n\s*flags = function\b.*, addr = (\d+):(\d+)")
_BLOCK = re.compile(r"^  ([0-9A-F]{4}):([0-9A-F]{8})-[0-9A-F]{8}, line/addr entries = \d+$")
_FILE = re.compile(r"^(\S.*) \((?:MD5|SHA1|SHA256|None|no checksum)\b.*\)$", re.IGNORECASE)
_LINE = re.compile(r"(\d+) ([0-9A-F]{8})\b")


@dataclass(frozen=True)
class Pdb:
    """The functions of a driver, and where its lines begin, by offset from the image's base."""

    functions: Symbols
    starts: tuple[int, ...]
    lines: tuple[str, ...]

    def name(self, offset: int) -> str | None:
        """`function+0x1a, file.c:12` for an offset; None where no function is."""
        function = self.functions.name(offset)
        at = bisect.bisect_right(self.starts, offset) - 1
        return f"{function}, {self.lines[at]}" if function and at >= 0 else function


def functions_of(symbols: Path) -> Symbols | Pdb:
    """Return the functions of a driver of ours, from what its build has left; none where that is gone."""
    if symbols.suffix == ".pdb":
        return beside(symbols) or Symbols(0, (), ())
    return read_symbols(symbols.read_bytes()) if symbols.exists() else Symbols(0, (), ())


def beside(driver: Path) -> Pdb | None:
    """Return what the PDB beside a driver tells; None when there is none, nothing that reads it, or nothing in it."""
    path = driver.with_suffix(".pdb")
    tool = shutil.which(TOOL)
    if tool is None or not path.is_file():
        return None
    try:
        said = subprocess.run(
            [tool, "dump", "-section-headers", "-publics", "-symbols", "-l", str(path)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = parse(said.stdout)
    return found if found.functions.names else None


def parse(text: str) -> Pdb:
    """Read what llvm-pdbutil has dumped. Addresses are section and offset, decimal of symbols, hexadecimal of lines."""
    sections = [(int(size, 16), int(where, 16)) for size, where in _SECTION.findall(text)]

    def place(section: int, offset: int) -> int | None:
        return sections[section - 1][1] + offset if 0 < section <= len(sections) else None

    found: dict[int, str] = {}
    end = 0
    for pattern in (_FUNCTION, _PUBLIC):
        for name, section, offset, *size in pattern.findall(text):
            if (at := place(int(section), int(offset))) is not None:
                found.setdefault(at, name)
                end = max(end, at + int(size[0]) if size else sum(sections[int(section) - 1]))
    starts = sorted(found)
    lines = sorted(_lines(text, place))
    return Pdb(
        Symbols(end, tuple(starts), tuple(found[start] for start in starts)),
        tuple(at for at, _ in lines),
        tuple(line for _, line in lines),
    )


def _lines(text: str, place: Callable[[int, int], int | None]) -> Iterator[tuple[int, str]]:
    """Return the offsets at which lines of the source begin."""
    file, section = "", 0
    for line in text.splitlines():
        if named := _FILE.match(line):
            file, section = re.split(r"[\\/]", named[1])[-1], 0
        elif block := _BLOCK.match(line):
            section = int(block[1], 16)
        elif section and line.startswith(" "):
            for number, offset in _LINE.findall(line):
                if (at := place(section, int(offset, 16))) is not None:
                    yield at, f"{file}:{number}"
        else:
            section = 0
