"""Labs side by side: each takes the next scenario as soon as it is free, and all add to one run's results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.lab import Lab
from wsklab.orchestrator.runner import Item, Run
from wsklab.qemu.errors import MachineError


class Work:
    """The scenarios still to be run; any lane may ask."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._given_back: list[Item] = []
        self._lock = threading.Lock()
        self.closed = False

    def take(self) -> Item | None:
        """The next one; None when there is no more, or when nothing more is wanted."""
        with self._lock:
            if self.closed:
                return None
            return self._given_back.pop() if self._given_back else next(self._items, None)

    def give_back(self, item: Item) -> None:
        """The lane that took it has no lab."""
        with self._lock:
            self._given_back.append(item)

    @property
    def left(self) -> bool:
        """Whether something that a lane gave back was never run."""
        return bool(self._given_back) and not self.closed

    def close(self) -> None:
        """Nothing more is to be begun."""
        self.closed = True


@dataclass
class Lanes:
    """The lanes of one run."""

    run: Run
    work: Work
    until_fail: bool = False

    def __post_init__(self) -> None:
        self._labs: dict[int, Lab] = {}
        self._failures: list[Exception] = []
        self._interrupted = False

    def play(self, count: int, room: Callable[[], str | None] = lambda: None) -> None:
        """Run all the work in `count` lanes; a lane begins when the one before has its lab, and if `room` has no word.

        Raises the first LabError or MachineError when there may be work left that no lane has a lab for.
        """
        if count == 1:
            self._lane(1, lambda: None)
            return
        threads: list[threading.Thread] = []
        try:
            for number in range(1, count + 1):
                if number > 1 and (why := room()):
                    self.run.console.line(f"          labs side by side: {number - 1} and no more, as {why}", "yellow")
                    break
                ready = threading.Event()
                threads.append(threading.Thread(target=self._guarded, args=(number, ready), daemon=True))
                threads[-1].start()
                ready.wait()
            for thread in threads:
                thread.join()
        except BaseException:
            self._interrupted = True
            self.work.close()
            for lab in list(self._labs.values()):
                lab.stop()
            raise
        if self.work.left or len(self._failures) == len(threads):  # no lane came to the end of the work
            raise self._failures[0]

    def _guarded(self, number: int, ready: threading.Event) -> None:
        try:
            self._lane(number, ready.set)
        except Exception as error:
            if not self._interrupted:
                self._failures.append(error)
                if not isinstance(error, LabError | MachineError):
                    self.work.close()
                    raise
                self.run.console.line(f"          a lab is given up: {error}", "yellow")
        finally:
            ready.set()

    def _lane(self, number: int, ready: Callable[[], None]) -> None:
        suspect = False
        try:
            while (item := self.work.take()) is not None:
                try:
                    self._next_lab(number, suspect)
                except BaseException:
                    self.work.give_back(item)
                    raise
                ready()
                suspect = self._judged(number, item) != "pass"
                if suspect and self.until_fail:
                    self.work.close()
            if number in self._labs and not self._interrupted:
                self.run.unload(self._labs[number], number)
        finally:
            if not self._interrupted:
                self._stop(number)

    def _next_lab(self, number: int, suspect: bool = False) -> None:
        """Make the lane's lab fit for its next scenario, or give it one. Raises LabError, MachineError."""
        try:
            self._labs[number] = self.run.next_lab(self._labs.get(number), suspect)
        except BaseException:
            self._labs.pop(number, None)  # it has been stopped
            raise

    def _stop(self, number: int) -> None:
        if lab := self._labs.pop(number, None):
            lab.stop()

    def _judged(self, number: int, item: Item) -> str:
        """One scenario; a lab that dies under it by its own fault costs an attempt, the next is on a fresh lab."""
        done = self.run.perform(self._labs[number], item)
        if done.result.verdict == "infra" and not self._labs[number].trusted and not self._interrupted:
            self._stop(number)
            try:
                self._next_lab(number)
            except BaseException:
                self.run.add(done, item.place)  # there is no second attempt, so the first is what is known
                raise
            first, done = done, self.run.perform(self._labs[number], item, "-again")
            done.result.findings.insert(0, f"run again on a fresh lab, as the first attempt ended with "
                                           f"'{'; '.join(first.result.reasons)}' (see {first.result.evidence})")
        if not self._interrupted:
            self.run.add(done, item.place)
        return done.result.verdict
