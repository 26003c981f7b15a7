"""The target: the guest that runs the driver under test, spoken to by its agent and heard on its debug line."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wsklab.drivers import protocol
from wsklab.drivers.build import BuiltDriver
from wsklab.drivers.errors import DriverError
from wsklab.drivers.protocol import Command, DriverRecord, Event, Op
from wsklab.drivers.scarcity import parse_scarce_line
from wsklab.drivers.symbols import Symbols
from wsklab.drivers.witness import parse_seen_line
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest import deploy
from wsklab.orchestrator.guest.agent import Agent, AgentError, AgentSilent
from wsklab.orchestrator.observe.driver_lines import (
    OF_THE_DRIVER,
    AllocationFailed,
    BrokenRule,
    Call,
    CanaryLine,
    DriverLine,
    Load,
    Unload,
    Unsupported,
    own_line,
)
from wsklab.orchestrator.observe.journal import Journal, NotYet
from wsklab.orchestrator.observe.lab_notes import Answer, Answered, RingRecord
from wsklab.orchestrator.observe.machine_events import Crash, StrictStop
from wsklab.orchestrator.observe.wsk_lines import seen_line
from wsklab.qemu.kd import bugcheck
from wsklab.qemu.machine import Machine

if TYPE_CHECKING:  # of drivers that are not ours
    from wsklab.drivers.pdb import Pdb

Unpacked = TypeVar("Unpacked")

SERVICE = "wsklab"
BATCH = 64
"""Commands in one call: what they print must be through the debug line before the agent's patience ends."""

_WINE_CRASH = re.compile(r"wine: (Unhandled .*|Call from \S+ to unimplemented function .*)")
_AT = re.compile(r"at address ([0-9A-Fa-f]{8,16})\b")
_WORDS = {"st": "status", "len": "length", "ab": "abortive"}
RING_BYTES, RING_LINES = 48 * 1024, 128
"""Room for one answer of the driver's ring, and the lines that it may have: twenty connections have more."""

ARRIVAL = 6
"""What a service's time is divided by for the line that it has printed, which only has to arrive."""


class Misanswer(LabError):
    """The driver answered a request of the lab's with what cannot be: its answer is cut off, or contradicts itself."""


