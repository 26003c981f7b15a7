"""A KD target: the kernel's side of the serial protocol, and a line that damages what it carries.

Written from docs/reference/kd.md (1.3 to 1.7, 2) and from nothing of the host's code. It is a generator that yields a
Wait when it wants a byte or lets time pass, so that a test runs it in virtual time (kd_rig.py) and a thread in real
time (`serve`), both over a real socket. Two flavours, where kd.md 1.4 tells them apart: "windows" and "reactos". What
a real kernel did beyond that (kd.md, "Seen since") it does as well: it breaks in for ever after a bugcheck, goes on
from a snapshot in the middle of a stop or a packet, stalls, hangs, and is of 32 bits if asked.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

ACK, RESEND, RESET = 4, 5, 6
MANIPULATE, DEBUG_IO, STATE_CHANGE, FILE_IO = 2, 3, 7, 11
FIRST, SYNC = 0x80800000, 0x800
TRIES = 20
TRY = 0.0143  # s until a silent host is tried again, as measured under TCG (kd.md 1.5)
PC, CODE_BASE = 0xFFFFF80000005000, 0xFFFFF80000001000
BREAK_WITH_STATUS, DATA_LIST, DATA_BLOCK, BUGCHECK_DATA = PC + 0x1000, PC + 0x2000, PC + 0x3000, PC + 0x4000
MODULES = PC + 0x6000
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
    argument: int = 0  # of the routine that stopped: Rcx, or Eax
    x86: bool = False
    others: list[tuple[int, int]] = field(default_factory=list)  # pc and sp of the further processors
    sp: int = PC + 0x10000
    stalls: dict[int, float] = field(default_factory=dict)  # s before the request of that number is dealt with
    requests: int = 0
    stops: int = 0
    dr7: int = 0x400
    got_context: bool = False
    memory: dict[int, bytes] = field(default_factory=dict)
    answers: list[bytes] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # what stops were continued with
    file_statuses: list[int] = field(default_factory=list)
    refuse_continue: bool = False
    mute: int = 0  # a request that gets no reply
    asked: set[int] = field(default_factory=set)  # which requests came
    read: set[int] = field(default_factory=set)  # where memory was read

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
        """Wait for a payload of the wanted kind; b"" for the ACK; TIMEOUT; AGAIN: the caller must send again."""
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
        """Read the rest of a data packet; None: it was not the right one."""
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

    def address(self, address: int) -> int:
        """As this target writes it: one of 32 bits has it in its lower half, sign-extended."""
        return 0xFFFFFFFF80000000 | address & 0x0FFFFFFF if self.x86 else address

    def words(self, *words: int) -> bytes:
        return struct.pack(f"<{len(words)}{'I' if self.x86 else 'Q'}", *(word & self.mask for word in words))

    @property
    def mask(self) -> int:
        return (1 << 32 if self.x86 else 1 << 64) - 1

    def load(self, path: str, unload: bool = False, base: int = 0xFFFFF80002400000) -> Run:
        if self.not_present:
            return
        name = path.encode() + b"\0" if path else b""
        union = struct.pack("<I4xQQIIB", len(name), base, 2**64 - 1, 0xA1B2C3, 0x1046000, unload)
        yield from self.stop(0x3031, union, name, gives_up=True)

    def exception(self, code: int, first: bool = True, stream: bytes = b"\x90") -> Run:
        self.stops += 1
        union = struct.pack("<IIQQI4xQ", code, 0, 0, self.pc, 1, 0).ljust(152, b"\0") + struct.pack("<I", first)
        yield from self.stop(0x3030, union, b"", stream=stream)

    def int3(self, at: int = PC, argument: int = 0, stream: bytes = b"\xcc\xc3", code: int = 0x80000003) -> Run:
        """Run into the breakpoint until the program counter is past it; `at` below the kernel's half as it is."""
        self.pc = at = self.address(at) if at >> 47 else at
        self.argument = argument
        while self.pc == at:
            yield from self.exception(code, stream=stream)

    def bugcheck(self, code: int, parameters: tuple[int, int, int, int], text: bool = True) -> Run:
        """With what comes first: the text, and the stop before the dump is written."""
        words = "(" + ",".join(f"0x{word:016X}" for word in parameters) + ")"
        if text:
            yield from self.print(f"\n*** Fatal System Error: 0x{code:08x}\n{' ' * 23}{words}\n\n".encode())
        self.memory[self.address(BUGCHECK_DATA)] = self.words(code, *parameters)
        yield from self.int3(BREAK_WITH_STATUS, 3)

    def bugcheck_end(self) -> Run:
        """After the dump, where Windows does not restart itself: it breaks in again and again."""
        while True:
            yield from self.int3(BREAK_WITH_STATUS, 4)

    def debugger_data(self) -> None:
        """Add what a host follows from GetVersion to KiBugcheckData (kd.md 2.5)."""
        block = bytearray(0x90)
        block[0x10:0x14] = b"KDBG"
        struct.pack_into("<Q", block, 0x20, self.address(BREAK_WITH_STATUS))
        struct.pack_into("<Q", block, 0x88, self.address(BUGCHECK_DATA))
        self.memory |= {
            self.address(DATA_LIST): self.words(self.address(DATA_BLOCK)),
            self.address(DATA_BLOCK): bytes(block),
            self.address(BUGCHECK_DATA): self.words(0, 0, 0, 0, 0),
        }

    def poll(self) -> Run:
        """Tick as the clock: eat one byte, and break in on 0x62 (kd.md 1.5)."""
        if self.fifo:
            self.broke_in |= self.fifo[0] == 0x62
            del self.fifo[0]
        if self.broke_in:
            self.broke_in = False
            yield from self.int3(BREAK_WITH_STATUS, 1)

    def idle(self, seconds: float) -> Run:
        yield Wait(seconds, blind=True)
        yield from self.poll()

    def busy(self, seconds: float) -> Run:
        """Do something that is not heard of, with the clock ticking, 64 times a second."""
        for _ in range(int(seconds * 64)):
            yield from self.idle(1 / 64)

    # --- snapshots (kd.md, "Seen since")

    def from_the_middle_of_a_packet(self, text: bytes, cut: int) -> Run:
        """Say the rest of a print, from `cut` on; what was said before is of another time.

        Then it waits for the ACK.
        """
        payload = struct.pack("<IHHII", 0x3230, 6, 0, len(text), 0) + text
        header = struct.pack("<4sHHII", b"0000", DEBUG_IO, len(payload), self.own, sum(payload))
        self.say((header + payload + b"\xaa")[cut:])
        got = yield from self.receive(ACK)
        if got is TIMEOUT or got is AGAIN:
            yield from self.send(DEBUG_IO, payload, gives_up=True)

    def from_a_reply(self) -> Run:
        """Go on in a breakpoint in which a request was made before the snapshot: the reply is due."""
        yield from self.send(MANIPULATE, struct.pack("<IHHI4x", 0x3132, 6, 0, 0).ljust(56, b"\0") + bytes(0x4D0))
        yield from self.from_a_stop()

    def from_a_stop(self) -> Run:
        """Go on in a breakpoint whose state change was ACKed before the snapshot: a request is due."""
        self.pc = at = self.address(PC)
        union = struct.pack("<IIQQI4xQ", 0x80000003, 0, 0, self.pc, 1, 0).ljust(152, b"\0") + struct.pack("<I", 1)
        yield from self.stop(0x3030, union, b"", acked=True)
        while self.pc == at:
            yield from self.exception(0x80000003, stream=b"\xcc\xc3")

    # --- stopped (kd.md 2.2, 2.3)

    def state(self, state: int, union: bytes, stream: bytes) -> bytes:
        """Return a state change of 240 bytes; its control report differs between the two architectures."""
        thread = self.address(CODE_BASE)
        payload = struct.pack("<IHHI4xQQ", state, 6, 0, 1 + len(self.others), thread, self.pc) + union.ljust(160, b"\0")
        if self.x86:
            payload += struct.pack("<IIHH16s4HI", 0, self.dr7, len(stream), 3, stream, 8, 0x23, 0x23, 0x30, 0x202)
        else:
            payload += struct.pack("<QQIHH16s4H", 0, self.dr7, 0x202, len(stream), 3, stream, 0x10, 0x2B, 0x2B, 0x53)
        return payload.ljust(240, b"\0")

    def stop(
        self,
        state: int,
        union: bytes,
        extra: bytes,
        gives_up: bool = False,
        stream: bytes = b"\xcc\xc3",
        acked: bool = False,
    ) -> Run:
        self.sent += 1
        self.got_context = False
        while True:
            payload = self.state(state, union, stream) + extra
            if not acked and not (yield from self.send(STATE_CHANGE, payload, gives_up)):
                return
            got: Received = TIMEOUT
            acked = False
            while got is not AGAIN:
                got = yield from self.receive(MANIPULATE)
                if isinstance(got, bytes) and (yield from self.manipulate(got)):
                    return

    def manipulate(self, request: bytes) -> Generator[Wait, None, bool]:
        """Carry a request out. True: it was a Continue."""
        (api,) = struct.unpack_from("<I", request)
        status, union, data = 0, request[16:56], b""
        self.requests += 1
        self.asked.add(api)
        if stall := self.stalls.pop(self.requests, 0.0):
            yield Wait(stall, blind=True)
        if api == 0x313C or (api == 0x3136 and not self.refuse_continue):
            self.statuses.append(struct.unpack_from("<I", request, 16)[0])
            return True
        if api == self.mute:
            return False
        if api == 0x3132:
            self.got_context = True
            (processor,) = struct.unpack_from("<H", request, 6)
            data = bytes(self.context(*[(self.pc, self.sp), *self.others][processor]))
        elif api == 0x3133 and self.got_context and len(request) == 56 + (0x2CC if self.x86 else 0x4D0):
            (pc,) = struct.unpack_from("<I" if self.x86 else "<Q", request, 56 + (0xB8 if self.x86 else 0xF8))
            self.pc = pc | 0xFFFFFFFF << 32 if self.x86 and pc & 0x80000000 else pc
        elif api == 0x3130:
            address, count = struct.unpack_from("<QI", request, 16)
            self.read.add(address)
            data = self.memory.get(address, b"")[:count]
            status = 0 if len(data) == count else 0xC0000001
            union = struct.pack("<QII", address, count, len(data)).ljust(40, b"\0")
        elif api == 0x3137:  # the special registers: Cr0, Cr2, Cr3, and no others
            address, count = struct.unpack_from("<QI", request, 16)
            data = struct.pack("<QQQ", 0x80050033, 0, 0x1AA000).ljust(count, b"\0")[:count]
            union = struct.pack("<QII", address, count, count).ljust(40, b"\0")
        elif api == 0x3146:
            union = struct.pack(
                "<HHBBHHBBBBHQQQ",
                15,
                19041,
                6,
                2,
                7,
                0x8664,
                12,
                3,
                0,
                0,
                0,
                CODE_BASE,
                self.address(MODULES),
                self.address(DATA_LIST),
            )
        else:
            status = 0xC0000001
        reply = struct.pack("<IHHI4x", api, 6, 0, status) + union.ljust(40, b"\0") + bytes(data)
        yield from self.send(MANIPULATE, reply)
        return False

    def context(self, pc: int, sp: int) -> bytearray:
        """CONTEXT (kd.md 2.4). Only a kernel that copies its argument to Rax, as ReactOS does, has it there, too."""
        if self.x86:
            data = bytearray(b"\x11" * 0x2CC)
            struct.pack_into("<I", data, 0, 0x1001F)
            struct.pack_into("<IxxxxIxxxxxxxxI", data, 0xB0, self.argument, pc & self.mask, sp & self.mask)
            return data
        data = bytearray(b"\x11" * 0x4D0)
        struct.pack_into("<I", data, 0x30, 0x10001F)
        struct.pack_into("<QQ", data, 0x78, self.argument if self.flavour == "reactos" else 0x5A5A, self.argument)
        struct.pack_into("<Q", data, 0x98, sp)
        struct.pack_into("<Q", data, 0xF8, pc)
        return data


def serve(
    target: Target, line: socket.socket, script: Iterable[Run], runs: Callable[[], object] = lambda: None
) -> None:
    """Run the target in real time on its end of the socket, until the other end is closed.

    `runs` returns when the machine does not stand still.
    """
    with suppress(BrokenPipeError, ConnectionResetError):
        for act in script:
            for wait in act:
                runs()
                if select.select([line], [], [], wait.seconds)[0]:
                    try:
                        data = line.recv(65536, socket.MSG_DONTWAIT)
                    except BlockingIOError:  # a restore has thrown it away
                        continue
                    if not data:
                        return
                    target.fifo += data
