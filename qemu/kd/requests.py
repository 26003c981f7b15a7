"""What we say to a stopped target: requests, answers to prompts and files (docs/reference/kd.md 1.7, 2.3, 2.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from wsklab.qemu.kd.messages import DEBUG_IO_HEADER, PROMPT, FileRequest, Prompt, Reply, StateChange

HANDLED = 0x00010002  # DBG_CONTINUE
NOT_HANDLED = 0x80010001  # DBG_EXCEPTION_NOT_HANDLED: let the system deal with it
NO_SUCH_FILE = 0xC000000F


class Api(IntEnum):
    """The numbers of the manipulate requests that this host makes (kd.md 2.3)."""

    READ_VIRTUAL = 0x3130
    GET_CONTEXT = 0x3132
    SET_CONTEXT = 0x3133
    CONTINUE = 0x3136
    CONTINUE2 = 0x313C
    GET_VERSION = 0x3146


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor that a request is for, as the state change named it."""

    level: int = 6
    processor: int = 0


def _manipulate(api: Api, cpu: Cpu, union: bytes = b"", data: bytes = b"") -> bytes:
    return struct.pack("<IHHII", api, cpu.level, cpu.processor, 0, 0) + union.ljust(40, b"\0") + data


def continue_(cpu: Cpu, status: int) -> bytes:
    """DbgKdContinueApi: leaves Dr7 and the trace flag alone (V10)."""
    return _manipulate(Api.CONTINUE, cpu, struct.pack("<I", status))


def continue2(cpu: Cpu, status: int, dr7: int, x86: bool) -> bytes:
    """DbgKdContinueApi2 with no trace, no symbol range, and Dr7 as the target reported it (V8, V9)."""
    rest = struct.pack("<IIII", 0, dr7 & 0xFFFFFFFF, 1, 1) if x86 else struct.pack("<IQQQ", 0, dr7, 1, 1)
    return _manipulate(Api.CONTINUE2, cpu, struct.pack("<I", status) + rest)


def signed(address: int, word: int) -> int:
    """Return an address as KD writes it: that of a 32-bit target is sign-extended to 64 bits (kd.md 2.2)."""
    return address | 0xFFFFFFFF << 32 if word == 4 and address & 0x80000000 else address


def get_version(cpu: Cpu) -> bytes:
    """V13."""
    return _manipulate(Api.GET_VERSION, cpu)


def read_virtual(cpu: Cpu, address: int, count: int) -> bytes:
    """V14. A reply carries at most 3,944 bytes (kd.md 1.1)."""
    return _manipulate(Api.READ_VIRTUAL, cpu, struct.pack("<QI", address, count))


def get_context(cpu: Cpu) -> bytes:
    return _manipulate(Api.GET_CONTEXT, cpu)


def set_context(cpu: Cpu, context: Context) -> bytes:
    """Refused unless the context was got during the same stop (kd.md 2.3)."""
    return _manipulate(Api.SET_CONTEXT, cpu, struct.pack("<I", context.flags), context.data)


def answer_prompt(prompt: Prompt, answer: bytes) -> bytes:
    """V16: the header of the prompt, then the answer, cut to what the target has room for."""
    answer = answer[: prompt.room]
    return DEBUG_IO_HEADER.pack(PROMPT, prompt.level, prompt.processor, prompt.length, len(answer)) + answer


def refuse_file(request: FileRequest) -> bytes:
    """V17: STATUS_NO_SUCH_FILE."""
    return struct.pack("<II", request.api, NO_SUCH_FILE).ljust(64, b"\0")


def read_data(reply: Reply, count: int) -> bytes | None:
    """Return the memory in a ReadVirtual reply; None unless all `count` bytes were read."""
    (actual,) = struct.unpack_from("<I", reply.union, 12)
    if not reply.ok or actual < count or len(reply.data) < count:
        return None
    return reply.data[:count]


@dataclass(frozen=True, slots=True)
class Version:
    """What of a GetVersion reply is needed to find the kernel's debugger data."""

    build: int
    machine: int
    kernel_base: int
    debugger_data_list: int


def version(reply: Reply) -> Version | None:
    if not reply.ok:
        return None
    build, machine = struct.unpack_from("<2xH4xH", reply.union)
    base, _, data_list = struct.unpack_from("<QQQ", reply.union, 16)
    return Version(build, machine, base, data_list)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a CONTEXT has what; checked with the mingw headers (kd.md 2.4)."""

    size: int
    word: int
    flags: int
    pc: int
    sp: int
    argument: int


_AMD64 = _Layout(0x4D0, 8, 0x30, 0xF8, 0x98, 0x80)
_X86 = _Layout(0x2CC, 4, 0x00, 0xB8, 0xC4, 0xB0)


@dataclass(frozen=True, slots=True)
class Context:
    """The registers of a stopped processor."""

    data: bytes
    layout: _Layout

    @classmethod
    def of(cls, reply: Reply, change: StateChange) -> Context | None:
        """None when it cannot be one of `change`: refused, of unknown size, or with another program counter."""
        context = cls.of_any(reply, change.x86)
        return context if context and context.pc == change.pc % (1 << 8 * context.layout.word) else None

    @classmethod
    def of_any(cls, reply: Reply, x86: bool) -> Context | None:
        """Return the registers of some processor of the stopped machine; None when refused, or of unknown size."""
        layout = _X86 if x86 else _AMD64
        return cls(reply.data, layout) if reply.ok and len(reply.data) >= layout.size else None

    def _read(self, offset: int, size: int) -> int:
        return int.from_bytes(self.data[offset : offset + size], "little")

    @property
    def flags(self) -> int:
        """ContextFlags."""
        return self._read(self.layout.flags, 4)

    @property
    def pc(self) -> int:
        """Rip or Eip."""
        return self._read(self.layout.pc, self.layout.word)

    @property
    def sp(self) -> int:
        """Rsp or Esp, as the target writes addresses: sign-extended where it has 32 bits."""
        return signed(self._read(self.layout.sp, self.layout.word), self.layout.word)

    @property
    def argument(self) -> int:
        """Rcx, or Eax: at BreakpointWithStatus the status, its only argument (kd.md 2.5)."""
        return self._read(self.layout.argument, self.layout.word)

    def advanced(self, count: int) -> Context:
        """Return the same with the program counter `count` bytes on."""
        at, word = self.layout.pc, self.layout.word
        pc = (self.pc + count) % (1 << 8 * word)
        return Context(self.data[:at] + pc.to_bytes(word, "little") + self.data[at + word :], self.layout)
