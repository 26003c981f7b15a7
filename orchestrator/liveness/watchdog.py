"""The watchdog: a process of its own that ends a command which hangs, and says so.

`python -m wsklab.orchestrator.liveness.watchdog PID STACKS_FD STDERR_FD` reads one JSON object per line on its standard
input: `{"beat": true}` every second, `{"begin": n, "what": ..., "limit": seconds, "folder": ...}` and `{"end": n}`;
between `{"pause": n}` and `{"resume": n}` no limit counts, as somebody looks at a lab.
At the end of input it exits. When the beats stay away, or something lasts longer than its limit, PID is asked for the
stacks of its threads, the evidence is written, and PID is killed: by the kernel, so that nothing in it can prevent
that. What it has started ends with it. Time in which PID was stopped (Ctrl-Z) or had no processor does not count.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsklab.qemu.pulse import FairClock, feel, stolen

PATIENCE = 12.0
"""Seconds without a beat: no Python runs any more, as C code holds the interpreter."""

TICK = 0.5

STACKS = 1.0
"""Seconds for the stacks of the threads to be written; a signal handler in C does that."""


@dataclass(frozen=True)
class Phase:
    """Something under way that has a limit, on the fair clock."""

    what: str
    folder: str
    limit: float
    began: float


@dataclass(frozen=True)
class Verdict:
    """Why the command is ended, in a sentence, and where the evidence goes."""

    why: str
    folder: str


class Watch:
    """What the watchdog knows of the command; pure."""

    def __init__(self) -> None:
        self._phases: dict[int, Phase] = {}
        self._heard = 0.0
        self._pauses: set[int] = set()
        self._paused_at = 0.0

    def hear(self, message: Mapping[str, Any], now: float) -> None:
        """Take in a line from the command."""
        self._heard = now
        if "begin" in message:
            self._phases[message["begin"]] = Phase(message["what"], message["folder"], message["limit"], now)
        self._phases.pop(message.get("end", -1), None)
        if "pause" in message:
            self._paused_at = self._paused_at if self._pauses else now
            self._pauses.add(message["pause"])
        elif message.get("resume") in self._pauses:
            self._pauses.discard(message["resume"])
            if not self._pauses:
                self._phases = {
                    number: replace(phase, began=phase.began + now - max(self._paused_at, phase.began))
                    for number, phase in self._phases.items()
                }

    def overdue(self, now: float) -> Verdict | None:
        """Return what has lasted too long, if anything; the phase begun last has the folder for evidence."""
        if not self._phases:
            return None
        newest = list(self._phases.values())[-1]
        if now - self._heard > PATIENCE:
            return Verdict(
                f"wsklab itself hangs in '{newest.what}': no Python code of it has run for {now - self._heard:.0f} s",
                newest.folder,
            )
        for phase in reversed(self._phases.values()) if not self._pauses else ():
            if now - phase.began > phase.limit:
                return Verdict(
                    f"'{phase.what}' has taken longer than the {phase.limit:.0f} s allowed for all of it, "
                    "and wsklab did not end it by itself",
                    newest.folder,
                )
        return None


def main(pid: int, stacks: int, stderr: int) -> None:
    """Until the end of input, or of the command."""
    watch, clock, pending = Watch(), FairClock(2 * TICK), b""
    while (pulse := feel(pid)) is not None:
        ready, _, _ = select.select([0], [], [], TICK)
        now = clock.advance(time.monotonic(), pulse, stolen())
        if ready:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                watch.hear(json.loads(line), now)
        if pulse.stopped:
            clock = _later(clock)
        elif verdict := watch.overdue(now):
            _end(verdict, pid, stacks, stderr)
            return


def _later(clock: FairClock) -> FairClock:
    """Return the same clock, for which the time until its next reading does not count."""
    fresh = FairClock(2 * TICK)
    fresh.seconds = clock.seconds
    return fresh


def _end(verdict: Verdict, pid: int, stacks: int, stderr: int) -> None:
    """End it, the stacks last: the signal may end by itself what hung, and with PID this process ends, too."""
    kept = Path(verdict.folder) / "crash"
    where = f"see {kept}"
    try:
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "watchdog.json").write_text(
            json.dumps({"why": verdict.why, "t": time.time_ns(), "processes": _family(pid)}, indent=1) + "\n",
            encoding="utf-8",
        )
    except OSError as error:
        where = f"the evidence could not be written: {error.strerror}"
    with suppress(OSError):
        os.write(stderr, f"\nwsklab: ended by its watchdog: {verdict.why}; {where}\n".encode())
    with suppress(OSError):
        os.kill(pid, signal.SIGUSR1)
        time.sleep(STACKS)
        (kept / "watchdog-stacks.txt").write_bytes(os.pread(stacks, 1 << 20, 0))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _family(pid: int) -> list[dict[str, object]]:
    """Return the command's process and its children, as the kernel sees them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
            if pid in (int(folder.name), int(fields[1])):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(
                    {
                        "pid": int(folder.name),
                        "state": fields[0],
                        "waits_in": (folder / "wchan").read_text(),
                        "ticks": int(fields[11]) + int(fields[12]),
                        "command": command[:300].strip(),
                    }
                )
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
