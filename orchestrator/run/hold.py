"""A lab that is kept running for people to look at, after a verdict or a boot that went wrong, until Ctrl-C."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Literal

from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.liveness.watchdog_link import paused
from wsklab.orchestrator.results.results import ScenarioResult
from wsklab.orchestrator.run.stopping import Stop

When = Literal["never", "not-pass", "always"]

LOOK = 0.2
"""Seconds between two looks at whether the run is stopped."""


class Hold:
    """Which labs are held, and until when. Several may be at once; one Ctrl-C lets all of them go.

    `ways` says how to get into a lab, in lines; `say` shows a line.
    """

    def __init__(
        self, when: When, stop: Stop, say: Callable[[str], None], ways: Callable[[Lab], Sequence[str]] = lambda _: ()
    ) -> None:
        self.when = when
        self._stop = stop
        self._say = say
        self.ways = ways
        self._held: list[queue.SimpleQueue[None]] = []  # which a signal handler may put into, whatever it interrupts
        self._lock = threading.Lock()

    def after(self, lab: Lab, result: ScenarioResult) -> None:
        """Hold the lab in which a scenario got its verdict, if it is one to be held for."""
        self.ended(lambda: self.ways(lab), result.verdict == "pass", f"{result.name}: {result.verdict}")

    def failed(self, lab: Lab, error: BaseException) -> None:
        """Hold a lab that did not boot, as far as it came."""
        if isinstance(error, Exception):
            why = f"the lab did not come up: {str(error) or 'not in the time allowed'}"
            self.ended(lambda: self.ways(lab), False, why)

    def ended(self, ways: Callable[[], Sequence[str]], well: bool, why: str) -> None:
        """Hold whatever runs still, into which `ways` lead, if it is to be held after an end such as this."""
        if self.when == "always" or (self.when == "not-pass" and not well):
            self._hold(ways, why)

    def release(self) -> bool:
        """Let go what is held; False when nothing is."""
        held = list(self._held)
        for one in held:
            one.put(None)
        return bool(held)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Ctrl-C lets go what is held, and only where nothing is does what it did before. For the main thread."""
        before = signal.getsignal(signal.SIGINT)
        if self.when == "never":
            yield
            return

        def act(number: int, frame: FrameType | None) -> None:
            if not self.release() and callable(before):
                before(number, frame)

        signal.signal(signal.SIGINT, act)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _hold(self, ways: Callable[[], Sequence[str]], why: str) -> None:
        if self._stop.requested:
            return
        mine = queue.SimpleQueue[None]()
        self._held.append(mine)
        try:
            with paused():
                with self._lock:  # one lab after the other is shown
                    lines = ways()
                    self._say(f"          held, until Ctrl-C: {why}")
                    for line in lines:
                        self._say(f"            {line}")
                self._wait(mine)
        finally:
            self._held.remove(mine)

    def _wait(self, released: queue.SimpleQueue[None]) -> None:
        while not self._stop.requested:
            with suppress(queue.Empty):
                released.get(timeout=LOOK)
                return
