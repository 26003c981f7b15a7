"""The client's book: whatever becomes of workers, each row is counted once, and none is forgotten."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.simulated_run import scenario

from wsklab.orchestrator.fleet.client.ledger import FIRST, MOST_LOSSES, Key, Ledger, key_of
from wsklab.orchestrator.run.order import Item, order

NAMES = ("first", "second", "third")


def items(repeat: int = 4, variants: tuple[str, ...] = ("", "e1000e")) -> list[Item]:
    scenarios = [scenario(name) for name in NAMES]
    return list(order(scenarios, repeat, False, dict.fromkeys(variants, scenarios)))


def ledger(repeat: int = 4, variants: tuple[str, ...] = ("", "e1000e")) -> Ledger:
    wanted = items(repeat, variants)
    return Ledger(iter(wanted), len(wanted))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_no_row_is_lost_and_none_comes_twice(seed: int, slots: int) -> None:
    """Workers die, fall silent, come back and say everything again, in any order."""
    chance, book, counted = random.Random(seed), ledger(), Counter[object]()
    ghosts, now = [], 0.0
    for _ in range(2000):
        now += 1.0
        if book.finished:
            break
        while len(book.batches) < slots + 1 and (batch := book.take(slots, now)):
            assert len({entry.item.variant for entry in batch.entries}) == 1
        if not book.batches:
            continue
        batch = chance.choice(list(book.batches.values()))
        match chance.choice(["begin", "row", "row", "all", "lost", "silent", "slow", "ghost"]):
            case "begin":
                book.begun(batch.number, "w", now)
            case "row":
                entry = chance.choice(batch.entries)
                counted[key_of(entry.item)] += book.row(key_of(entry.item), 1.0) is not None
            case "all":
                for entry in batch.entries:
                    counted[key_of(entry.item)] += book.row(key_of(entry.item), 1.0) is not None
                book.end(batch.number)
            case "lost":
                ghosts.append(batch)
                for entry in book.lost(batch.number, "died"):
                    counted[key_of(entry.item)] += 1
            case "silent":
                book.silent(now, 5.0)
            case "slow":
                book.slow(now)
            case "ghost":
                for entry in (entry for batch in ghosts for entry in batch.entries):
                    counted[key_of(entry.item)] += book.row(key_of(entry.item), 1.0) is not None
    assert book.finished
    assert counted == Counter({key_of(item): 1 for item in items()})


def test_batches_shrink_towards_the_end() -> None:
    book = Ledger(iter(wanted := items(100, ("",))), 300, seconds=0.1)
    sizes = []
    while batch := book.take(4, 0.0):
        sizes.append(len(batch.entries))
        for entry in batch.entries:
            book.row(key_of(entry.item))
        book.end(batch.number)
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1], sum(sizes)) == (25, 1, len(wanted))


def test_a_batch_is_no_longer_than_a_minute_and_short_before_anything_is_known() -> None:
    book = Ledger(iter(items(1000, ("",))), 3000)
    first = book.take(1, 0.0)
    assert first is not None
    assert len(first.entries) == FIRST
    book.row(key_of(first.entries[0].item), 20.0)
    second = book.take(1, 0.0)
    assert second is not None
    assert len(second.entries) == 3


def test_only_the_row_that_was_under_way_is_blamed_and_is_played_alone_then() -> None:
    book = ledger(4, ("",))
    batch = book.take(1, 0.0)
    assert batch is not None
    assert len(batch.entries) == FIRST
    blamed, *others = batch.entries
    given_up = []
    for _ in range(MOST_LOSSES):
        book.begun(batch.number, "w", 0.0)
        given_up += book.lost(batch.number, "worker w was lost")
        if given_up:
            break
        while (batch := book.take(1, 0.0)) is None or batch.entries[0] is not blamed:
            assert batch is not None
        assert batch.entries == [blamed]
    assert given_up == [blamed]
    assert blamed.told == ["worker w was lost"] * MOST_LOSSES
    assert all(not entry.told and entry.losses == 0 for entry in others)


def test_a_batch_that_was_not_begun_blames_nobody() -> None:
    book = ledger(1, ("",))
    batch = book.take(1, 0.0)
    assert batch is not None
    assert book.lost(batch.number, "the scheduler was lost", blame=False) == []
    assert all(entry.losses == 0 and not entry.told for entry in batch.entries)
    assert book.waits


def test_what_nothing_is_heard_of_is_given_to_somebody_else_and_still_welcome() -> None:
    book = ledger(1, ("",))
    first = book.take(1, 0.0)
    assert first is not None
    book.begun(first.number, "w1", 0.0)
    book.heard(first.number, 20.0)
    assert book.silent(40.0, 30.0) == []
    assert book.silent(51.0, 30.0) == [first]
    assert book.silent(99.0, 30.0) == [], "once"
    second = book.take(1, 51.0)
    assert second is not None
    key = key_of(first.entries[0].item)
    entry = book.row(key)
    assert entry is not None
    assert "nothing was heard of worker w1 for 31 s" in entry.told[0]
    assert book.row(key) is None, "it is there already"


def test_a_slow_batch_is_played_by_somebody_else_too() -> None:
    book = Ledger(iter(items(1, ("",))), 3, seconds=1.0)
    batch = book.take(1, 0.0)
    assert batch is not None
    book.begun(batch.number, "w", 0.0)
    assert book.slow(5.0) == []
    assert book.slow(100.0) == [batch]
    assert book.slow(200.0) == []


def test_nothing_is_begun_after_the_end() -> None:
    book = ledger()
    batch = book.take(1, 0.0)
    assert batch is not None
    book.close()
    assert book.take(1, 0.0) is None
    assert not book.finished
    book.end(batch.number)
    assert book.finished


@pytest.mark.parametrize("total", [None, 6])
def test_a_run_without_end_is_given_out_as_far_as_it_is_wanted(total: int | None) -> None:
    book = Ledger(iter(items(1)), total)
    assert book.take(2, 0.0) is not None


BATCH = 0.2
"""Seconds that a batch costs beside its rows."""


END = ("", "", 0)
"""Instead of a row: the end of a batch."""


def played_for(slots: int, seed: int) -> float:
    """Return the seconds of a simulated clock that a run takes on so many slots."""
    chance, book = random.Random(seed), ledger(60, ("",))
    took = {key_of(item): chance.lognormvariate(0.0, 0.5) for item in items(60, ("",))}
    idle, events, now = slots, list[tuple[float, int, Key]](), 0.0
    while not book.finished:
        while idle and (batch := book.take(slots, now)):
            idle -= 1
            at = now + BATCH
            for entry in batch.entries:
                at += took[key_of(entry.item)]
                heapq.heappush(events, (at, batch.number, key_of(entry.item)))
            heapq.heappush(events, (at + 1e-9, batch.number, END))
        now, number, what = heapq.heappop(events)
        if what == END:
            book.end(number)
            idle += 1
        else:
            assert book.row(what, took[what]) is not None, "it was played once"
    return now


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("labs", [1, 4])
def test_two_workers_play_nearly_twice_as_much_as_one(labs: int, seed: int) -> None:
    assert played_for(labs, seed) / played_for(2 * labs, seed) >= 1.8
