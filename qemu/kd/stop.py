"""What is done while the target stands on an exception: the examination, as a dialogue of requests and replies.

`examine` is a generator: it yields the payload of a request, is sent the Reply, and returns what to continue with.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass

from wsklab.qemu.kd.bugcheck import Report
from wsklab.qemu.kd.messages import ExceptionReport, Reply, StateChange
from wsklab.qemu.kd.requests import (
    HANDLED,
    NOT_HANDLED,
    Context,
    Cpu,
    get_context,
    get_version,
    read_data,
    read_virtual,
    set_context,
    version,
)

BREAKPOINT = 0x80000003
SINGLE_STEP = 0x80000004
ASSERTION_FAILURE = 0xC0000420
BUGCHECK_STATUSES = (3, 4)  # DBG_STATUS_BUGCHECK_FIRST and _SECOND (kd.md 2.5)

_DATA_SIZE = 0x90  # of KDDEBUGGER_DATA64, as far as KiBugcheckData (kd.md 2.5)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Addresses of this boot's kernel, from its debugger data block."""

    breakpoint_with_status: int
    bugcheck_data: int


@dataclass(slots=True)
class Outcome:
    """How to go on. `stopped_for_bugcheck`: the registers say so; `report` is None when it cannot be read."""

    status: int
    stopped_for_bugcheck: bool = False
    report: Report | None = None
    kernel: Kernel | None = None
    """What was learned of the kernel, for the next stop."""


Dialogue = Generator[bytes, Reply, Outcome]


def resume_status(code: int) -> int:
    """With what an exception is continued (kd.md 3.3): a fault called handled would run into itself for ever."""
    return HANDLED if code in (BREAKPOINT, SINGLE_STEP) else NOT_HANDLED


def skip(change: StateChange) -> int:
    """Bytes to go past the instruction that stopped the target: `int3`, or `int 2c` (kd.md 2.4, 1.7). 0 for others."""
    if change.stream[:1] == b"\xcc":
        return 1
    return 2 if change.stream[:2] == b"\xcd\x2c" else 0


def examine(change: StateChange, exception: ExceptionReport, kernel: Kernel | None) -> Dialogue:
    """Read a bugcheck, and set the program counter past a breakpoint."""
    outcome = Outcome(resume_status(exception.code), kernel=kernel)
    if exception.code not in (BREAKPOINT, ASSERTION_FAILURE) or not skip(change):
        return outcome
    cpu = Cpu(change.level, change.processor)
    context = Context.of((yield get_context(cpu)), change)
    if context is None:
        return outcome
    if exception.code == BREAKPOINT and context.result in BUGCHECK_STATUSES:
        yield from _bugcheck(change, cpu, outcome)
    reply = yield set_context(cpu, context.advanced(skip(change)))
    if reply.ok:
        outcome.status = HANDLED
    return outcome


def _bugcheck(change: StateChange, cpu: Cpu, outcome: Outcome) -> Generator[bytes, Reply, None]:
    """Code and parameters from KiBugcheckData; a debugger data block without its tag is not believed (kd.md 2.5)."""
    word = 4 if change.x86 else 8
    if outcome.kernel is None:
        outcome.kernel = yield from _find_kernel(cpu, word)
    if outcome.kernel is None:
        outcome.stopped_for_bugcheck = True  # only the text can tell
        return
    if (outcome.kernel.breakpoint_with_status ^ change.pc) % (1 << 8 * word):
        return  # some other breakpoint, with a small number in the register by chance
    outcome.stopped_for_bugcheck = True
    memory = yield from _read(cpu, outcome.kernel.bugcheck_data, 5 * word)
    if memory is not None:
        code, first, second, third, fourth = struct.unpack("<5I" if change.x86 else "<5Q", memory)
        outcome.report = code & 0xFFFFFFFF, (first, second, third, fourth)


def _find_kernel(cpu: Cpu, word: int) -> Generator[bytes, Reply, Kernel | None]:
    """GetVersion gives the list head; its first pointer leads to KDDEBUGGER_DATA64."""
    found = version((yield get_version(cpu)))
    if found is None:
        return None
    pointer = yield from _read(cpu, found.debugger_data_list, word)
    if pointer is None:
        return None
    address = int.from_bytes(pointer, "little")
    if word == 4:
        address |= 0xFFFFFFFF << 32 if address & 0x80000000 else 0
    block = yield from _read(cpu, address, _DATA_SIZE)
    if block is None or block[0x10:0x14] != b"KDBG":
        return None
    (breakpoint_with_status,) = struct.unpack_from("<Q", block, 0x20)
    (bugcheck_data,) = struct.unpack_from("<Q", block, 0x88)
    return Kernel(breakpoint_with_status, bugcheck_data)


def _read(cpu: Cpu, address: int, count: int) -> Generator[bytes, Reply, bytes | None]:
    return read_data((yield read_virtual(cpu, address, count)), count)
