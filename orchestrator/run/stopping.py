"""Whether a run is to go on: a state that everything asks before it starts anything."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Literal, Protocol
from weakref import WeakSet

from wsklab.orchestrator.errors import LabError


class Stopped(LabError):
    """Something was to be started in a run that is being stopped."""


class Stoppable(Protocol):
    """What is stopped with the run: a lab."""

    def stop(self) -> None:
        """Stop it, in whatever state it is."""


def ending(error: BaseException) -> Literal["interrupted", "aborted"]:
    """Return the state of what an exception has ended."""
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "aborted"


class Stop:
    """The request to stop a run. The first one counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: WeakSet[Stoppable] = WeakSet()
        self._requested = threading.Event()
        self.state: Literal["interrupted", "aborted"] | None = None
        self.why = ""

    @property
    def requested(self) -> bool:
        """Whether nothing more is to be started."""
        return self.state is not None

    def request(self, state: Literal["interrupted", "aborted"], why: str) -> None:
        """Have nothing more started."""
        with self._lock:
            if self.state is None:
                self.state, self.why = state, why
        self._requested.set()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it is requested; returns whether it is."""
        return self._requested.wait(seconds)

    def watch(self, lab: Stoppable) -> None:
        """Have `lab`, which is about to start, stopped with the run. Raises Stopped when that has begun already."""
        with self._lock:
            if self.state is not None:
                raise Stopped(f"no lab is started any more: {self.why}")
            self._running.add(lab)

    def end(self, error: BaseException) -> None:
        """Have nothing more started because of `error`, and stop every lab there is."""
        state = ending(error)
        self.request(state, str(error) if state == "aborted" else state)
        self.stop_labs()

    def stop_labs(self) -> None:
        """Stop every lab there is, after a `request`: no other can come. One that resists keeps none of the others."""
        if labs := list(self._running):
            with ThreadPoolExecutor(len(labs)) as pool:
                wait([pool.submit(lab.stop) for lab in labs])
