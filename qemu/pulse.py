"""What the host knows of a process from outside: whether it is stopped, and how long it had to wait for a processor.

A guest that gives no answer on a loaded host may only not have had its turn. Time in which the host kept it waiting
does not count: `FairClock` leaves it out.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STOPPED = frozenset("Tt")
"""States of a process that a signal, or a tracer, has stopped (proc(5))."""

_NS = 1_000_000_000


@dataclass(frozen=True)
class Pulse:
    """`state` is proc(5)'s letter; `waited` says of each thread for how many ns it was ready and had no processor."""

    state: str
    waited: Mapping[int, int]

    @property
    def stopped(self) -> bool:
        return self.state in STOPPED


def feel(pid: int, proc: Path = Path("/proc")) -> Pulse | None:
    """Return the pulse of a process; None when there is none any more."""
    folder = proc / str(pid)
    try:
        state = _state((folder / "stat").read_text())
    except (OSError, ValueError):
        return None
    waited = {}
    with suppress(OSError):
        for task in (folder / "task").iterdir():
            with suppress(OSError, ValueError, IndexError):  # a thread that has just ended
                waited[int(task.name)] = int((task / "schedstat").read_text().split()[1])
    return Pulse(state, waited)


def _state(stat: str) -> str:
    """Return the third field of /proc/PID/stat; the second, the program's name, may hold anything.

    Raises ValueError.
    """
    _, bracket, rest = stat.rpartition(") ")
    if not bracket or not rest[:1].isalpha():
        raise ValueError("not as proc(5) says")
    return rest[0]


def stolen(proc: Path = Path("/proc")) -> float:
    """Return the seconds for which the host, itself a guest, had no processor, on average over its processors."""
    try:
        fields = (proc / "stat").read_text().split("\n", 1)[0].split()
        return int(fields[8]) / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)
    except (OSError, ValueError, IndexError):
        return 0.0


class FairClock:
    """Seconds that a process could have used. Pure: the caller brings time, pulse and stolen time."""

    def __init__(self, longest: float) -> None:
        """`longest`: more than that between two readings is time in which we ourselves did not run."""
        self.seconds = 0.0
        self._longest = longest
        self._now: float | None = None
        self._stolen = 0.0
        self._waited: Mapping[int, int] = {}

    def advance(self, now: float, pulse: Pulse | None, stolen: float = 0.0) -> float:
        """Return the fair time now."""
        waited = pulse.waited if pulse else {}
        if self._now is not None:
            kept = max((ns - self._waited.get(thread, ns) for thread, ns in waited.items()), default=0)
            passed = min(now - self._now, self._longest) - max(0, kept) / _NS - max(0.0, stolen - self._stolen)
            self.seconds += max(0.0, passed)
        self._now, self._stolen, self._waited = now, stolen, waited
        return self.seconds