class Target:
    """One booted target. Connection and operation numbers are never used twice, so a late line finds its owner."""

    def __init__(self, machine: Machine, journal: Journal) -> None:
        self.machine = machine
        self.journal = journal
        self.agent = Agent(machine.agent, journal.check)
        self._connections: dict[int, int] = {}
        self._ids = itertools.count(1)
        self._raw = itertools.count(1)
        self._symbols: Symbols | Pdb = Symbols(0, (), ())
        self._functions: dict[str, Symbols | Pdb] = {}
        self._image = ""
        self._build = ""  # what the loaded driver's first line has called itself, if that was heard
        self._base = 0
        machine.debug.on_line(self._on_line, reads=lambda text: protocol.parse_line(text) is not None)

    # --- the debug line -------------------------------------------------------------------------------------------

    def _on_line(self, t: int, text: str) -> None:
        record = protocol.parse_line(text)
        if record is not None:
            conn = self._connections.get(record.conn)
            if record.ev == "canary":
                self._base = record.number("base") or self._base
            self.journal.add(driver_line(t, conn, record, text))
            return
        if stopped := protocol.parse_stop_line(text):
            self.journal.add(StrictStop(t=t, machine="target", detail=self.named(stop_text(stopped))))
            self.agent.wake()
            return
        if crashed := crash_text(text):
            detail = name_address(crashed, self._image, self._base, self._symbols)
            self.journal.add(Crash(t=t, machine="target", detail=detail))
            self.agent.wake()
            return
        if seen := parse_seen_line(text):
            self.journal.add(seen_line(t, seen))
            return
        if failed := parse_scarce_line(text):
            at = self.named(failed.at)
            self.journal.add(AllocationFailed(t=t, number=failed.number, routine=failed.routine, at=at, text=text))
            return
        broken = protocol.parse_provider_line(text)
        if broken is not None:
            kind = Unsupported if broken.rule == protocol.UNSUPPORTED else BrokenRule
            self.journal.add(kind(t=t, rule=broken.rule, text=broken.text))

    def named(self, text: str) -> str:
        """Return a text of the debugger's line with the functions of the drivers under test beside their offsets."""
        for image, functions in self._functions.items():
            text = name_places(text, image, functions)
        return text

    # --- the driver under test ------------------------------------------------------------------------------------

    def load(self, driver: BuiltDriver, folder: str, timeout: float) -> None:
        """Create and start the driver's service; its first line must be seen on the debug line. Raises LabError.

        `timeout`, in seconds, is for the service; the line was printed before that has started, and only has to arrive.
        """
        mark = self.journal.mark
        self.know(driver)
        try:
            deploy.load(self.agent, SERVICE, rf"{folder}\{driver.path.name}", timeout)
        except AgentError as error:
            told = deploy.why_blocked(self.agent, error.code)
            raise LabError(f"the driver could not be loaded: {error}{told}") from None
        try:
            loaded, _ = self.journal.wait_for(Load, time.monotonic() + timeout / ARRIVAL, mark)
            self._build = loaded.build
        except NotYet:
            raise LabError("the driver was started, but its first line never came on the debug line.") from None

    def know(self, driver: BuiltDriver) -> None:
        """Note the driver that is loaded, whose functions can be named then in a crash."""
        from wsklab.drivers import pdb

        self._image, self._base, self._build = driver.path.name, 0, ""
        self._symbols = pdb.functions_of(driver.symbols)
        self._functions[self._image] = self._symbols

    def know_pdb(self, image: str, file: Path) -> None:
        """Another driver, whose functions are named by the PDB beside its file, if there is one."""
        from wsklab.drivers import pdb

        if found := pdb.beside(file):
            self._functions[image] = found

    def unload(self, timeout: float) -> Unload:
        """Stop and delete the service; returns the driver's last line. Raises LabError, AgentSilent, TimeoutError."""
        mark = self.journal.mark
        self.agent.service("stop", SERVICE, timeout=timeout)
        last, _ = self.journal.wait_for(
            Unload, time.monotonic() + timeout / ARRIVAL, mark, what="the driver's last line at its unload"
        )
        self.agent.service("delete", SERVICE, timeout=timeout)
        return last

    def set_static_events(self) -> None:
        """WSK_SET_STATIC_EVENT_CALLBACKS, before the first socket (R36, R37). Raises LabError."""
        (number,) = self.operations()
        mark = self.journal.mark
        self.command(Command(Op.STATIC_EVENTS, id=number, mask=Event.DISCONNECT | Event.ACCEPT))
        line, _ = self.journal.wait_for(
            Call,
            time.monotonic() + 10,
            mark,
            lambda call: call.id == number,
            "the return of WskControlClient(WSK_SET_STATIC_EVENT_CALLBACKS)",
        )
        if line.ret != 0:
            raise LabError(f"static event callbacks were refused with {line.ret:08x}.")

    def connection(self, conn: int) -> int:
        """Return a fresh number of the driver for connection `conn` of the scenario."""
        raw = next(self._raw)
        self._connections[raw] = conn
        return raw

    def forget_connections(self) -> None:
        """Forget all connections as the scenario is over; lines that still come belong to nobody."""
        self._connections.clear()

    def operations(self, count: int = 1) -> range:
        """`count` operation numbers in a row."""
        first = next(self._ids)
        for _ in range(count - 1):
            next(self._ids)
        return range(first, first + count)

    def command(self, *commands: Command) -> list[int]:
        """Hand commands to the driver; they are started when this returns, and what happens is printed.

        Returns the status of each: an error says that it was refused, or that its function returned it. Raises
        LabError when the driver does not understand them, and Misanswer when it answers fewer or more than these.
        """
        statuses: list[int] = []
        for start in range(0, len(commands), BATCH):
            batch = commands[start : start + BATCH]
            statuses += protocol.unpack_statuses(
                self.agent.ioctl(protocol.DEVICE, protocol.IOCTL_COMMAND, protocol.pack_commands(batch), 4 * len(batch))
            )
        if len(statuses) != len(commands):
            raise Misanswer(f"the driver gives {len(statuses)} statuses for {len(commands)} commands")
        if protocol.REVISION_MISMATCH in statuses:
            raise LabError("the driver was built for another version of the protocol: build it again.")
        answers = tuple(map(_answer, commands, statuses))
        self.journal.add(Answered(t=time.time_ns(), answers=answers))
        return statuses

    def state(self) -> protocol.State:
        """Return the driver's counters. Raises Misanswer."""
        data = self.agent.ioctl(protocol.DEVICE, protocol.IOCTL_STATE, b"", protocol.STATE_BYTES)
        state = _understood(protocol.unpack_state, data)
        if self._build and not (state.build and self._build.startswith(state.build)):  # there is room for 31 characters
            raise Misanswer(f"the driver says that it is build '{state.build}', and was '{self._build}' when loaded")
        return state

    def ring(self, first: int) -> tuple[list[RingRecord], int]:
        """Return the driver's own record of the lines from `first` on, and the number of the last of them.

        It is the second witness of the debug line.
        """
        records: list[RingRecord] = []
        while True:
            request = protocol.pack_ring_request(first, RING_LINES)
            data = self.agent.ioctl(protocol.DEVICE, protocol.IOCTL_RING, request, RING_BYTES)
            ring = _understood(protocol.unpack_ring, data)
            if len(ring.lines) > RING_LINES:
                raise Misanswer(f"the driver gives {len(ring.lines)} lines of its ring, and was asked for {RING_LINES}")
            for line in ring.lines:
                record = protocol.parse_line(line)
                if record is not None:
                    records.append(RingRecord(record.seq, line.strip()))
            if ring.next_seq <= first or len(ring.lines) < RING_LINES:  # it has no more
                return records, ring.next_seq - 1
            first = ring.next_seq

    def canary(self, deadline: float) -> int | None:
        """Have the driver print a token of ours; the number of its line if that came through in time."""
        token, mark = secrets.randbits(32), self.journal.mark
        try:
            self.command(Command(Op.CANARY, token=token))
            seen, _ = self.journal.wait_for(CanaryLine, deadline, mark, lambda line: line.token == token)
        except (NotYet, AgentSilent, AgentError):
            return None
        return seen.seq


