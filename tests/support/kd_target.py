"""A KD target: the kernel's side of the serial protocol, and a line that damages what it carries.

Written from docs/reference/kd.md (1.3 to 1.7, 2) and from nothing of the host's code. It is a generator that yields a
Wait when it wants a byte or lets time pass, so that a test runs it in virtual time (kd_rig.py) and a thread in real
time (`serve`), both over a real socket. Two flavours, where kd.md 1.4 tells them apart: "windows" and "reactos".
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field

ACK, RESEND, RESET = 4, 5, 6
MANIPULATE, DEBUG_IO, STATE_CHANGE, FILE_IO = 2, 3, 7, 11
FIRST, SYNC = 0x80800000, 0x800
TRIES = 20
TRY = 0.0143  # s until a silent host is tried again, as measured under TCG (kd.md 1.5)
PC, CODE_BASE = 0xFFFFF80000005000, 0xFFFFF80000001000
BREAK_WITH_STATUS, DATA_LIST, DATA_BLOCK, BUGCHECK_DATA = PC + 0x1000, PC + 0x2000, PC + 0x3000, PC + 0x4000
TIMEOUT, AGAIN = object(), object()


@dataclass
class Wait:
    """Until a byte is there (unless `blind`), at most `seconds`."""

    seconds: float
    blind: bool = False


Run = Generator[Wait, None, None]
Received = object | bytes


@dataclass
class Target:
    """The kernel. `say` writes to the line; `fifo` holds what came from it."""

    say: Callable[[bytes], None]
    flavour: str = "windows"
    endless: bool = False  # never gives a debugger up
    fifo: bytearray = field(default_factory=bytearray)
    own: int = FIRST | SYNC
    expected: int = FIRST
    not_present: bool = False
    broke_in: bool = False
    gave_up: int = 0
    dropped: list[bytes] = field(default_factory=list)  # prints that nobody was present for
    sent: int = 0  # data packets that the kernel wanted to send
    pc: int = PC
    rax: int = 0
    dr7: int = 0x400
    got_context: bool = False
    memory: dict[int, bytes] = field(default_factory=dict)
    answers: list[bytes] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # what stops were continued with
    file_statuses: list[int] = field(default_factory=list)
    refuse_continue: bool = False
    mute: int = 0  # a request that gets no reply

    # --- bytes

    def byte(self) -> Generator[Wait, None, int | None]:
        if not self.fifo:
            yield Wait(TRY)
        if not self.fifo:
            return None
        one = self.fifo[0]
        del self.fifo[0]
        return one

    def take(self, count: int) -> Generator[Wait, None, bytes | None]:
        data = bytearray()
        while len(data) < count:
            one = yield from self.byte()
            if one is None:
                return None
            data.append(one)
        return bytes(data)

    def control(self, kind: int, number: int = 0) -> None:
        self.say(struct.pack("<4sHHII", b"iiii", kind, 0, number, 0))

    def leader(self) -> Generator[Wait, None, object | int]:
        """Four equal leader bytes. A break-in byte counts when silence follows [R], or a packet too [S]."""
        same, previous, broken = 0, -1, False
        while same < 4:
            one = yield from self.byte()
            if one is None:
                self.broke_in |= broken
                return AGAIN if broken else TIMEOUT
            if one in b"0i":
                same = same + 1 if one == previous else 1
                if self.flavour == "reactos":
                    broken = False
            else:
                broken = one == 0x62 and same == 0
                same = 0
            previous = one
        self.broke_in |= broken
        self.not_present = False
        return previous

    # --- packets (kd.md 1.4)

    def receive(self, wanted: int) -> Generator[Wait, None, Received]:
        """A payload of the wanted kind; b"" for the ACK; TIMEOUT; AGAIN: the caller must send again."""
        while True:
            leader = yield from self.leader()
            if leader is TIMEOUT or leader is AGAIN:
                return leader
            raw = yield from self.take(2)
            if raw is None:
                return TIMEOUT
            kind = int.from_bytes(raw, "little")
            if leader == ord("i") and kind == RESEND:
                return AGAIN  # the other ten bytes stay in the FIFO
            raw = yield from self.take(10)
            if raw is None:
                return TIMEOUT
            count, number, total = struct.unpack("<HII", raw)
            if leader == ord("i"):
                if kind == RESET:
                    self.own = self.expected = FIRST
                    self.control(RESET)
                    return AGAIN
                if kind == ACK and wanted == ACK and number == self.own & ~SYNC:
                    self.own = number ^ 1
                    return b""
                continue
            if wanted == ACK:
                if self.flavour == "reactos" or number == self.expected:
                    self.control(RESEND)  # and takes its own packet for ACKed
                    self.own = self.own & ~SYNC ^ 1
                    return b""
                self.control(ACK, number)
                continue
            payload = yield from self.body(wanted, kind, count, number, total)
            if payload is not None:
                return payload

    def body(self, wanted: int, kind: int, count: int, number: int, total: int) -> Generator[Wait, None, bytes | None]:
        """The rest of a data packet; None: it was not the right one."""
        if count > 4000 or (wanted == MANIPULATE and count < 56):
            self.control(RESEND)
            return None
        if self.flavour == "windows":
            if number & ~1 != FIRST or kind != wanted:
                self.control(RESEND)
                return None
            if number != self.expected:
                self.control(ACK, number)
                return None
        data = yield from self.take(count + 1)
        if data is None:
            self.control(RESEND)
            return None
        if data[-1] != 0xAA or sum(data[:-1]) != total:
            self.control(RESEND)
            return None
        self.control(ACK, number)
        if number != self.expected or kind != wanted:
            return None
        self.expected ^= 1
        return data[:-1]

    def send(self, kind: int, payload: bytes, gives_up: bool = False) -> Generator[Wait, None, bool]:
        """Until it is ACKed. Only a whole time-out counts as a try (kd.md 1.5)."""
        tries = TRIES
        while True:
            if not tries and gives_up and not self.endless:
                self.not_present = True
                self.own, self.expected = FIRST | SYNC, FIRST
                self.gave_up += 1
                return False
            header = struct.pack("<4sHHII", b"0000", kind, len(payload), self.own, sum(payload))
            self.say(header + payload + b"\xaa")
            got = yield from self.receive(ACK)
            if got is TIMEOUT:
                tries -= 1
            elif got is not AGAIN:
                return True

    # --- what the kernel says

    def print(self, text: bytes, cpu: int = 0) -> Run:
        if self.not_present:
            self.dropped.append(text)
            return
        self.sent += 1
        junk = self.sent * 2654435761 % (1 << 32)  # LengthOfStringRead is not initialised
        yield from self.send(DEBUG_IO, struct.pack("<IHHII", 0x3230, 6, cpu, len(text), junk) + text, gives_up=True)

    def prompt(self, text: bytes, room: int = 2) -> Run:
        self.sent += 1
        header = struct.pack("<IHHII", 0x3231, 6, 0, len(text), room)
        while True:
            yield from self.send(DEBUG_IO, header + text)
            got: Received = TIMEOUT
            while got is TIMEOUT:
                got = yield from self.receive(DEBUG_IO)
            if isinstance(got, bytes):
                self.answers.append(got[16:][:room])
                return

    def file(self, path: str) -> Run:
        self.sent += 1
        payload = struct.pack("<I", 0x3430).ljust(64, b"\0") + path.encode("utf-16-le") + b"\0\0"
        while (yield from self.send(FILE_IO, payload, gives_up=True)):
            got: Received = TIMEOUT
            while got is TIMEOUT:
                got = yield from self.receive(FILE_IO)
            if isinstance(got, bytes):
                self.file_statuses.append(struct.unpack_from("<I", got, 4)[0])
                return

    def load(self, path: str, unload: bool = False, base: int = 0xFFFFF80002400000) -> Run:
        if self.not_present:
            return
        name = path.encode() + b"\0" if path else b""
        union = struct.pack("<I4xQQIIB", len(name), base, 2**64 - 1, 0xA1B2C3, 0x1046000, unload)
        yield from self.stop(0x3031, union, name, gives_up=True)

    def exception(self, code: int, first: bool = True, stream: bytes = b"\x90") -> Run:
        union = struct.pack("<IIQQI4xQ", code, 0, 0, self.pc, 1, 0).ljust(152, b"\0") + struct.pack("<I", first)
        yield from self.stop(0x3030, union, b"", stream=stream)

    def int3(self, at: int = PC, rax: int = 0, stream: bytes = b"\xcc\xc3", code: int = 0x80000003) -> Run:
        """Runs into the breakpoint until the program counter is past it."""
        self.pc, self.rax = at, rax
        while self.pc == at:
            yield from self.exception(code, stream=stream)

    def bugcheck(self, code: int, parameters: tuple[int, int, int, int], text: bool = True) -> Run:
        words = "(" + ",".join(f"0x{word:016X}" for word in parameters) + ")"
        if text:
            yield from self.print(f"\n*** Fatal System Error: 0x{code:08x}\n{' ' * 23}{words}\n\n".encode())
        self.memory[BUGCHECK_DATA] = struct.pack("<5Q", code, *parameters)
        yield from self.int3(BREAK_WITH_STATUS, 3)

    def debugger_data(self) -> None:
        """What a host follows from GetVersion to KiBugcheckData (kd.md 2.5)."""
        block = bytearray(0x90)
        block[0x10:0x14] = b"KDBG"
        struct.pack_into("<Q", block, 0x20, BREAK_WITH_STATUS)
        struct.pack_into("<Q", block, 0x88, BUGCHECK_DATA)
        self.memory |= {DATA_LIST: struct.pack("<Q", DATA_BLOCK), DATA_BLOCK: bytes(block)}

    def poll(self) -> Run:
        """The clock tick: eats one byte, and breaks in on 0x62 (kd.md 1.5)."""
        if self.fifo:
            self.broke_in |= self.fifo[0] == 0x62
            del self.fifo[0]
        if self.broke_in:
            self.broke_in = False
            yield from self.int3(BREAK_WITH_STATUS, 1)

    def idle(self, seconds: float) -> Run:
        yield Wait(seconds, blind=True)
        yield from self.poll()

    # --- stopped (kd.md 2.2, 2.3)

    def stop(self, state: int, union: bytes, extra: bytes, gives_up: bool = False, stream: bytes = b"\xcc\xc3") -> Run:
        self.sent += 1
        self.got_context = False
        while True:
            payload = struct.pack("<IHHI4xQQ", state, 6, 0, 1, CODE_BASE, self.pc) + union.ljust(160, b"\0")
            payload += struct.pack("<QQIHH16s", 0, self.dr7, 0x202, len(stream), 3, stream)
            payload += struct.pack("<4H", 0x10, 0x2B, 0x2B, 0x53)
            if not (yield from self.send(STATE_CHANGE, payload.ljust(240, b"\0") + extra, gives_up)):
                return
            got: Received = TIMEOUT
            while got is not AGAIN:
                got = yield from self.receive(MANIPULATE)
                if isinstance(got, bytes) and (yield from self.manipulate(got)):
                    return

    def manipulate(self, request: bytes) -> Generator[Wait, None, bool]:
        """Carry a request out. True: it was a Continue."""
        (api,) = struct.unpack_from("<I", request)
        status, union, data = 0, request[16:56], b""
        if api == 0x313C or (api == 0x3136 and not self.refuse_continue):
            self.statuses.append(struct.unpack_from("<I", request, 16)[0])
            return True
        if api == self.mute:
            return False
        if api == 0x3132:
            self.got_context = True
            data = bytearray(b"\x11" * 0x4D0)
            struct.pack_into("<I", data, 0x30, 0x10001F)
            struct.pack_into("<Q", data, 0x78, self.rax)
            struct.pack_into("<Q", data, 0xF8, self.pc)
        elif api == 0x3133 and self.got_context and len(request) == 56 + 0x4D0:
            (self.pc,) = struct.unpack_from("<Q", request, 56 + 0xF8)
        elif api == 0x3130:
            address, count = struct.unpack_from("<QI", request, 16)
            data = self.memory.get(address, b"")[:count]
            status = 0 if len(data) == count else 0xC0000001
            union = struct.pack("<QII", address, count, len(data)).ljust(40, b"\0")
        elif api == 0x3146:
            union = struct.pack("<HHBBHHBBBBHQQQ", 15, 19041, 6, 2, 7, 0x8664, 12, 3, 0, 0, 0, CODE_BASE, 0, DATA_LIST)
        else:
            status = 0xC0000001
        reply = struct.pack("<IHHI4x", api, 6, 0, status) + union.ljust(40, b"\0") + bytes(data)
        yield from self.send(MANIPULATE, reply)
        return False


def serve(target: Target, line: socket.socket, script: Iterable[Run]) -> None:
    """Run the target in real time on its end of the socket."""
    for act in script:
        for wait in act:
            if select.select([line], [], [], wait.seconds)[0]:
                data = line.recv(65536)
                if not data:
                    return
                target.fifo += data
