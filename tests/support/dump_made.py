"""A crash dump of Windows x64 as its format's documents say: header, physical memory, page tables, modules, a stack.

`_DUMP_HEADER64` as in QEMU's win_dump_defs.h, the bitmap form as kdmp-parser's README describes it, four levels of page
tables as in the processor's manual, KLDR_DATA_TABLE_ENTRY of x64.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

PAGE = 0x1000
DIRECTORY, FIRST_TABLE, FIRST_PAGE = 1, 2, 64  # page frame numbers
FRAMES = 160
HEAD, ENTRIES, NAMES, STACK = (0xFFFFF80000100000 + at * PAGE for at in range(4))


@dataclass
class Made:
    """Physical memory with a kernel's address space in it."""

    frames: dict[int, bytearray] = field(default_factory=lambda: {DIRECTORY: bytearray(PAGE)})
    _tables: int = FIRST_TABLE
    _pages: int = FIRST_PAGE

    def write(self, address: int, data: bytes) -> None:
        """Map the pages of an address, and fill them."""
        for at, byte in enumerate(data):
            self.frames[self._frame(address + at)][(address + at) % PAGE] = byte

    def _frame(self, address: int) -> int:
        table = DIRECTORY
        for shift in (39, 30, 21, 12):
            index = (address >> shift & 0x1FF) * 8
            (entry,) = struct.unpack_from("<Q", self.frames[table], index)
            if not entry & 1:
                if shift > 12:
                    number, self._tables = self._tables, self._tables + 1
                else:
                    number, self._pages = self._pages, self._pages + 1
                self.frames[number] = bytearray(PAGE)
                entry = number << 12 | 3
                struct.pack_into("<Q", self.frames[table], index, entry)
            table = entry >> 12
        return table

    def modules(self, *loaded: tuple[str, int, int]) -> None:
        """Add the list of loaded modules: name, base, size."""
        links = [HEAD, *(ENTRIES + 0x100 * number for number in range(len(loaded)))]
        self.write(HEAD, struct.pack("<QQ", links[1 % len(links)], links[-1]))
        for number, (name, base, size) in enumerate(loaded):
            text, entry = name.encode("utf-16-le"), bytearray(0xA0)
            struct.pack_into("<QQ", entry, 0, links[(number + 2) % len(links)], links[number])
            struct.pack_into("<QQI", entry, 0x30, base, base + 0x1000, size)
            struct.pack_into("<HH4xQ", entry, 0x58, len(text), len(text) + 2, NAMES + 0x80 * number)
            self.write(links[number + 1], bytes(entry))
            self.write(NAMES + 0x80 * number, text + b"\0\0")

    def header(self, kind: int, code: int, parameters: tuple[int, ...], rip: int, rsp: int) -> bytearray:
        head = bytearray(b"PAGE" * (0x2000 // 4))
        head[4:8] = b"DU64"
        struct.pack_into("<II", head, 8, 15, 20348)
        struct.pack_into("<QQQQ", head, 0x10, DIRECTORY * PAGE, 0, HEAD, 0)
        struct.pack_into("<III", head, 0x30, 0x8664, 1, code)
        struct.pack_into("<4Q", head, 0x40, *parameters)
        struct.pack_into("<Q", head, 0x80, 0)
        struct.pack_into("<I4xQQQ", head, 0x88, 1, FRAMES, 0, FRAMES)
        context = bytearray(0x4D0)
        struct.pack_into("<II", context, 0x30, 0x10001F, 0x1F80)
        struct.pack_into("<HHHHHHI", context, 0x38, 0x10, 0x2B, 0x2B, 0x53, 0x2B, 0x18, 0x246)
        for number in range(16):
            struct.pack_into("<Q", context, 0x78 + 8 * number, 0x1111111111111111 * number)
        struct.pack_into("<Q", context, 0x98, rsp)
        struct.pack_into("<Q", context, 0xF8, rip)
        struct.pack_into("<I", context, 0x118, 0x1F80)  # MxCsr2, in the saved floating point state
        head[0x348 : 0x348 + len(context)] = context
        struct.pack_into("<II", head, 0xF00, 0x80000003, 0)
        struct.pack_into("<IIQQ", head, 0xF98, kind, 0, 0x2000 + FRAMES * PAGE, 0)
        return head

    def complete(self, *words: object) -> bytes:
        """Return a complete dump: every frame after the header."""
        empty = bytearray(PAGE)
        return bytes(self.header(1, *words)) + b"".join(bytes(self.frames.get(n, empty)) for n in range(FRAMES))  # type: ignore[arg-type]

    def bitmap(self, *words: object) -> bytes:
        """Return a kernel dump of today: a map of the frames that are there, and they."""
        there = bytearray(FRAMES // 8)
        for number in self.frames:
            there[number // 8] |= 1 << number % 8
        start = -(-(0x2038 + len(there)) // PAGE) * PAGE
        table = b"SDMPDUMP" + bytes(0x18) + struct.pack("<QQQ", start, len(self.frames), FRAMES) + bytes(there)
        head = bytes(self.header(5, *words)) + table  # type: ignore[arg-type]
        return head.ljust(start, b"\0") + b"".join(bytes(self.frames[number]) for number in sorted(self.frames))