def _answer(command: Command, status: int) -> Answer:
    """Return what the judge compares with the lines of the command's operations."""
    count = command.count if command.op in (Op.RECEIVE, Op.SEND) else 1
    asked = (command.flags, command.length, command.seed, command.target, command.mask)
    if command.op in (Op.OPEN, Op.CONNECT, Op.SOCKET_CONNECT, Op.ACCEPT):  # receives follow, numbered behind it
        last = command.id + command.count
    else:
        last = command.id + max(1, command.count if command.op == Op.CALLBACK else count) - 1
    return Answer(command.op.name.lower(), command.id, count, status, *asked, last)


def _understood(unpack: Callable[[bytes], Unpacked], data: bytes) -> Unpacked:
    """Return the driver's answer. Raises Misanswer."""
    try:
        return unpack(data)
    except DriverError as error:
        raise Misanswer(str(error)) from None


def driver_line(t: int, conn: int | None, record: DriverRecord, text: str) -> DriverLine:
    """Return a debug line as the judge reads it: numbers as numbers, the short words of the line written out."""
    data: dict[str, object] = {}
    for key, value in record.fields.items():
        number = record.number(key)
        data[_WORDS.get(key, key)] = value if number is None else number
    if "abortive" in data:
        data["abortive"] = bool(data["abortive"])
    word = "" if record.conn and record.ev in OF_THE_DRIVER else record.ev
    return own_line(word, t, conn, record.seq, text[text.rindex(protocol.MARK) :].strip(), data)


def crash_text(text: str) -> str | None:
    """Return what a line of the debug text, printed by Wine itself, tells of a program that has just crashed."""
    match = _WINE_CRASH.match(text)
    return match[1].removesuffix(", starting debugger...") if match else None


def stop_text(stop: protocol.Stop) -> str:
    """Return a stop of the strict mode in one line: bugcheck, routine, who called it, why, and the backtrace."""
    called = "" if " " in stop.routine else "called "  # an instruction ("a write") is where it is
    at = f", {called}at {stop.at}" if stop.at else ""
    stack = f"; backtrace {', '.join(stop.stack)}" if stop.stack else ""
    return f"{bugcheck.describe(stop.code, stop.parameters)}: {stop.routine}{at}, {stop.why}{stack}"


_IN_MODULE = re.compile(r"\b([\w.-]+)\+0x([0-9a-f]{1,8})\b")


def name_places(text: str, image: str, symbols: Symbols | Pdb) -> str:
    """Return the same with the function beside each `image+0x1234` in it, where there is one."""

    def named(at: re.Match[str]) -> str:
        name = symbols.name(int(at[2], 16)) if at[1].lower() == image.lower() else None
        return at[0] if name is None else f"{at[0]} ({name})"

    return _IN_MODULE.sub(named, text)


def name_address(text: str, image: str, base: int, symbols: Symbols | Pdb) -> str:
    """Return a crash with the function of `image`, loaded at `base`, in which it happened, where that is known."""
    at = _AT.search(text)
    name = symbols.name(int(at[1], 16) - base) if at and base else None
    return text if name is None else f"{text}, in {name} of {image}"
