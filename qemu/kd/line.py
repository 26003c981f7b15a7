"""A debug line that speaks KD: bytes to the session, text to the hearers of the line, the rest to the machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from wsklab.qemu.kd import bugcheck
from wsklab.qemu.kd.events import Bugcheck, Event, ExceptionSeen, Looping, Shutdown, TextLine
from wsklab.qemu.kd.pump import Pump
from wsklab.qemu.logfile import LogFile
from wsklab.qemu.serial import SerialLine, clean

Told = tuple[Literal["bugcheck", "shutdown", "exception", "stops"], str]
"""What an event means for the machine as a whole: its kind, and one line of detail."""


class KdLine:
    """Joins a line that has not been started to a KD session of its own; it ends when the line does.

    `transcript` gets every event as a line of JSON. `tell(t_ns, kind, detail)` is called in the pump's thread.
    """

    def __init__(self, line: SerialLine, transcript: LogFile, tell: Callable[[int, Told], None]) -> None:
        self._line = line
        self._tell = tell
        self._transcript = transcript
        self._pump = Pump(line.offer)
        self._pump.subscribe(self._hear)
        self._pump.resync()
        line.on_bytes(self._received)

    def resync(self) -> None:
        """After `loadvm` or a reset, before the target runs on, and after the line was cut."""
        self._pump.resync()

    def _received(self, data: bytes) -> None:
        if data:
            self._pump.received(data)
            return
        self._pump.ended()
        self._pump.close()
        self._transcript.close()

    def _hear(self, t_ns: int, event: Event) -> None:
        entry = {"t": t_ns, "event": type(event).__name__, **asdict(event)}
        self._transcript.write(json.dumps(entry).encode() + b"\n")
        if isinstance(event, TextLine):
            self._line.say([clean(event.text.encode())], t_ns)
        elif told := describe(event):
            self._tell(t_ns, told)


def describe(event: Event) -> Told | None:
    """What happens to the machine as a whole; None for what is only of interest in the transcript."""
    match event:
        case Bugcheck(code, parameters, _, source):
            where = "kernel's memory" if source == "memory" else "text it printed"
            found = bugcheck.violation(code, parameters[0])
            verifier = f"; Driver Verifier stopped Windows: {found}" if found else ""
            return "bugcheck", f"{bugcheck.describe(code, parameters)}, from the {where}{verifier}"
        case Shutdown():
            return "shutdown", "the system goes down or reboots, it told its debugger"
        case ExceptionSeen(code, first_chance, pc, address, information):
            words = ", ".join(f"{word:#x}" for word in information)
            chance = "first" if first_chance else "second"
            return "exception", f"{code:#010x} at {address:#018x} ({words}), {chance} chance, pc {pc:#018x}"
        case Looping(pc, count):
            return "stops", f"it stops at {pc:#018x} over and over, {count} times within a second"
    return None


def read_transcript(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a transcript, if there is one; whole lines only, as the link may still be writing."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event
