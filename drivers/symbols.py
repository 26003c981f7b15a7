"""The functions of a built driver by address: the COFF symbol table of its file before stripping. Pure."""

from __future__ import annotations

import bisect
import struct
from dataclasses import dataclass

_HEADER = struct.Struct("<H H I I I H H")  # IMAGE_FILE_HEADER
_SYMBOL = struct.Struct("<8s I h H B B")
_SECTION_BYTES = 40
_FUNCTION = 0x20  # IMAGE_SYM_DTYPE_FUNCTION, in its place


@dataclass(frozen=True)
class Symbols:
    """Functions in the order of their addresses, relative to the image's base; there is none from `end` on."""

    end: int
    starts: tuple[int, ...]
    names: tuple[str, ...]

    def name(self, offset: int) -> str | None:
        """`function+0x1a` for an address relative to the base; None outside of the image, or where no function is."""
        at = bisect.bisect_right(self.starts, offset) - 1
        if at < 0 or not 0 <= offset < self.end:
            return None
        return f"{self.names[at]}+{offset - self.starts[at]:#x}"


def read_symbols(image: bytes) -> Symbols:
    """Return the functions of a PE file; none where it has no symbols or is no PE file."""
    try:
        return _read(image)
    except (struct.error, IndexError, ValueError):
        return Symbols(0, (), ())


def _read(image: bytes) -> Symbols:
    (pe,) = struct.unpack_from("<I", image, 0x3C)
    if image[pe : pe + 4] != b"PE\0\0":
        return Symbols(0, (), ())
    _, sections, _, table, count, optional, _ = _HEADER.unpack_from(image, pe + 4)
    headers = pe + 4 + _HEADER.size + optional
    sizes, where = zip(
        *(struct.unpack_from("<II", image, headers + number * _SECTION_BYTES + 8) for number in range(sections)),
        strict=True,
    )
    strings = table + count * _SYMBOL.size
    found: dict[int, str] = {}
    end = number = 0
    while table and number < count:
        raw, value, section, kind, _, extra = _SYMBOL.unpack_from(image, table + number * _SYMBOL.size)
        if kind == _FUNCTION and 0 < section <= sections:
            found.setdefault(where[section - 1] + value, _name(image, raw, strings))
            end = max(end, where[section - 1] + sizes[section - 1])
        number += 1 + extra
    starts = sorted(found)
    return Symbols(end, tuple(starts), tuple(found[start] for start in starts))


def _name(image: bytes, raw: bytes, strings: int) -> str:
    """Return a symbol's name: one of eight bytes stands in the symbol, a longer one in the string table."""
    if raw[:4] != bytes(4):
        return raw.rstrip(b"\0").decode("ascii", "replace")
    start = strings + struct.unpack_from("<I", raw, 4)[0]
    return image[start : image.index(b"\0", start)].decode("ascii", "replace")
