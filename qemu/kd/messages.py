"""What the target says: payloads of debug I/O, state changes, file I/O, replies (docs/reference/kd.md 1.7, 2.1 to 2.3).

Every `parse_*` returns None for a payload that is too short or of another kind; none raises. Offsets are those of the
KD64 layout, which 32-bit targets use as well (kd.md 1.1, tested by compile-time asserts).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from wsklab.qemu.kd.packet import Kind, Packet

PRINT, PROMPT = 0x3230, 0x3231
CREATE_FILE = 0x3430
DEBUG_IO_HEADER = struct.Struct("<IHHII")
FILE_IO_SIZE = 64
STATE_CHANGE_SIZE = 240
MANIPULATE_SIZE = 56

_APIS = {
    Kind.STATE_CHANGE32: range(0x3030, 0x3040),
    Kind.STATE_CHANGE64: range(0x3030, 0x3040),
    Kind.MANIPULATE: range(0x3130, 0x3200),
    Kind.DEBUG_IO: range(0x3230, 0x3240),
    Kind.FILE_IO: range(0x3430, 0x3440),
}
_ALTERNATE_SOURCE = 0x10000  # a bit of NewState (kd.md 2.2)


class State(IntEnum):
    """Why the target stopped (kd.md 2.2)."""

    EXCEPTION = 0x3030
    LOAD_SYMBOLS = 0x3031
    COMMAND_STRING = 0x3032


@dataclass(frozen=True, slots=True)
class Print:
    """One DbgPrint call: a piece of text, not a line; without encoding promise."""

    processor: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Prompt:
    """DbgPrompt: the target waits for an answer of at most `room` bytes."""

    level: int
    processor: int
    text: bytes
    length: int
    room: int


@dataclass(frozen=True, slots=True)
class StateChange:
    """The target stopped, and stays so until it is continued."""

    state: int
    level: int
    processor: int
    processors: int
    thread: int
    pc: int
    dr7: int
    stream: bytes
    """The first bytes of code at `pc`, at most 16."""

    @property
    def x86(self) -> bool:
        """A 32-bit target: its addresses come sign-extended (kd.md 2.2)."""
        return _is_x86(self.thread, self.pc)


@dataclass(frozen=True, slots=True)
class ExceptionReport:
    """DBGKM_EXCEPTION64. `information` has only the meaningful words."""

    code: int
    address: int
    first_chance: bool
    information: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModuleReport:
    """DBGKD_LOAD_SYMBOLS64 and the path after it."""

    path: str
    base: int
    size: int
    checksum: int
    process: int
    unload: bool

    @property
    def shutdown(self) -> bool:
        """The unload of nothing at the last address says that the system goes down or reboots (kd.md 2.2)."""
        return self.unload and not self.path and self.base == 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class FileRequest:
    """The target asks the debugger for a file."""

    api: int
    path: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request. `status` is an NTSTATUS, `union` the 40 bytes after the header, `data` the rest."""

    api: int
    status: int
    union: bytes
    data: bytes

    @property
    def ok(self) -> bool:
        """The target did what it was asked (NT_SUCCESS)."""
        return self.status < 0x80000000


def api_number(payload: bytes) -> int:
    """Return the first word of every payload. 0 when there is none."""
    return int.from_bytes(payload[:4], "little") if len(payload) >= 4 else 0


def plausible(packet: Packet) -> bool:
    """Type and first word fit each other. The type is outside the checksum: only this shows that it was damaged.

    Types whose payload is not known (kd.md 1.2: trace I/O, control request) fit whatever is no other type's word.
    """
    api = api_number(packet.payload) & ~_ALTERNATE_SOURCE
    expected = _APIS.get(packet.kind)
    if expected is None:
        return not any(api in known for known in _APIS.values())
    return api in expected


def needs_answer(packet: Packet) -> bool:
    """Tell whether the target stays stopped until it gets data from us, not only an ACK (kd.md 1.2)."""
    if packet.kind is Kind.DEBUG_IO:
        return api_number(packet.payload) == PROMPT
    return packet.kind in (Kind.STATE_CHANGE32, Kind.STATE_CHANGE64, Kind.FILE_IO)


def parse_print(payload: bytes) -> Print | None:
    """LengthOfStringRead is uninitialised in a print (kd.md 2.1) and not looked at."""
    if len(payload) < DEBUG_IO_HEADER.size:
        return None
    api, _, processor, length, _ = DEBUG_IO_HEADER.unpack_from(payload)
    if api != PRINT:
        return None
    return Print(processor, payload[DEBUG_IO_HEADER.size :][:length])


def parse_prompt(payload: bytes) -> Prompt | None:
    if len(payload) < DEBUG_IO_HEADER.size:
        return None
    api, level, processor, length, room = DEBUG_IO_HEADER.unpack_from(payload)
    if api != PROMPT:
        return None
    return Prompt(level, processor, payload[DEBUG_IO_HEADER.size :][:length], length, room)


def _is_x86(thread: int, pc: int) -> bool:
    """Tell by the thread, which is always the kernel's.

    A breakpoint of a user's program has a small program counter.
    """
    return (thread or pc) >> 32 == 0xFFFFFFFF


def parse_state_change(payload: bytes) -> StateChange | None:
    if len(payload) < STATE_CHANGE_SIZE:
        return None
    state, level, processor, processors, thread, pc = struct.unpack_from("<IHHI4xQQ", payload)
    if _is_x86(thread, pc):  # the control report differs (kd.md 2.2)
        (dr7,), count, stream = struct.unpack_from("<I", payload, 196), 200, 204
    else:
        (dr7,), count, stream = struct.unpack_from("<Q", payload, 200), 212, 216
    length = min(int.from_bytes(payload[count : count + 2], "little"), 16)
    state &= ~_ALTERNATE_SOURCE
    return StateChange(state, level, processor, processors, thread, pc, dr7, payload[stream : stream + length])


def parse_exception(payload: bytes) -> ExceptionReport | None:
    """Return the exception of a state change whose state is EXCEPTION."""
    if len(payload) < STATE_CHANGE_SIZE:
        return None
    code, address, count = struct.unpack_from("<I12xQI", payload, 32)
    (first_chance,) = struct.unpack_from("<I", payload, 184)
    information = struct.unpack_from(f"<{min(count, 15)}Q", payload, 64)
    return ExceptionReport(code, address, bool(first_chance), information)


def parse_module(payload: bytes) -> ModuleReport | None:
    """Return the module of a state change whose state is LOAD_SYMBOLS.

    The path is the last PathNameLength bytes of the payload, wherever the structure ends (kd.md 2.2).
    """
    if len(payload) < STATE_CHANGE_SIZE:
        return None
    length, base, process, checksum, size, unload = struct.unpack_from("<I4xQQIIB", payload, 32)
    length = min(length, len(payload) - STATE_CHANGE_SIZE)
    path = payload[len(payload) - length :].split(b"\0")[0]
    return ModuleReport(path.decode(errors="replace"), base, size, checksum, process, bool(unload))


def parse_file_request(payload: bytes) -> FileRequest | None:
    if len(payload) < FILE_IO_SIZE:
        return None
    path = payload[FILE_IO_SIZE:].decode("utf-16-le", errors="replace").split("\0")[0]
    return FileRequest(api_number(payload), path)


def parse_reply(payload: bytes) -> Reply | None:
    if len(payload) < MANIPULATE_SIZE:
        return None
    api, status = struct.unpack_from("<I4xI", payload)
    return Reply(api, status, payload[16:MANIPULATE_SIZE], payload[MANIPULATE_SIZE:])
