"""A debug line that speaks KD: bytes to the session, text to the hearers of the line, the rest to the machine."""

from __future__ import annotations

import json
import queue
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from wsklab.qemu.errors import MachineError
from wsklab.qemu.kd import bugcheck
from wsklab.qemu.kd.events import (
    Bugcheck,
    Event,
    ExceptionSeen,
    GivenUp,
    Located,
    Looping,
    Place,
    Prompted,
    Shutdown,
    Standing,
    TextLine,
)
from wsklab.qemu.kd.pump import Pump
from wsklab.qemu.kd.relay import Relay
from wsklab.qemu.logfile import LogFile
from wsklab.qemu.serial import SerialLine, clean, unread

SWITCH = 0.001
"""Seconds after which a thread of Python that computes lets the next one run, the one that answers the target."""

Told = tuple[Literal["bugcheck", "shutdown", "exception", "prompt", "stops", "lost-text"], str]
"""What an event means for the machine as a whole: its kind, and one line of detail."""


class KdLine:
    """Joins a line that has not been started to a KD session of its own; it ends when the line does.

    `transcript` gets every event as a line of JSON. `tell(t_ns, kind, detail)` is called in the pump's thread. `far` is
    the target's end of the line, to throw away what it has not read yet; whoever gives it away calls `let_go`, too, as
    the line does not end before.
    """

    def __init__(
        self, line: SerialLine, transcript: LogFile, tell: Callable[[int, Told], None], far: socket.socket | None = None
    ) -> None:
        self._line = line
        self._far = far
        self._tell = tell
        self._transcript = transcript
        self._relay: Relay | None = None
        self._located: queue.SimpleQueue[Located | None] = queue.SimpleQueue()
        sys.setswitchinterval(min(SWITCH, sys.getswitchinterval()))
        self._pump = Pump(line.offer, line.holds_more, line.known)
        self._pump.subscribe(self._hear)
        self._pump.resync()
        line.on_bytes(self._received)

    def resync(self, restored: bool = False) -> None:
        """After `loadvm` (`restored`) or a reset, before the target runs on, and after the line was cut."""
        self._pump.resync(restored)

    def stand_still(self) -> None:
        """Note that the machine does not run from now on."""
        self._pump.stand_still()

    def resumed(self) -> None:
        """Note that the machine runs (again)."""
        self._pump.resumed()

    def rebooted(self) -> None:
        """Note that the machine was reset."""
        self._pump.rebooted()

    @property
    def between(self) -> bool:
        """No packet is under way in either direction; for a machine that stands still."""
        return self._line.all_dealt_with() and self._pump.between and not (self._far and unread(self._far))

    def empty(self) -> None:
        """Throw away what both ends have not read: a machine that stands still is about to jump back in time."""
        self._pump.stand_still()
        self._line.cut()
        with suppress(OSError):
            while self._far and self._far.recv(65536, socket.MSG_DONTWAIT):
                pass

    def lend(self, port: int) -> int:
        """Let another debugger have the line whenever it connects to a TCP port of 127.0.0.1, whose number comes back.

        Raises MachineError.
        """
        self._relay = self._relay or Relay(self._pump, port)
        return self._relay.port

    @property
    def latencies(self) -> list[float]:
        """Seconds from a packet of ours to the target's ACK of it, of the last ones."""
        return self._pump.latencies

    def let_go(self) -> None:
        """Note that the target's end is gone."""
        if self._relay:
            self._relay.close()
            self._relay = None
        if self._far:
            self._far.close()

    def locate(self, deadline: float) -> tuple[Place, ...] | None:
        """Break in, and let the target go on: where each of its processors was; None when it does not stop in time.

        Raises MachineError while another debugger has the line.
        """
        if self._pump.lent:
            raise MachineError("another debugger has the line")
        with suppress(queue.Empty):
            while True:
                self._located.get_nowait()  # of an earlier question
        self._pump.break_in(survey=True)
        with suppress(queue.Empty):
            found = self._located.get(timeout=max(0.0, deadline - time.monotonic()))
            return found.places if found else None
        return None

    def _received(self, data: bytes) -> None:
        if data:
            self._pump.received(data)
            return
        self._pump.ended()
        self._located.put(None)
        self._pump.close()
        self._transcript.close()

    def _hear(self, t_ns: int, event: Event) -> None:
        entry = {"t": t_ns, "event": type(event).__name__, **asdict(event)}
        self._transcript.write(json.dumps(entry).encode() + b"\n")
        if isinstance(event, TextLine):
            self._line.say([clean(event.text.encode())], t_ns)
        elif isinstance(event, Located):
            self._located.put(event)
        elif told := describe(event):
            self._tell(t_ns, told)


def describe(event: Event) -> Told | None:
    """Return what happens to the machine as a whole; None for what is only of interest in the transcript."""
    match event:
        case Bugcheck(code, parameters, _, source, places):
            at = f" at {', '.join(places)}" if places else ""
            where = "kernel's memory" if source == "memory" else "text it printed"
            found = bugcheck.violation(code, parameters[0])
            verifier = f"; Driver Verifier stopped Windows: {found}" if found else ""
            return "bugcheck", f"{bugcheck.describe(code, parameters)}{at}, from the {where}{verifier}"
        case Shutdown():
            return "shutdown", "the system goes down or reboots, it told its debugger"
        case ExceptionSeen(cause="bugcheck" | "break-in" | "user"):
            return None
        case ExceptionSeen(code, first_chance, pc, address, information, processor, _, cause, place):
            words = ", ".join(f"{word:#x}" for word in information)
            chance = "first" if first_chance else "second"
            what = {"assertion": "an assert failed (int 2c): ", "breakpoint": "a breakpoint was hit: "}.get(cause, "")
            at = f", in {place}" if "+" in place else ""
            return "exception", (
                f"{what}{code:#010x} at {address:#018x} ({words}), {chance} chance, "
                f"pc {pc:#018x}{at}, processor {processor}"
            )
        case Prompted(text, before):
            said = f"; before that: {' / '.join(before)}" if before else ""
            return "prompt", f"{' '.join(text.split())!r}{said}"
        case GivenUp(silent):
            return "lost-text", (
                "the kernel had given its debugger up, and dropped the debug text that it had since: "
                f"nothing had come for {silent:.1f} s"
            )
        case Standing(pc):
            return "stops", f"it stands at {pc:#018x}, at the end of its crash, and did not restart itself"
        case Looping(pc, count):
            return "stops", f"it stops at {pc:#018x} over and over, {count} times within a second"
    return None


def tell_places(places: tuple[Place, ...]) -> str:
    """Where the processors are, in a phrase."""
    return "; ".join(
        f"processor {one.processor} at {one.where}" + (f" (on its stack: {', '.join(one.stack)})" if one.stack else "")
        for one in places
    )


def read_transcript(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a transcript, if there is one; whole lines only, as the link may still be writing."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event
