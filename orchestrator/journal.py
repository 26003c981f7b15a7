"""The journal: where every source of a running lab writes its observations, and where everybody waits for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.observation import FATAL, Observation, describe_loss

Matches = Callable[[Observation], bool]


class MachineLost(LabError):
    """A machine went away while something was awaited."""


class Journal:
    """A list of observations; threads add, one waits and, between its waits, forgets what is behind it.

    No polling: every wait is woken by an addition.
    """

    def __init__(self) -> None:
        self._entries: list[Observation] = []
        self._forgotten = 0  # entries before the first that is kept; marks count them
        self._changed = threading.Condition()
        self._lost: Observation | None = None
        self._expecting_loss = False
        self._closed = False

    def add(self, observation: Observation) -> None:
        """Append and wake who waits."""
        with self._changed:
            self._entries.append(observation)
            if observation.source == "machine" and observation.kind in FATAL and not self._expecting_loss:
                self._lost = self._lost or observation
            self._changed.notify_all()

    def expect_loss(self, expected: bool) -> None:
        """While a scenario takes a machine down on purpose, its going is an observation like any other."""
        with self._changed:
            self._expecting_loss = expected

    @property
    def lost(self) -> Observation | None:
        """The first machine that went away unasked, if any."""
        return self._lost

    def forgive(self) -> None:
        """The machine that was lost is back, restored from a snapshot."""
        with self._changed:
            self._lost = None

    def close(self) -> None:
        """The lab is stopped: nothing comes any more, and whoever waits is told."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def check(self) -> None:
        """Raise MachineLost when a machine went away unasked."""
        if self._closed:
            raise MachineLost("the lab was stopped")
        if self._lost is not None:
            raise MachineLost(describe_loss(self._lost))

    @property
    def mark(self) -> int:
        """The present end of the journal, for `after=` and `since`."""
        with self._changed:
            return self._forgotten + len(self._entries)

    def forget(self) -> None:
        """Let go of everything so far: thousands of scenarios pass through one journal. Marks stay good."""
        with self._changed:
            self._forgotten += len(self._entries)
            self._entries.clear()

    def since(self, mark: int) -> list[Observation]:
        """A copy of everything from `mark` on."""
        with self._changed:
            return self._entries[max(0, mark - self._forgotten) :]

    def wait(self, matches: Matches, deadline: float, after: int = 0) -> tuple[Observation, int]:
        """The first observation from position `after` on that `matches`, and the position behind it.

        Raises TimeoutError at `deadline` (time.monotonic seconds), MachineLost as soon as a machine is gone.
        """
        with self._changed:
            position = max(0, after - self._forgotten)
            while True:
                while position < len(self._entries):
                    position += 1
                    if matches(self._entries[position - 1]):
                        return self._entries[position - 1], self._forgotten + position
                self.check()
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    if position < len(self._entries):
                        continue
                    raise TimeoutError

    def pass_time(self, seconds: float) -> None:
        """Let time pass. Raises MachineLost as soon as a machine is gone."""
        with suppress(TimeoutError):
            self.wait(lambda _: False, time.monotonic() + seconds, self.mark)
