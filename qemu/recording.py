"""QEMU's record and replay: every input of a machine goes into a file, from which it runs again bit for bit.

The machine executes under `-icount`, so that each input has its place in the count of instructions (QEMU,
docs/system/replay.rst). Clock reads, frames, serial input, random numbers and disk completions are in the file; disks,
kernel and command line are not, and must be the same again. Tried with QEMU 7.2:

* the shift is fixed: with `shift=auto` the guest's clock follows the host's, and on a busy host a guest's own time-outs
  pass before it has done anything;
* virtio-net transmits by a timer (`tx=timer`): its bottom half is not recorded, and a replay stalls at the first frame;
* serial ports are those of `-serial`: input of a `-device isa-serial` with a chardev is not recorded;
* serial input is queued, and the queue does not ask whether the UART's 16 bytes have room: who writes has to be slow;
* a recording begins with the machine: with `rrsnapshot`, replay stalls at the first disk read (QEMU issue 2634, too).
"""

from __future__ import annotations

import functools
import os
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wsklab.qemu.errors import MachineError

if TYPE_CHECKING:
    from wsklab.qemu.machine import Machine
    from wsklab.qemu.profile import Accelerator, Profile
    from wsklab.qemu.serial import SerialLine

Mode = Literal["record", "replay"]

FILE = "rr.bin"
"""The recording, in the folder of its machine."""

SHIFT = 4
"""An instruction is 2**SHIFT ns of the guest's time: about as many as TCG executes on a host that is half busy."""

PACE = 0.006
"""Seconds from one byte of serial input to the next: a guest that is late by fifteen of them still loses none."""

SLOWER = 4.0
"""How many times the time of TCG everything may take under record."""

LAST_WORDS = 30.0
"""Seconds for QEMU to write the end of its recording."""

HEADER = 12
"""Bytes before the first event; QEMU writes them last, so they are zero in the file of one that was killed."""

EVERY = 0.25
"""Seconds between two looks at the count of instructions."""

_OBJECTS = ("filter-replay",)


def icount(mode: Mode | None) -> list[str]:
    """Return the words of the command line that record or replay."""
    return [] if mode is None else ["-icount", f"shift={SHIFT},rr={mode},rrfile={FILE}"]


def refusal(profile: Profile, accelerator: Accelerator) -> str | None:
    """Return why a machine cannot be recorded, as a sentence; None if it can."""
    if accelerator == "kvm":
        return "a guest under KVM cannot be recorded, as its instructions are not counted: leave out WSKLAB_ACCEL=kvm."
    if profile.cpus != 1:
        return f"a machine with {profile.cpus} processors cannot be recorded, as QEMU records one alone."
    if profile.tpm:
        return "a machine with a TPM cannot be recorded, as what its TPM answers is not in the recording."
    if profile.debug == "kd":
        return "a Windows target is not recorded: its kernel debugger's line talks both ways, which was never tried."
    return None


UNAVAILABLE = "this QEMU can neither record nor replay; `apt-get install qemu-system-x86` brings one that can."


@functools.cache
def available() -> bool:
    """Whether this QEMU can record and replay. Raises MachineError where there is none."""
    try:
        said = subprocess.run(["qemu-system-x86_64", "-object", "help"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MachineError(f"qemu-system-x86_64 does not run ({error}); `apt-get install qemu-system-x86`") from None
    return all(name in said.stdout.split() for name in _OBJECTS)


def whole(path: Path) -> bool:
    """Whether QEMU has finished a recording. Raises OSError."""
    with path.open("rb") as file:
        return any(file.read(HEADER)[:4])


@dataclass(frozen=True)
class Difference:
    """The first place where two texts of a serial line part."""

    offset: int
    line: int
    """Counted from 1."""
    recorded: bytes
    """The line there, as far as it goes; empty behind the end."""
    replayed: bytes


def first_difference(recorded: bytes, replayed: bytes, ended: bool = True) -> Difference | None:
    """Return where they part; before the replay has `ended`, what is still missing is no difference."""
    common = min(len(recorded), len(replayed))
    if recorded[:common] == replayed[:common]:
        if len(replayed) == len(recorded) or (len(replayed) < len(recorded) and not ended):
            return None
        offset = common
    else:
        low, high = 0, common  # equal up to low, not up to high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if recorded[:middle] == replayed[:middle] else (low, middle)
        offset = low
    begin = recorded.rfind(b"\n", 0, offset) + 1
    return Difference(offset, recorded.count(b"\n", 0, offset) + 1, _line(recorded, begin), _line(replayed, begin))


def _line(text: bytes, begin: int) -> bytes:
    return text[begin:].partition(b"\n")[0]


@dataclass
class Counter:
    """Looks at the count of instructions while a machine is recorded, so that a replay can stop where a line begins.

    `stops` holds pairs: when the count was `icount`, the debug line had said at most `at` bytes. Call `finish` before
    the machine is stopped.
    """

    machine: Machine
    stops: list[tuple[int, int]] = field(default_factory=list)
    """(at, icount); both grow."""
    cpu_s: float = 0.0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="icount", daemon=True)
        self._thread.start()

    def finish(self) -> dict[str, Any]:
        """Look for the last time; returns what was seen, as a document."""
        self._over.set()
        self._thread.join()
        with suppress(MachineError):
            self._look()
        return {"stops": self.stops, "cpu_s": round(self.cpu_s, 2)}

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            try:
                self._look()
            except MachineError:
                return

    def _look(self) -> None:
        count = int(self.machine.qmp.look("query-replay")["icount"])
        deal_with_all(self.machine.debug)  # what was said before the count was taken
        self.stops = later(self.stops, self.machine.log("debug.log").position, count)
        with suppress(OSError):
            self.cpu_s = cpu_seconds(self.machine.pid)


def deal_with_all(line: SerialLine) -> None:
    """Wait until nothing is left of what a machine has said on a line: a moment, as the line's reader is at it."""
    while not line.all_dealt_with():
        time.sleep(0.001)


def later(stops: list[tuple[int, int]], at: int, count: int) -> list[tuple[int, int]]:
    """Add what was seen; of looks between which nothing was said only the last one is of use."""
    return [*(stops[:-1] if stops and stops[-1][0] == at else stops), (at, count)]


def before(stops: list[tuple[int, int]], offset: int) -> tuple[int, int | None] | None:
    """Return the last count known to be before a byte of the debug line, and the next that was looked at.

    None where it was said before the first look.
    """
    known = [count for at, count in stops if at <= offset]
    following = [count for at, count in stops if at > offset]
    return (known[-1], following[0] if following else None) if known else None


def cpu_seconds(pid: int) -> float:
    """User and system time of a process. Raises OSError."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
