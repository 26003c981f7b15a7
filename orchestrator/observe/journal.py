"""The journal: where every source of a running lab writes its observations, and where everybody waits for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from wsklab.orchestrator.errors import LabError, TimedOut
from wsklab.orchestrator.observe.base import OneKind, text_in
from wsklab.orchestrator.observe.lab_notes import Overflow, Trouble
from wsklab.orchestrator.observe.machine_events import MachineGone
from wsklab.orchestrator.observe.observation import Loss, Observation, describe_loss

Matches = Callable[[Observation], bool]


MOST_ENTRIES = 200_000
"""Observations kept of one scenario; one with 2,000 connections has 30,000."""

MOST_TEXT = 32 << 20
"""Characters of text in them."""


class MachineLost(LabError):
    """A machine went away while something was awaited."""


class NotYet(TimedOut):
    """What was awaited has not come in time; the search can go on at `position`."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(f"{what} did not come within the time allowed")
        self.position = position


class Journal:
    """A list of observations; threads add, one waits and, between its waits, forgets what is behind it.

    No polling: every wait is woken by an addition. A driver that prints without end must not fill the memory: beyond
    the bounds only what machines and the lab itself have to say is kept, and the judge is told.
    """

    def __init__(self) -> None:
        self._entries: list[Observation] = []
        self._forgotten = 0  # entries before the first that is kept; marks count them
        self._text = 0  # characters in the entries
        self._left_out = 0
        self._changed = self.changed = threading.Condition()  # for those who wait for something else, too
        self._lost: Loss | None = None
        self._expecting_loss = False
        self._wakers: list[Callable[[Loss], object]] = []
        self._closed = False

    def add(self, observation: Observation) -> None:
        """Append and wake who waits."""
        loss = observation if isinstance(observation, MachineGone) else None
        with self._changed:
            if not self._has_room(observation):
                return
            self._entries.append(observation)
            if self._expecting_loss or self._lost is not None:
                loss = None
            elif loss is not None:
                self._lost = loss
            self._changed.notify_all()
        if loss is not None:
            self._wake(loss)

    def give_up(self, observation: Trouble) -> None:
        """Append what makes all further waiting useless, though no machine has said that it goes; nothing if one has.

        `observation` is the lab's own, and says in `machine` who it is about.
        """
        with self._changed:
            if self._lost is not None or self._expecting_loss:
                return
            self._lost = observation
            self._entries.append(observation)
            self._changed.notify_all()
        self._wake(observation)

    def on_loss(self, waker: Callable[[Loss], object]) -> None:
        """Call `waker` at once when waiting becomes useless: who waits for something else than the journal wakes up.

        It runs in the thread that noticed, and must be quick.
        """
        self._wakers.append(waker)

    def _wake(self, loss: Loss) -> None:
        for waker in self._wakers:
            waker(loss)

    def _has_room(self, observation: Observation) -> bool:
        self._text += text_in(observation)
        if len(self._entries) < MOST_ENTRIES and self._text < MOST_TEXT:
            return True
        if observation.source in ("machine", "lab"):
            return True
        if not self._left_out:
            self._entries.append(
                Overflow(
                    t=observation.t,
                    detail=(
                        f"more than {MOST_ENTRIES} observations or {MOST_TEXT >> 20} MiB of text came in one "
                        f"scenario; "
                        f"from a line of the {observation.source} on they were not kept"
                    ),
                )
            )
        self._left_out += 1
        return False

    def expect_loss(self, expected: bool) -> None:
        """While a scenario takes a machine down on purpose, its going is an observation like any other."""
        with self._changed:
            self._expecting_loss = expected

    @property
    def lost(self) -> Loss | None:
        """The first machine that went away unasked, if any."""
        return self._lost

    def forgive(self) -> None:
        """Note that the machine that was lost is back, restored from a snapshot."""
        with self._changed:
            self._lost = None

    def close(self) -> None:
        """Note that the lab is stopped: nothing comes any more, and whoever waits is told."""
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
            self._text = self._left_out = 0

    def since(self, mark: int) -> list[Observation]:
        """Return a copy of everything from `mark` on."""
        with self._changed:
            return self._entries[max(0, mark - self._forgotten) :]

    def wait(
        self, matches: Matches, deadline: float, after: int = 0, what: str = "an observation"
    ) -> tuple[Observation, int]:
        """Return the first observation from position `after` on that `matches`, and the position behind it.

        Raises NotYet, which says `what`, at `deadline` (time.monotonic seconds), MachineLost as soon as a
        machine is gone.
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
                    raise NotYet(what, self._forgotten + position)

    def wait_for(
        self,
        kind: type[OneKind],
        deadline: float,
        after: int = 0,
        matches: Callable[[OneKind], bool] = lambda _: True,
        what: str = "",
    ) -> tuple[OneKind, int]:
        """Return the same for the first observation of one kind."""
        what = what or f"the observation {kind.__name__}"
        found, position = self.wait(lambda o: isinstance(o, kind) and matches(o), deadline, after, what)
        assert isinstance(found, kind)
        return found, position

    def pass_time(self, seconds: float) -> None:
        """Let time pass. Raises MachineLost as soon as a machine is gone."""
        with suppress(TimeoutError):
            self.wait(lambda _: False, time.monotonic() + seconds, self.mark)
