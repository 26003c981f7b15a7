"""Whether the peer's clock runs at its pace: every time limit of the peer program rests on it.

A kernel that boots while its host is busy may measure its processor wrongly (`tsc=reliable`, no second clock to
compare with) and then lives many times too fast: seen 28-fold, after which nobody connects "in time".
"""

from __future__ import annotations

from collections.abc import Callable

from wsklab.orchestrator.errors import LabError

TRIAL = 0.5
"""Seconds that the peer is asked to let pass."""

TOO_FAST = 2.0
"""Times faster than the host's clock that is no longer put down to reading it: both ends are read once."""


def check_pace(run: Callable[[str], str], now: Callable[[], float]) -> None:
    """Let time pass in the peer and compare it with the host's; `run` runs a command there. Raises LabError.

    Only a clock that is too fast is told: one that is too slow looks like a busy host.
    """
    began = now()
    said = run(f"cat /proc/uptime; sleep {TRIAL}; cat /proc/uptime")
    passed = now() - began
    first, last = (float(line.split()[0]) for line in said.splitlines())
    if last - first > TOO_FAST * passed:
        raise LabError(
            f"the peer's clock runs {(last - first) / passed:.0f} times too fast: its kernel has measured its "
            "processor while the host was busy"
        )
