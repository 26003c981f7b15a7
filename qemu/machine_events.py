"""What happens to a machine as a whole, from four sources: QMP, the console, the debugger's line, the process's end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from wsklab.qemu.monitor import Event

EventKind = Literal[
    "panic", "shutdown", "reset", "died", "last-words", "bugcheck", "exception", "prompt", "stops", "lost-text"
]

# On the console: what the kernel says last, and what the init of a guest of ours does when it cannot go on.
_LAST_WORDS: tuple[tuple[re.Pattern[str], EventKind], ...] = (
    (re.compile(r"(Kernel panic - not syncing.*)"), "panic"),
    (re.compile(r"WSKLAB-(?:PANIC|GONE) (.*)"), "last-words"),
)
_QMP_KINDS: dict[str, EventKind] = {"GUEST_PANICKED": "panic", "SHUTDOWN": "shutdown", "RESET": "reset"}


@dataclass(frozen=True)
class MachineEvent:
    """Something that happened to a machine as a whole. `t_ns` is `time.time_ns`."""

    t_ns: int
    kind: EventKind
    detail: str


class Events:
    """The sources of one machine, each a method that is called in its own thread, and those who are told."""

    def __init__(self) -> None:
        self.muted = False  # while the machine is stopped on purpose, nothing that comes of it is told
        self._subscribers: list[Callable[[MachineEvent], None]] = []

    def subscribe(self, subscriber: Callable[[MachineEvent], None]) -> None:
        """Call `subscriber` for every event from now on."""
        self._subscribers.append(subscriber)

    def tell(self, kind: EventKind, detail: str, t_ns: int) -> None:
        """Hand an event to all subscribers."""
        if not self.muted:
            for subscriber in list(self._subscribers):
                subscriber(MachineEvent(t_ns, kind, detail))

    def hear_qmp(self, event: Event) -> None:
        """Take an event of QEMU's."""
        if kind := _QMP_KINDS.get(event["event"]):
            stamp = event["timestamp"]
            kind, detail = crash_registers(event) or (kind, str(event.get("data", "")))
            self.tell(kind, detail, stamp["seconds"] * 10**9 + stamp["microseconds"] * 1000)

    def hear_console(self, t_ns: int, text: str) -> None:
        """Take a line of the console."""
        for words, kind in _LAST_WORDS:
            if said := words.search(text):
                self.tell(kind, said[1], t_ns)

    def hear_kd(self, t_ns: int, told: tuple[EventKind, str]) -> None:
        """Take what the kernel has told its debugger."""
        self.tell(*told, t_ns)

    def hear_exit(self, code: int, last_words: str) -> None:
        """Take the end of the process."""
        self.tell("died", f"QEMU ended with code {code}: {last_words.strip() or 'it said nothing'}", time.time_ns())


def is_reset(event: Event) -> bool:
    """Whether an event of QEMU's says that the machine starts anew."""
    return _QMP_KINDS.get(event["event"]) == "reset"


def crash_registers(event: Event) -> tuple[EventKind, str] | None:
    """Return what a Windows that crashes writes for its hypervisor (hv-crash); None for a panic of another kind."""
    info = event.get("data", {}).get("info") or {}
    if info.get("type") != "hyper-v":
        return None
    code, first, second, third, fourth = (int(info.get(f"arg{number}", 0)) for number in range(1, 6))
    from wsklab.qemu.kd import bugcheck

    told = bugcheck.describe(code & 0xFFFFFFFF, (first, second, third, fourth))
    return "bugcheck", f"{told}, from what it wrote for its hypervisor"
