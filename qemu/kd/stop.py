"""What is done while the target stands on an exception: the examination, as a dialogue of requests and replies.

`examine` is a generator: it yields the payload of a request, is sent the Reply, and returns what to continue with.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass

from wsklab.qemu.kd.bugcheck import Report
from wsklab.qemu.kd.events import Cause
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
    signed,
    version,
)

BREAKPOINT = 0x80000003
SINGLE_STEP = 0x80000004
ASSERTION_FAILURE = 0xC0000420
BREAK_IN_STATUS = 1  # DBG_STATUS_CONTROL_C (kd.md 2.5)
BUGCHECK_STATUSES = (3, 4)  # DBG_STATUS_BUGCHECK_FIRST and _SECOND

_DATA_SIZE = 0x90  # of KDDEBUGGER_DATA64, as far as KiBugcheckData (kd.md 2.5)
_STACK = 2048  # bytes that are looked at
_PAGE = 4096
_PROCESSORS = 64


@dataclass(frozen=True, slots=True)
class Kernel:
    """Addresses of this boot's kernel, from its debugger data block."""

    breakpoint_with_status: int
    bugcheck_data: int


@dataclass(frozen=True, slots=True)
class Frozen:
    """A processor of a stopped target: its program counter, and what lies on its stack."""

    processor: int
    pc: int
    stack: tuple[int, ...]


@dataclass(slots=True)
class Outcome:
    """How to go on. `report` is None for a bugcheck that cannot be read: only the text can tell then.

    `stand`: not at all, the target is at the end of its crash, and would come back here for ever.
    """

    status: int
    cause: Cause
    report: Report | None = None
    kernel: Kernel | None = None
    """What was learned of the kernel, for the next stop."""
    frozen: tuple[Frozen, ...] = ()
    stand: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What is known before a stop is examined. `asked`: we broke in; `survey`: and want to know where it is."""

    kernel: Kernel | None = None
    crashed: bool = False
    asked: bool = False
    survey: bool = False


Dialogue = Generator[bytes, Reply, Outcome]


def resume_status(code: int) -> int:
    """With what an exception is continued (kd.md 3.3): a fault called handled would run into itself for ever."""
    return HANDLED if code in (BREAKPOINT, SINGLE_STEP) else NOT_HANDLED


def skip(change: StateChange) -> int:
    """Return the bytes of the instruction that stopped the target: `int3`, or `int 2c` (kd.md 2.4, 1.7); else 0."""
    if change.stream[:1] == b"\xcc":
        return 1
    return 2 if change.stream[:2] == b"\xcd\x2c" else 0


def cause_of(change: StateChange, exception: ExceptionReport) -> Cause:
    """Why it stopped, as far as the stop itself tells."""
    kernel_space = 0x80000000 if change.x86 else 1 << 47
    if change.pc % (1 << (32 if change.x86 else 64)) < kernel_space:
        return "user"
    return {BREAKPOINT: "breakpoint", ASSERTION_FAILURE: "assertion"}.get(exception.code, "fault")  # type: ignore[return-value]


def examine(change: StateChange, exception: ExceptionReport, known: Known) -> Dialogue:
    """Read a bugcheck, say where a target is that was broken into, and set the program counter past a breakpoint."""
    outcome = Outcome(resume_status(exception.code), cause_of(change, exception), kernel=known.kernel)
    if exception.code not in (BREAKPOINT, ASSERTION_FAILURE) or not skip(change):
        return outcome
    cpu = Cpu(change.level, change.processor)
    context = Context.of((yield get_context(cpu)), change)
    if context is None:
        return outcome
    if exception.code == BREAKPOINT and context.argument in BUGCHECK_STATUSES:
        yield from _bugcheck(change, cpu, outcome)
        if outcome.cause == "bugcheck" and known.crashed:
            outcome.stand = True
            return outcome
    elif exception.code == BREAKPOINT and known.asked and context.argument == BREAK_IN_STATUS:
        outcome.cause = "break-in"
        if known.survey:
            outcome.frozen = yield from _survey(change)
    reply = yield set_context(cpu, context.advanced(skip(change)))
    if reply.ok:
        outcome.status = HANDLED
    return outcome


def _bugcheck(change: StateChange, cpu: Cpu, outcome: Outcome) -> Generator[bytes, Reply, None]:
    """Code and parameters from KiBugcheckData; a debugger data block without its tag is not believed (kd.md 2.5).

    Code 0 is no bugcheck: a driver has called DbgBreakPointWithStatus with such a number itself.
    """
    word = 4 if change.x86 else 8
    if outcome.kernel is None:
        outcome.kernel = yield from _find_kernel(cpu, word)
    if outcome.kernel is None:
        outcome.cause = "bugcheck"  # only the text can tell
        return
    if (outcome.kernel.breakpoint_with_status ^ change.pc) % (1 << 8 * word):
        return  # some other breakpoint, with a small number in the register by chance
    memory = yield from _read(cpu, outcome.kernel.bugcheck_data, 5 * word)
    if memory is None:
        outcome.cause = "bugcheck"
        return
    code, first, second, third, fourth = struct.unpack("<5I" if change.x86 else "<5Q", memory)
    if code & 0xFFFFFFFF:
        outcome.cause = "bugcheck"
        outcome.report = code & 0xFFFFFFFF, (first, second, third, fourth)


def _survey(change: StateChange) -> Generator[bytes, Reply, tuple[Frozen, ...]]:
    """Where every processor was when it was stopped; one that cannot be asked is left out."""
    found = []
    word = 4 if change.x86 else 8
    for processor in range(min(max(change.processors, 1), _PROCESSORS)):
        cpu = Cpu(change.level, processor)
        context = Context.of_any((yield get_context(cpu)), change.x86)
        if context is None:
            continue
        count = min(_STACK, _PAGE - context.sp % _PAGE) // word * word
        memory = yield from _read(cpu, context.sp, count) if count else _nothing()
        words = struct.unpack(f"<{len(memory) // word}{'I' if change.x86 else 'Q'}", memory) if memory else ()
        found.append(Frozen(processor, signed(context.pc, word), tuple(signed(one, word) for one in words)))
    return tuple(found)


def _nothing() -> Generator[bytes, Reply, bytes | None]:
    return None
    yield


def _find_kernel(cpu: Cpu, word: int) -> Generator[bytes, Reply, Kernel | None]:
    """GetVersion gives the list head; its first pointer leads to KDDEBUGGER_DATA64."""
    found = version((yield get_version(cpu)))
    if found is None:
        return None
    pointer = yield from _read(cpu, found.debugger_data_list, word)
    if pointer is None:
        return None
    block = yield from _read(cpu, signed(int.from_bytes(pointer, "little"), word), _DATA_SIZE)
    if block is None or block[0x10:0x14] != b"KDBG":
        return None
    (breakpoint_with_status,) = struct.unpack_from("<Q", block, 0x20)
    (bugcheck_data,) = struct.unpack_from("<Q", block, 0x88)
    return Kernel(breakpoint_with_status, bugcheck_data)


def _read(cpu: Cpu, address: int, count: int) -> Generator[bytes, Reply, bytes | None]:
    return read_data((yield read_virtual(cpu, address, count)), count)
