"""The client's loop: batches out while there are slots, rows in, each once, and what to do when a worker is lost.

Long because everything that may happen to a batch is dealt with in one place.
"""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.fleet.client.ledger import Batch, Entry, Key, Ledger
from wsklab.orchestrator.fleet.client.link import Alive, Begun, Link, Lost, Message, Rows
from wsklab.orchestrator.fleet.client.log import Log
from wsklab.orchestrator.fleet.client.seen import Seen
from wsklab.orchestrator.fleet.job import Back, Job, back_of, batch_as_json, job_as_json, row_of, unload_of
from wsklab.orchestrator.fleet.needs import Needs, Offer, offer_of
from wsklab.orchestrator.fleet.transport import packing
from wsklab.orchestrator.fleet.transport.store import Store
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.observe.lab_notes import Behaviour
from wsklab.orchestrator.results.results import UNLOAD, ScenarioResult
from wsklab.orchestrator.run import resuming
from wsklab.orchestrator.run.order import AGAIN, Item, evidence_name
from wsklab.orchestrator.run.runner import Done, Run

TICK = 0.5
"""Seconds between two looks at everything that sends no message."""

SILENCE = 30.0
"""Seconds without a word of a worker after which its rows are given to others; it says every 5 s that it lives."""

WAIT = 600.0
"""Seconds for which a run waits for a worker, or for the scheduler to come back."""

CONCLUDE = 240.0
"""Seconds for the driver's unload on all labs."""

BAD = 2
"""Failures in a row after which a worker gets nothing more of this run."""

MOST_FAILURES = 100
"""Failures in a row, of whichever workers, after which a run ends: they come and go, and none can play."""


