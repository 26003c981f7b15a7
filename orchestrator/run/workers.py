"""Labs side by side: each takes the next scenario as soon as it is free, and all add to one run's results.

The workers are threads also where there is only one, so that an interruption meets a thread that does nothing but wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from wsklab.orchestrator import unexpected
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.results.results import ScenarioResult
from wsklab.orchestrator.run.order import AGAIN, Item
from wsklab.orchestrator.run.runner import Done, Run
from wsklab.orchestrator.run.stopping import Stop
from wsklab.orchestrator.run.supply import Supply

LOOK = 1.0
"""Seconds between two looks at the run's folder."""

PATIENCE = 10.0
"""Seconds in which the workers of a stopped run, whose labs are gone, come to their end."""


class Work:
    """The scenarios still to be run; any worker may ask."""

    def __init__(self, items: Iterator[Item], stop: Stop) -> None:
        self._items = items
        self._stop = stop
        self._given_back: list[Item] = []
        self._lock = threading.Lock()
        self.closed = False

    def take(self) -> Item | None:
        """Return the next one; None when there is no more, or when nothing more is wanted."""
        with self._lock:
            if self.closed or self._stop.requested:
                return None
            return self._given_back.pop() if self._given_back else next(self._items, None)

    def give_back(self, item: Item) -> None:
        """Take back the item of a worker that has no lab."""
        with self._lock:
            self._given_back.append(item)

    def close(self) -> None:
        """Nothing more is to be begun."""
        self.closed = True


@dataclass
class Workers:
    """The workers of one run; each has its labs from a `supply` of its own, another for each variant."""

    run: Run
    supply: Callable[[str], Supply]  # of labs on a variant of the machine
    work: Work
    until_fail: bool = False
    look: float = LOOK
    owed: Iterator[str] = field(default_factory=lambda: iter(()))
    """Variants of which only the driver's unload is still to be judged: of a run that is resumed."""

    def __post_init__(self) -> None:
        self._failures: list[str] = []
        self._changed = threading.Condition()
        self._running = 0

    def play(self, count: int, room: Callable[[], str | None] = lambda: None) -> None:
        """Run all the work in `count` workers; each begins when the one before has its lab, and if `room` has no word.

        Whatever goes wrong, and an interruption too, ends up in the run's results, which are concluded afterwards.
        """
        stop, threads = self.run.stop, list[threading.Thread]()
        try:
            with self.run.hold.interruptible() if self.run.hold is not None else nullcontext():
                for number in range(1, count + 1):
                    if number > 1 and (why := room()):
                        self.run.console.line(
                            f"          labs side by side: {number - 1} and no more, as {why}", "yellow"
                        )
                        break
                    ready = threading.Event()
                    self._running += 1
                    threads.append(threading.Thread(target=self._guarded, args=(number, ready), daemon=True))
                    threads[-1].start()
                    self._wait(ready.is_set)
                self._wait(lambda: not self._running)
        except KeyboardInterrupt:
            stop.request("interrupted", "interrupted")
        except Exception as error:
            stop.request("aborted", unexpected.sentence(error, self.run.folder))
        if stop.requested:
            stop.stop_labs()
        deadline = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.run.finish(*("aborted", self._failures[0]) if self._failures and self._short() else ("complete", None))

    def _short(self) -> bool:
        """Whether rows are missing, or nobody can say whether they are as the run was to go on without end."""
        plan, rows = self.run.results.plan, self.run.results.scenarios
        return bool(plan.missing(rows)) or (plan.repeat is None and not plan.ended_by(rows))

    def _wait(self, until: Callable[[], bool]) -> None:
        """Wait, and meanwhile look after the run's folder; until nothing more is wanted at the longest."""
        with self._changed:
            while not until() and not self.run.stop.requested:
                if not self._changed.wait(self.look):
                    self.run.watch()

    def _guarded(self, number: int, ready: threading.Event) -> None:
        def begun() -> None:
            with self._changed:
                ready.set()
                self._changed.notify_all()

        try:
            self._worker(number, begun)
        except BaseException as error:
            if not self.run.stop.requested:
                self._failures.append(unexpected.sentence(error, self.run.folder))
                self.run.console.line(f"          a lab is given up: {self._failures[-1]}", "yellow")
        finally:
            with self._changed:
                ready.set()
                self._running -= 1
                self._changed.notify_all()

    def _worker(self, number: int, ready: Callable[[], None]) -> None:
        variant, lab, suspect = "", None, False
        supply = self.supply(variant)
        try:
            while (item := self.work.take()) is not None:
                try:
                    if item.variant != variant:
                        self._unload(lab, number, variant)
                        supply.retire()
                        supply, lab, suspect, variant = self.supply(item.variant), None, False, item.variant
                    lab = supply.next(suspect)
                except BaseException:
                    self.work.give_back(item)
                    raise
                ready()
                lab, result = judged(self.run, supply, lab, item, self._hold)
                suspect = result.verdict != "pass"
                if suspect and self.until_fail:
                    self.work.close()
            self._unload(lab, number, variant)
            for variant in self.owed:
                supply.retire()
                supply = self.supply(variant)
                self._unload(supply.next(), number, variant)
        finally:
            supply.retire()

    def _unload(self, lab: Lab | None, number: int, variant: str) -> None:
        if lab is not None and not self.run.stop.requested:
            trusted = lab.trusted  # else somebody has looked at it already
            unloaded = self.run.unload(lab, number, variant)
            if trusted:
                self._hold(lab, unloaded)

    def _hold(self, lab: Lab, result: ScenarioResult) -> None:
        """Leave the lab as it is for as long as somebody wants to look at it."""
        if self.run.hold is not None:
            self.run.hold.after(lab, result)


def judged(
    run: Run,
    supply: Supply,
    lab: Lab,
    item: Item,
    look: Callable[[Lab, ScenarioResult], None] = lambda lab, result: None,
) -> tuple[Lab, ScenarioResult]:
    """Play one scenario and add its row; a lab that dies under it by its own fault costs an attempt.

    The next is on a fresh lab, which is returned with the row. `look` sees a lab with its verdict.
    """
    done = run.perform(lab, item)
    if done.result.verdict == "infra" and not lab.trusted and not run.stop.requested:
        look(lab, done.result)
        supply.retire()
        try:
            lab = supply.next()
        except BaseException:
            run.add(done)  # there is no second attempt, so the first is what is known
            raise
        done = _again(done, run.perform(lab, item, AGAIN))
    result = run.add(done)
    look(lab, done.result)
    return lab, result


def _again(first: Done, second: Done) -> Done:
    """Return the second attempt, which tells of the first."""
    finding = (
        f"run again on a fresh lab, as the first attempt ended with '{'; '.join(first.result.reasons)}' "
        f"(see {first.result.evidence})"
    )
    return replace(second, result=replace(second.result, findings=(finding, *second.result.findings)))
