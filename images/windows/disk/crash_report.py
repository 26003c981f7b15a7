"""What a Windows crash dump tells: the stop, the registers, in which module, and what on the stack may lead there.

`kdmp-parser` finds the pages of complete, kernel and bitmap dumps. A dump comes from the guest, which is not trusted,
and the parser is C++: it runs in a process of its own, with limits. Not yet tried on a dump that Windows has made.
"""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wsklab.images.windows.disk import dumps
from wsklab.qemu.kd import bugcheck
from wsklab.qemu.kd.modules import Modules

PATIENCE = 60.0
"""Seconds for reading a dump."""

MOST_MEMORY = 4 << 30
"""Bytes of address space, in which the whole dump is mapped, besides what the dump has."""

PAGE = 0x1000
MOST_MODULES = 1024
STACK = 0x2000
"""Bytes of the stack that are looked at, upwards from RSP."""

MOST_PLACES = 40
REGISTERS = [
    "rax",
    "rbx",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "rbp",
    "rsp",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
    "rip",
]

Read = Callable[[int, int], bytes | None]


@dataclass(frozen=True)
class Module:
    """A driver or the kernel, as the list of loaded modules has it."""

    name: str
    base: int
    size: int


class Unreadable(Exception):
    """A dump that tells nothing beyond its header."""


def report(path: Path) -> str:
    """Everything in lines, for people. Raises Unreadable, with one sentence."""
    command = [sys.executable, "-m", "wsklab.images.windows.disk.crash_report", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Unreadable(f"{path.name} could not be read in {PATIENCE:.0f} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said and done.returncode == 1 else f"its reader ended with code {done.returncode}"
        raise Unreadable(f"{path.name}: {why}")
    return done.stdout.decode(errors="replace")


def modules(read: Read, head: int) -> Iterator[Module]:
    """Yield the list of loaded modules from its head on (KLDR_DATA_TABLE_ENTRY of x64), as far as it is in the dump."""
    entry, seen = _word(read, head), set[int]()
    while entry not in (None, 0, head) and entry not in seen and len(seen) < MOST_MODULES:
        assert entry is not None
        seen.add(entry)
        data = read(entry, 0x68)
        if data is None:
            return
        (base,), (size,) = struct.unpack_from("<Q", data, 0x30), struct.unpack_from("<I", data, 0x40)
        length, buffer = struct.unpack_from("<H6xQ", data, 0x58)
        name = read(buffer, length) if length <= 520 else None
        yield Module((name or b"").decode("utf-16-le", errors="replace") or f"{base:#x}", base, size)
        (entry,) = struct.unpack_from("<Q", data)


def stack_words(read: Read, start: int) -> Iterator[int]:
    """Yield the words on a stack, up to its end or the first page that is not in the dump."""
    for at in range(start & ~7, (start & ~7) + STACK, 8):
        word = _word(read, at)
        if word is None:
            return
        yield word


def _word(read: Read, address: int) -> int | None:
    data = read(address, 8)
    return None if data is None else int.from_bytes(data, "little")


def lines(head: dumps.Dump, registers: dict[str, int], loaded: list[Module], stack: list[int]) -> Iterator[str]:
    """Yield the lines of the report. Pure."""
    known = Modules()
    for one in loaded:
        known.loaded(one.name, one.base, one.size)
    yield f"{bugcheck.describe(head.code, head.parameters)}, {head.kind} dump"
    yield from (f"parameter {number}: {known.name(word)}" for number, word in enumerate(head.parameters, 1)
                if known.find(word))  # fmt: skip
    yield f"stopped in {known.name(registers['rip'])}"
    for at in range(0, len(REGISTERS), 4):
        yield "  ".join(f"{name:3} {registers[name]:016x}" for name in REGISTERS[at : at + 4])
    yield "addresses of code on the stack, from its top (some are left over from earlier calls):"
    places = [known.name(word) for word in stack if known.find(word)]
    yield from (f"  {place}" for place in places[:MOST_PLACES] or ["none"])
    yield f"{len(loaded)} modules:"
    yield from (f"  {one.base:016x} {one.size:8x} {one.name}" for one in loaded)


def _main(path: Path) -> int:
    """In the process of its own."""
    whole = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY + whole, MOST_MEMORY + whole))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with path.open("rb") as file:
        head = dumps.header(file.read(dumps.HEADER))
    if head is None:
        print("it is no 64-bit crash dump", file=sys.stderr)
        return 1
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the parser says there what it does not find
    from kdmp_parser import KernelDumpParser  # type: ignore[import-untyped]

    try:
        dump = KernelDumpParser(path)
    except (RuntimeError, ValueError):
        print(f"only its header can be read ({head.kind} dump): {bugcheck.describe(head.code, head.parameters)}",
              file=sys.stderr)  # fmt: skip
        return 1

    def read(address: int, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            page = dump.read_virtual_page(address + len(data) & ~(PAGE - 1))
            if page is None:
                return None
            data += bytes(page[(address + len(data)) % PAGE :])
        return data[:count]

    registers = {name: int(getattr(dump.context, name.capitalize())) for name in REGISTERS}
    loaded = list(modules(read, int(dump.header.PsLoadedModuleList)))
    for line in lines(head, registers, loaded, list(stack_words(read, registers["rsp"]))):
        print(line, file=out)
    out.close()
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