@dataclass
class Dispatch:
    """One run on a fleet. `connect` makes a link, and makes it again when the scheduler was lost."""

    run: Run
    job: Job
    needs: Needs
    connect: Callable[[], Link]
    store: Store | None = None
    until_fail: bool = False
    silence: float = SILENCE
    wait: float = WAIT
    conclude_within: float = CONCLUDE
    late: int = 0
    """Rows that came again and were not counted."""
    _bad: Counter[str] = field(default_factory=Counter)
    _unloads: dict[str, int] = field(default_factory=dict)
    _seen: Seen = field(default_factory=Seen)
    _played: set[str] = field(default_factory=set)
    _told_lost: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._job = job_as_json(self.job)
        self._size = (-1, -1)
        self._told: dict[str, Any] = {}
        self._known: dict[str, Offer] = {}
        self._in_a_row = 0
        self._why = ""
        for row in self.run.results.scenarios:
            if row.name == UNLOAD:
                self._unloads[row.variant] = max(row.repeat, self._unloads.get(row.variant, 0))

    def play(self, items: Iterator[Item], total: int | None) -> None:
        """Play all items. What goes wrong, and an interruption, end up in the run's results, which are concluded."""
        stop = self.run.stop
        self._log = Log(self.run.folder)
        self._link: Link | None = None
        try:
            self._link = self.connect()
            if link := self._link.dashboard:
                self.run.console.line(f"          dashboard of the fleet: {link}")
            self._all(Ledger(items, total))
            if not stop.requested:
                self._conclude()
        except KeyboardInterrupt:
            stop.request("interrupted", "interrupted")
        except LabError as error:
            stop.request("aborted", str(error).rstrip("."))
        try:
            if self._link is not None:
                if stop.requested:
                    self._link.abandon()
                self._link.close()
        except KeyboardInterrupt:  # the second one: it ends the waiting
            stop.request("interrupted", "interrupted")
        self._log.close()
        self.run.finish("complete", None)

    # --- the loop ---

    def _all(self, ledger: Ledger) -> None:
        """Until every row is there, or the run is stopped. Raises LabError when nobody can play them."""
        alone_since, looked = time.monotonic(), float("-inf")
        while not ledger.finished and not self.run.stop.requested:
            assert self._link is not None
            now = time.monotonic()
            if self._link.gone:
                self._reconnect(ledger)
                alone_since = time.monotonic()
                continue
            workers = self._usable()
            slots = int(sum(offer.slots[self.needs.slot] for offer in workers.values()))
            self._tell_fleet(workers, slots)
            if slots or ledger.batches:
                alone_since = now
            elif now - alone_since > self.wait:
                raise LabError(f"{self.needs.nobody(self._offers().values())}; it was waited {self.wait:.0f} s for one")
            self._fill(ledger, slots, workers)
            if now - looked >= TICK:  # it goes through all batches, and a message may come every millisecond
                looked = now
                self._watch(ledger, slots, now)
            for message in self._messages():
                self._handle(ledger, message)
            self.run.watch()

    def _messages(self) -> Iterator[Message]:
        """Yield what has come, at least one if it comes soon."""
        assert self._link is not None
        try:
            yield self._link.inbox.get(timeout=TICK)
            for _ in range(1000):
                yield self._link.inbox.get_nowait()
        except queue.Empty:
            return

    def _offers(self) -> dict[str, Offer]:
        """Return what each worker offers, by its address."""
        assert self._link is not None
        if (told := self._link.workers()) is not self._told:
            self._told = told
            self._known = {address: offer_of(about) for address, about in told.items()}
        return self._known

    def _usable(self) -> dict[str, Offer]:
        """Return the workers that fit and do not fail all the time. Raises LabError when all that fit do."""
        fit = {address: offer for address, offer in self._offers().items() if self.needs.unmet(offer) is None}
        usable = {address: offer for address, offer in fit.items() if self._bad[address] < BAD}
        if fit and not usable:
            raise LabError(f"no worker can play it: {self._why}")
        return usable

    def _fill(self, ledger: Ledger, slots: int, workers: Mapping[str, Offer]) -> None:
        """Give out a batch for each slot, and some more where batches are over in a moment."""
        assert self._link is not None
        window = slots + (slots + 1) // 2 if (ledger.seconds or 1.0) < 1.0 else slots
        slotted = [address for address, offer in self._offers().items() if self.needs.slot in offer.slots]
        allowed = list(workers) if len(slotted) > len(workers) else None
        for _ in range(window - sum(not batch.silent for batch in ledger.batches.values())):
            batch = ledger.take(slots, time.monotonic())
            if batch is None:
                return
            items = [entry.item for entry in batch.entries]
            document = batch_as_json(self._job, batch.number, items)
            self._link.submit(batch.number, document, self.needs.slot, allowed)

    def _watch(self, ledger: Ledger, slots: int, now: float) -> None:
        for batch in ledger.silent(now, self.silence):
            why = f"nothing was heard of {batch.worker} for {self.silence:.0f} s"
            self._note(batch, "silent", why)
            self._tell_lost(batch.worker, why)
        if len(ledger.batches) < slots and not ledger.waits:
            for batch in ledger.slow(now):
                self._note(batch, "slow", "it takes far longer than others; somebody else plays it, too")
        assert self._link is not None
        for number in [n for n, b in ledger.batches.items() if b.began is not None and not ledger.needed(n)]:
            batch = ledger.batches[number]
            if batch.silent or now - batch.heard > 4 * TICK:  # all of it is there, but its end has not come
                self._link.cancel(number)
                ledger.end(number)

    def _handle(self, ledger: Ledger, message: Message) -> None:
        now = time.monotonic()
        match message:
            case Begun(number, worker):
                ledger.begun(number, worker, now)
                self._played.add(worker)
                self._told_lost.discard(worker)
            case Alive(number):
                ledger.heard(number, now)
            case Rows():
                ledger.heard(message.number, now)
                self._rows(ledger, message)
            case Lost(number, why, worker, blame):
                if number in ledger.batches:
                    self._note(ledger.batches[number], "lost", why)
                    self._tell_lost(worker, why)
                self._played.discard(worker)
                self._seen.over(number)
                self._give_up(ledger.lost(number, why, blame))

    def _rows(self, ledger: Ledger, message: Rows) -> None:
        for document in message.rows:
            self._row(ledger, back_of(document), message.worker, message.number)
            if self.run.stop.requested:
                return
        if message.rows:
            self._bad.pop(message.worker, None)
            self._in_a_row = 0
            self._learn(message.target)
        if message.refused:
            self._fails(ledger, message, message.refused, BAD)
        elif message.failed:
            self._fails(ledger, message, message.failed, 1)
        elif message.ended:
            ledger.end(message.number)
        if message.ended:
            self._seen.over(message.number)

    def _fails(self, ledger: Ledger, message: Rows, why: str, how_bad: int) -> None:
        """Give a batch back that a worker could not play to its end; it is no fault of the rows."""
        if message.number not in ledger.batches:
            return
        self._why = why
        self._bad[message.worker] += how_bad
        self._in_a_row += 1
        if self._in_a_row > MOST_FAILURES:
            raise LabError(f"nothing can be played any more: {why}")
        self._note(ledger.batches[message.number], "failed", why)
        self._tell_elsewhere(why)
        ledger.lost(message.number, why, blame=False)

    # --- rows ---

    def _row(self, ledger: Ledger, back: Back, worker: str, batch: int) -> None:
        """Count a row, if it is the first of its kind."""
        row = back.row
        if row.name == UNLOAD:
            if self._seen.new(batch, back.id):
                ledger.row((UNLOAD, row.variant, 1))
                self._unload(back)
            return
        key: Key = (row.name, row.variant, row.repeat)
        if not ledger.is_open(key):
            if self._seen.new(batch, back.id):  # else it is the same one, told a second time
                self.late += 1
                self._log.note("late", row=list(key), worker=worker, verdict=row.verdict)
            return
        name = evidence_name(row.name, row.repeat, row.variant)
        try:
            packing.unpack(back.evidence, name, name, self.run.folder, self.store)
        except LabError as error:
            ledger.spoiled(key, str(error))
            self._log.note("spoiled", row=list(key), worker=worker, why=str(error))
            return
        entry = ledger.row(key, row.timing.get("total_s"))
        assert entry is not None, "it is open"
        again = AGAIN if row.evidence.endswith(AGAIN) else ""
        row = replace(row, evidence=f"evidence/{name}{again}", findings=(*row.findings, *_history(entry)))
        row = _shared(row, entry.item)
        self._seen.new(batch, back.id)
        self._add(ledger, row, cast(Behaviour | None, back.behaviour))

    def _add(self, ledger: Ledger, row: ScenarioResult, behaviour: Behaviour | None = None) -> None:
        result = self.run.add(Done(row, behaviour))
        if self.until_fail and result.verdict != "pass" and not result.excused:
            ledger.close()
            for number in list(ledger.batches):
                assert self._link is not None
                self._link.cancel(number)
                ledger.end(number)

    def _unload(self, back: Back) -> None:
        row = back.row
        number = self._unloads[row.variant] = self._unloads.get(row.variant, 0) + 1
        name = evidence_name(UNLOAD, number, row.variant)
        packed_as = evidence_name(UNLOAD, row.repeat, row.variant)
        try:
            packing.unpack(back.evidence, packed_as, name, self.run.folder, self.store)
        except LabError as error:
            row = replace(row, findings=(*row.findings, str(error)))
        self.run.add(Done(replace(row, repeat=number, evidence=f"evidence/{name}")))

    def _give_up(self, entries: list[Entry]) -> None:
        """Rows that workers are lost under, again and again: nobody knows a verdict on them."""
        for entry in entries:
            reason = f"the lab failed: it was tried {entry.losses} times, and each time the worker was lost"
            name = evidence_name(entry.item.scenario.name, entry.item.number, entry.item.variant)
            packing.unpack(None, name, name, self.run.folder, None)
            row = row_of(entry.item, "infra", (reason,))
            self.run.add(Done(replace(row, findings=tuple(entry.told))))

    # --- around the loop ---

    def _learn(self, target: Mapping[str, Any]) -> None:
        """Put what a booted target has told of itself into the results."""
        if target:
            self.run.learn(cast(Lab, _Told(dict(target))))

    def _conclude(self) -> None:
        """Have the driver's unload judged on every lab; on one of each variant at least."""
        assert self._link is not None
        there = [address for address in self._played if address in self._link.workers()]
        nothing = Ledger(iter(()), 0)
        for document in self._link.conclude(there, self.conclude_within):
            self._row(nothing, back_of(document), "", 0)
        owed = resuming.unloads_owed(self.run.results.plan, self.run.results.scenarios)
        if owed and not self.run.stop.requested:
            self._all(Ledger(iter([unload_of(variant) for variant in owed]), len(owed)))

    def _reconnect(self, ledger: Ledger) -> None:
        """Wait for a scheduler that is gone, and with it all that was given out. Raises LabError when it stays away."""
        self.run.console.line("          the scheduler is gone; waiting for it", "yellow")
        for number in list(ledger.batches):
            self._note(ledger.batches[number], "lost", "the scheduler was lost")
            self._give_up(ledger.lost(number, "the scheduler was lost", blame=False))
        assert self._link is not None
        self._link.close()
        self._played.clear()
        deadline = time.monotonic() + self.wait
        while True:
            try:
                self._link = self.connect()
                break
            except LabError:
                if time.monotonic() > deadline:
                    raise
                if self.run.stop.wait(TICK):
                    return
        self.run.console.line("          the scheduler is back")

    def _tell_fleet(self, workers: Mapping[str, Offer], slots: int) -> None:
        """Say how large the fleet is, whenever that changes."""
        count, fetch = len(workers), sum(not self.needs.held(offer) for offer in workers.values())
        if (count, slots) == self._size:
            return
        self._size = count, slots
        said = (
            f"{count} {'worker' if count == 1 else 'workers'} with {slots} "
            f"{'slot' if slots == 1 else 'slots'} ({self.needs.slot})"
            if slots
            else f"{self.needs.nobody(self._offers().values())}; waiting"
        )
        if slots and fetch:
            said += f", {fetch} of them without the images yet"
        self._log.note("fleet", workers=count, slots=slots)
        self.run.console.line(f"          fleet: {said}", "" if slots else "yellow")

    def _tell_lost(self, worker: str | None, why: str) -> None:
        """Say once of a worker that it is lost, however many batches it had."""
        if worker and worker not in self._told_lost:
            self._told_lost.add(worker)
            self._tell_elsewhere(why)

    def _tell_elsewhere(self, why: str) -> None:
        self.run.console.line(f"          {why}: what it had is played elsewhere", "yellow")

    def _note(self, batch: Batch, what: str, why: str) -> None:
        rows = [[e.item.scenario.name, e.item.variant, e.item.number] for e in batch.entries]
        self._log.note(what, batch=batch.number, worker=batch.worker, why=why, rows=rows)


@dataclass(frozen=True)
class _Told:
    """What a lab elsewhere has told of its target."""

    settings: Mapping[str, Any]


def _shared(row: ScenarioResult, item: Item) -> ScenarioResult:
    """Return a row whose words are those of its scenario, which all repetitions share: there may be a million."""
    scenario = item.scenario
    return replace(row, name=scenario.name, title=scenario.title, covers=scenario.covers, variant=item.variant)


def _history(entry: Entry) -> list[str]:
    """Return what became of a row's earlier attempts; no verdict depends on it."""
    return [f"given to another worker: {why}" for why in dict.fromkeys(entry.told)]
