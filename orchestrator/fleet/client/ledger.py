"""Who has which rows to play: the client's own book, in which a row is open until it is there, and then no more. Pure.

A row is (scenario, variant, repetition). It may be given out again and again; the first that comes back counts, and
all others are dropped. So neither a worker's death nor its return from the dead can lose a row or count one twice.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from wsklab.orchestrator.run.order import Item

Key = tuple[str, str, int]
"""Scenario, variant of the machine, repetition."""

MOST_LOSSES = 3
"""Workers that may be lost under a row before it is given up."""

BATCH_SECONDS = 60.0
"""What a batch takes at most, by the rows until now: a lost worker costs no more."""

FIRST = 4
"""Rows of a batch before anybody knows how long they take."""

SLOW = 4.0
"""How many times longer than others a batch may take before an idle slot tries the same."""

PATIENCE = 10.0
"""Seconds that are always allowed."""


def key_of(item: Item) -> Key:
    """Return what tells a row from all others."""
    return item.scenario.name, item.variant, item.number


@dataclass
class Entry:
    """A row that is not there yet."""

    item: Item
    losses: int = 0
    told: list[str] = field(default_factory=list)
    """What became of its earlier attempts, in sentences."""
    batches: set[int] = field(default_factory=set)
    """Those that may still bring it."""


@dataclass
class Batch:
    """Rows of one variant that are given out together, to be played one after another on one lab."""

    number: int
    entries: list[Entry]
    given: float
    began: float | None = None
    heard: float = 0.0
    worker: str = ""
    silent: bool = False
    """It was taken for lost; what it still brings is welcome."""

    @property
    def variant(self) -> str:
        """Of the machine."""
        return self.entries[0].item.variant


@dataclass
class Ledger:
    """All open rows. `total` is None for a run without end; times are seconds of one clock."""

    items: Iterator[Item]
    total: int | None
    batches: dict[int, Batch] = field(default_factory=dict)
    seconds: float | None = None
    """What a row takes, of the recent ones."""

    def __post_init__(self) -> None:
        self._open: dict[Key, Entry] = {}
        self._again: deque[Entry] = deque()
        self._next: Item | None = None
        self._number = 0
        self._ended = False
        self.come = 0

    # --- giving out ---

    def take(self, slots: int, now: float) -> Batch | None:
        """Return the next batch for a fleet of so many slots; None when nothing waits to be given out."""
        entries: list[Entry] = []
        size = self._size(slots)
        while len(entries) < size:
            entry = self._wait(entries[0].item.variant if entries else None)
            if entry is None:
                break
            entries.append(entry)
            if entry.losses:  # alone, so that nothing else is lost with it
                break
        if not entries:
            return None
        self._number += 1
        batch = Batch(self._number, entries, now, heard=now)
        self.batches[batch.number] = batch
        for entry in entries:
            entry.batches.add(batch.number)
        return batch

    def _wait(self, variant: str | None) -> Entry | None:
        """Return the next row that nobody has, of this variant where one is named."""
        if self._ended:
            return None
        while self._again:
            entry = self._again[0]
            if key_of(entry.item) not in self._open or entry.batches:  # it has come, or is given out already
                self._again.popleft()
                continue
            if variant is not None and (entry.item.variant != variant or entry.losses):
                return None
            return self._again.popleft()
        item = self._next or next(self.items, None)
        self._next = None
        if item is None:
            return None
        if variant is not None and item.variant != variant:
            self._next = item
            return None
        entry = self._open[key_of(item)] = Entry(item)
        return entry

    def _size(self, slots: int) -> int:
        """Rows of the next batch: they shrink towards the end, so that all slots end together."""
        left = math.inf if self.total is None else self.total - self.come - self._given
        share = left / max(1, slots * 3)
        most = FIRST if self.seconds is None else BATCH_SECONDS / max(self.seconds, 1e-6)
        return max(1, int(min(share, most)))

    @property
    def _given(self) -> int:
        return len(self._open) - len(self._again)

    # --- what comes back ---

    def begun(self, number: int, worker: str, now: float) -> None:
        """Note that a worker has begun with a batch."""
        if batch := self.batches.get(number):
            batch.began, batch.heard, batch.worker = now, now, worker

    def heard(self, number: int, now: float) -> None:
        """Its worker lives."""
        if batch := self.batches.get(number):
            batch.heard = now

    def row(self, key: Key, took: float | None = None) -> Entry | None:
        """Take in a row; returns what it was open as, None for one that was there already and does not count."""
        entry = self._open.pop(key, None)
        if entry is not None:
            self.come += 1
            if took is not None:
                self.seconds = took if self.seconds is None else 0.9 * self.seconds + 0.1 * took
        return entry

    def is_open(self, key: Key) -> bool:
        """Whether a row would count if it came now."""
        return key in self._open

    def spoiled(self, key: Key, why: str) -> None:
        """Note that a row has come that is of no use, as its evidence is not there: as if it had been lost."""
        if entry := self._open.get(key):
            entry.told.append(why)
            entry.losses += 1

    def end(self, number: int) -> None:
        """Close a batch that has ended as it should; what it has not brought is given out again."""
        self._drop(number, None, blame=False)

    def lost(self, number: int, why: str, blame: bool = True) -> list[Entry]:
        """Close a batch that will bring nothing more; returns the rows that are given up, as they were lost too often.

        With `blame` the row that was under way may be what kills its workers; the ones behind it are just given out
        again.
        """
        return self._drop(number, why, blame)

    def _drop(self, number: int, why: str | None, blame: bool) -> list[Entry]:
        batch = self.batches.pop(number, None)
        if batch is None:
            return []
        given_up = []
        under_way = blame or batch.began is not None  # a worker may be killed before it could say that it had begun
        for entry in batch.entries:
            entry.batches.discard(number)
            if key_of(entry.item) not in self._open:
                continue
            if under_way and why is not None and not batch.silent:
                entry.told.append(why)
                entry.losses += blame
            under_way = False
            if entry.losses >= MOST_LOSSES and not entry.batches:
                del self._open[key_of(entry.item)]
                self.come += 1
                given_up.append(entry)
            elif not entry.batches:
                self._again.append(entry)
        return given_up

    def silent(self, now: float, patience: float) -> list[Batch]:
        """Batches of which nothing has been heard for so long: what they hold is given out again, as if lost."""
        found = []
        for batch in self.batches.values():
            if batch.began is None or batch.silent or now - batch.heard < patience:
                continue
            batch.silent = True
            found.append(batch)
            why = f"nothing was heard of worker {batch.worker} for {now - batch.heard:.0f} s while it was under way"
            for place, entry in enumerate(self._left(batch)):
                entry.told += [why] if place == 0 else []
                self._release(entry, batch)
        return found

    def slow(self, now: float) -> list[Batch]:
        """Batches that take far longer than others: what they hold may be played by somebody else, too."""
        found = []
        for batch in self.batches.values():
            if batch.began is None or batch.silent or self.seconds is None:
                continue
            left = self._left(batch)
            expected = SLOW * self.seconds * len(batch.entries) + PATIENCE
            if left and now - batch.began > expected and all(entry.batches == {batch.number} for entry in left):
                found.append(batch)
                for entry in left:
                    self._release(entry, batch)
        return found

    def _left(self, batch: Batch) -> list[Entry]:
        return [entry for entry in batch.entries if key_of(entry.item) in self._open]

    def _release(self, entry: Entry, batch: Batch) -> None:
        """Let another batch bring it as well."""
        entry.batches.discard(batch.number)
        if not entry.batches:
            self._again.append(entry)

    def needed(self, number: int) -> bool:
        """Whether a batch may still bring something that is open."""
        batch = self.batches.get(number)
        return batch is not None and bool(self._left(batch))

    # --- the end ---

    def close(self) -> None:
        """Nothing more is begun: what is given out may still come."""
        self._ended = True
        self._again.clear()

    @property
    def waits(self) -> bool:
        """Whether rows wait to be given out."""
        if self._ended:
            return False
        if any(key_of(entry.item) in self._open and not entry.batches for entry in self._again):
            return True
        if self._next is None:
            self._next = next(self.items, None)
        return self._next is not None

    @property
    def finished(self) -> bool:
        """Whether every row is there, or given up, or not wanted any more."""
        return not self.waits and (not self._open or (self._ended and not self.batches))
