"""What a screenshot shows, as far as a test can tell: which lines of text hold anything."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def written_lines(path: Path, height: int = 8) -> int:
    """How many lines of text, each `height` pixels high, are not of one colour. For 8-bit RGB, as QEMU writes it."""
    colours = [{row[at : at + 3] for at in range(0, len(row), 3)} for row in _rows(path.read_bytes())]
    return sum(len(set().union(*colours[at : at + height])) > 1 for at in range(0, len(colours), height))


def _rows(png: bytes) -> list[bytes]:
    """Return the pixels of every row (PNG specification, sections 5, 9 and 11.2)."""
    assert png.startswith(SIGNATURE)
    chunks: dict[bytes, bytes] = {}
    at = len(SIGNATURE)
    while at < len(png):
        (length,), kind = struct.unpack_from(">I", png, at), png[at + 4 : at + 8]
        chunks[kind] = chunks.get(kind, b"") + png[at + 8 : at + 8 + length]
        at += 12 + length
    width, _height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour) == (8, 2), "not 8-bit RGB"
    return _unfiltered(zlib.decompress(chunks[b"IDAT"]), 3 * width)


def _unfiltered(data: bytes, stride: int) -> list[bytes]:
    rows, above = [], bytearray(stride)
    for at in range(0, len(data), stride + 1):
        row = bytearray(data[at + 1 : at + 1 + stride])
        for i in range(stride):
            left, corner = (row[i - 3], above[i - 3]) if i >= 3 else (0, 0)
            row[i] = (row[i] + _predicted(data[at], left, above[i], corner)) & 0xFF
        rows.append(bytes(row))
        above = row
    return rows


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind < 4:
        return (0, left, up, (left + up) // 2)[kind]
    return min((left, up, corner), key=lambda value: abs(left + up - corner - value))
