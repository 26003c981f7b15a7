"""Checks of what the scenario expects of transfers, order and the peer against what was observed. Pure.

Findings are (verdict, sentence).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from wsklab.orchestrator.judge import characterise
from wsklab.orchestrator.judge.integrity import Statement
from wsklab.orchestrator.judge.reading import Facts, outcome_matches, tells_of
from wsklab.orchestrator.judge.wording import conn_of, status_words, times
from wsklab.orchestrator.observe.driver_lines import Completion, DriverLine, ReceiveEvent
from wsklab.orchestrator.observe.peer_replies import PeerReply
from wsklab.orchestrator.scenario.scenario import ExpectedTransfer


def transfers(facts: Facts) -> Iterator[Statement]:
    """WskReceive and WskSend: the completions in order, each with its status and length."""
    expect = facts.scenario.expect
    for op, wanted in (("receive", expect.receive), ("send", expect.send)):
        if wanted is None:
            continue
        for conn in facts.connections:
            seen = facts.completions(op, conn)
            mine = [e for e in wanted if e.conn in (None, conn)]
            yield from _transfers(f"{conn_of(facts, conn)}Wsk{op.capitalize()}", mine, seen)


def _transfers(name: str, wanted: Sequence[ExpectedTransfer], seen: Sequence[Completion]) -> Iterator[Statement]:
    completed = [e for e in wanted if e.status != "pending"]
    if len(seen) != len(completed):
        yield "fail", f"{name} completed {times(len(seen))}, expected {times(len(completed))}"
    for number, (expected, done) in enumerate(zip(completed, seen, strict=False), 1):
        status, length = done.status, done.length
        if not outcome_matches(expected.status, status):
            yield "fail", f"{name} {number} completed with {status_words(status)}, expected {expected.status}"
        if expected.length is not None and length != expected.length:
            yield "fail", f"{name} {number} carried {length} bytes, expected {expected.length}"


def indications(facts: Facts) -> Iterator[Statement]:
    """WskReceiveEvent: as often as expected, each with its lengths (R52, R53)."""
    expected = facts.scenario.expect.indication
    for conn in () if expected is None else facts.connections:
        wanted = [e for e in expected or () if e.conn in (None, conn)]
        seen = sorted(facts.of(ReceiveEvent, conn), key=lambda o: o.seq)
        where = f"{conn_of(facts, conn)}WskReceiveEvent"
        if len(seen) != len(wanted):
            yield "fail", f"{where} was called {times(len(seen))}, expected {times(len(wanted))}"
        for number, (one, call) in enumerate(zip(wanted, seen, strict=False), 1):
            for expect, told, what in (
                (one.length, call.length, "indicated"),
                (one.took, call.took, "saw the driver take"),
            ):
                if expect not in (None, told):
                    yield "fail", f"{where} {number} {what} {told} bytes, expected {expect}"


def order(facts: Facts) -> Iterator[Statement]:
    """Check that what the scenario lists under `order` came in that order, by the driver's own numbers."""
    words = facts.scenario.expect.order
    for conn in facts.connections:
        seen = [(word, _first(facts, conn, word)) for word in words]
        for (word, at), (following, then) in pairwise(seen):
            if at is None or then is None:
                missing = word if at is None else following
                yield "fail", f"{conn_of(facts, conn)}'{missing}' did not come; expected was {', '.join(words)}"
            elif at > then:
                yield "fail", f"{conn_of(facts, conn)}'{following}' came before '{word}'"


def _first(facts: Facts, conn: int, word: str) -> int | None:
    """Return the number of the first line that tells of `word` on this connection."""
    numbers = [o.seq for o in facts.of(DriverLine, conn) if o.seq is not None and tells_of(o, word)]
    return min(numbers, default=None)


def peer(facts: Facts) -> Iterator[Statement]:
    """Check what the peer program counted (R12: a half-closed peer still gets the driver's bytes)."""
    wanted = facts.scenario.expect.peer.received
    if wanted is None:
        return
    for conn in facts.connections:
        got = sum(o.bytes or 0 for o in facts.of(PeerReply, conn) if o.do == "receive")
        if got != wanted:
            yield "fail", f"{conn_of(facts, conn)}the peer received {got} bytes, expected {wanted}"


def as_recorded(facts: Facts) -> Iterator[Statement]:
    """Compare a characterised scenario on a target of this project's own with what is recorded."""
    record = facts.record
    if facts.judged_by_record and record is not None:
        for difference in characterise.compare(facts.scenario.name, characterise.behaviour(facts.summary()), record):
            yield "fail", difference
