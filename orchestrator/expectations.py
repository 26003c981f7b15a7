"""Checks of what the scenario expects against what was observed. Pure. Findings are (verdict, sentence)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from wsklab.orchestrator.evidence_checks import Finding, Verdict
from wsklab.orchestrator.facts import (
    ABORTIVE,
    AT_DISPATCH_LEVEL,
    DEFINED_FLAGS,
    DISPATCH_LEVEL,
    LINES,
    Facts,
    outcome_matches,
    succeeded,
    told_abortive,
)
from wsklab.orchestrator.observation import Observation
from wsklab.orchestrator.scenario import ExpectedDisconnect, ExpectedTransfer

PEER_WAITS = frozenset({"receive", "await_", "accept"})
"""Peer steps that wait for the driver to do something: when they run out of time, the driver is asked first."""


ASKED_FOR = frozenset({"receive", "send", "disconnect", "close"})
"""Operations that only a step starts."""


def wire(facts: Facts) -> Iterator[Finding]:
    """The wire is the first oracle: did each side end the connection as the scenario intends?"""
    for conn in facts.connections:
        wanted = facts.scenario.expect.wire.of(conn)
        peer, driver = facts.ending(conn, "peer"), facts.ending(conn, "driver")
        from_peer, from_driver = _resolved(facts, conn, wanted.peer), _resolved(facts, conn, wanted.driver)
        if from_peer is not None and list(peer.sent) != from_peer:
            blame: Verdict = "fail" if _driver_failed_before(facts, peer.t) else "infra"
            yield blame, f"{_conn(facts, conn)}the peer should have sent {_words(from_peer)}, the wire shows {peer}"
        if from_driver is not None and list(driver.sent) != from_driver:
            yield "fail", (f"{_conn(facts, conn)}the driver should have sent {_words(from_driver)}, "
                           f"the wire shows {driver}")


def _resolved(facts: Facts, conn: int, wanted: Sequence[str] | None) -> list[str] | None:
    """The endings wanted, with what was drawn in the place of `drawn`."""
    return None if wanted is None else [facts.drawn(conn) or "none" if end == "drawn" else end for end in wanted]


def _driver_failed_before(facts: Facts, t: int | None) -> bool:
    """Whether one of the driver's own operations had gone wrong before the peer's ending: then that is the cause.

    A wait for an event does not count: an event that the peer never caused cannot come.
    """
    return any(
        step["actor"] == "driver" and step["verb"] != "await_" and (t is None or step["began"] < t)
        for step, _ in _failed(facts)
    )


def steps(facts: Facts) -> Iterator[Finding]:
    """Every step did what it should, in time."""
    for step, text in _failed(facts):
        lab_fault = step["actor"] in ("lab", "wire") or (step["actor"] == "peer" and step["verb"] not in PEER_WAITS)
        yield ("infra" if lab_fault else "fail"), f"step {step['index'] + 1} ({step['text']}): {text}"
    unstarted = len(facts.scenario.steps) - len(list(facts.steps()))
    if unstarted > 0 and not list(_failed(facts)):
        yield "infra", f"{unstarted} steps of the scenario were not started"


def _failed(facts: Facts) -> Iterator[tuple[dict[str, Any], str]]:
    """Steps with what went wrong in them."""
    for step in facts.steps():
        if step["outcome"] != "done":
            yield step, step["detail"]
            continue
        for op in step.get("ops", ()):
            done, returned = facts.outcomes.get(op), facts.returns.get(op)
            status = done.data["status"] if done else None
            own = returned.data["ret"] if returned else None
            if status is None and step.get("synchronous"):
                status = own
            if step.get("expect") is not None and not outcome_matches(step["expect"], status):
                yield step, f"should end in {step['expect']}, ended in {_status(status)}"
            if step.get("returns") is not None and not outcome_matches(step["returns"], own):
                yield step, f"should return {step['returns']}, returned {_status(own)}"


def unasked(facts: Facts) -> Iterator[Finding]:
    """The driver did nothing that no step asked for; where a step failed, its operations are not known."""
    if any(step["outcome"] != "done" for step in facts.steps()):
        return
    known = {number for step in facts.steps() for number in step.get("ops", ())}
    unload = min((step["began"] for step in facts.steps() if step["verb"] == "unload"), default=math.inf)
    for done in facts.of("driver", "done"):
        if done.t < unload and done.data["op"] in ASKED_FOR and done.data["id"] not in known:
            where = "" if done.conn is None else _conn(facts, done.conn)
            yield "fail", f"{where}the driver did a {done.data['op']} that no step asked for"


def disconnects(facts: Facts) -> Iterator[Finding]:
    """WskDisconnectEvent: as often as expected, each call flag by flag (R4-R9)."""
    if any(call.conn is None for call in facts.of("driver", "disc")):
        yield "fail", "WskDisconnectEvent got a context that is no connection's of this scenario (R4)"
    for conn in facts.connections:
        seen = facts.disconnects(conn)
        where = _conn(facts, conn)
        for call in seen:
            yield from _flag_rules(where, call)
        if facts.scenario.expect.characterise:
            continue
        wanted = [e for e in facts.scenario.expect.disconnect if e.conn in (None, conn)]
        needed = sum(not e.optional for e in wanted)
        if len(seen) < needed:
            yield "fail", f"{where}WskDisconnectEvent was called {_times(len(seen))}, expected {_times(needed)}"
        if len(seen) > len(wanted):
            extra = seen[len(wanted)]
            yield "fail", f"{where}unexpected WskDisconnectEvent (call {len(wanted) + 1}) with {_told(extra)}"
        for expected, call in zip(wanted, seen, strict=False):
            yield from _flags(where, expected, call, facts.cookie(conn), facts.drawn(conn))


def _flag_rules(where: str, call: Observation) -> Iterator[Finding]:
    """What holds for any call, whatever the scenario says (R7, R8, R9), as far as the driver tells it."""
    flags, irql = call.data.get("flags", 0), call.data.get("irql")
    if flags & ~DEFINED_FLAGS:
        yield "fail", f"{where}WskDisconnectEvent got flags {flags:08x}: {flags & ~DEFINED_FLAGS:#x} is undefined (R9)"
    if irql is None:
        return
    if flags & AT_DISPATCH_LEVEL and irql != DISPATCH_LEVEL:
        yield "fail", f"{where}WSK_FLAG_AT_DISPATCH_LEVEL is set, but the IRQL is {irql} (R7)"
    if irql > DISPATCH_LEVEL:
        yield "fail", f"{where}WskDisconnectEvent was called at IRQL {irql}, above DISPATCH_LEVEL (R8)"


def _flags(where: str, expected: ExpectedDisconnect, call: Observation, cookie: int | None,
           drawn: str | None) -> Iterator[Finding]:
    flags, abortive = call.data.get("flags"), call.data.get("abortive")
    ending = ("set" if drawn == "rst" else "clear") if expected.abortive == "drawn" else expected.abortive
    for name, wanted, told in (
        ("WSK_FLAG_ABORTIVE", ending, told_abortive(call)),
        ("WSK_FLAG_AT_DISPATCH_LEVEL", expected.at_dispatch,
         None if flags is None else bool(flags & AT_DISPATCH_LEVEL)),
    ):
        if wanted == "any" or told == (wanted == "set"):
            continue
        if told is None:
            yield "inconclusive", f"{where}the driver's text does not tell {name}, expected {wanted}"
        else:
            yield "fail", f"{where}{name} is {'set' if told else 'clear'}, expected {wanted} ({_told(call)})"
    if flags is not None and abortive is not None and bool(abortive) != bool(flags & ABORTIVE):
        yield "fail", f"{where}the driver takes flags {flags:08x} for {'' if abortive else 'not '}abortive"
    if expected.context == "own" and call.data.get("cookie", cookie) != cookie:
        yield "fail", f"{where}WskDisconnectEvent got another connection's context (R4)"


def _told(call: Observation) -> str:
    """What the driver tells of a call."""
    if "flags" in call.data:
        return f"flags {call.data['flags']:08x}"
    told = told_abortive(call)
    return "flags that are not told" if told is None else f"the driver's word '{'abortive' if told else 'graceful'}'"


def transfers(facts: Facts) -> Iterator[Finding]:
    """WskReceive and WskSend: the completions in order, each with its status and length."""
    expect = facts.scenario.expect
    for op, wanted in (("receive", expect.receive), ("send", expect.send)):
        if wanted is None:
            continue
        for conn in facts.connections:
            seen = facts.completions(op, conn)
            mine = [e for e in wanted if e.conn in (None, conn)]
            yield from _transfers(f"{_conn(facts, conn)}Wsk{op.capitalize()}", mine, seen)


def _transfers(name: str, wanted: Sequence[ExpectedTransfer], seen: Sequence[Observation]) -> Iterator[Finding]:
    completed = [e for e in wanted if e.status != "pending"]
    if len(seen) != len(completed):
        yield "fail", f"{name} completed {_times(len(seen))}, expected {_times(len(completed))}"
    for number, (expected, done) in enumerate(zip(completed, seen, strict=False), 1):
        status, length = done.data["status"], done.data["length"]
        if not outcome_matches(expected.status, status):
            yield "fail", f"{name} {number} completed with {_status(status)}, expected {expected.status}"
        if expected.length is not None and length != expected.length:
            yield "fail", f"{name} {number} carried {length} bytes, expected {expected.length}"


def indications(facts: Facts) -> Iterator[Finding]:
    """WskReceiveEvent: as often as expected, each with its lengths (R52, R53)."""
    expected = facts.scenario.expect.indication
    for conn in () if expected is None else facts.connections:
        wanted = [e for e in expected or () if e.conn in (None, conn)]
        seen = sorted(facts.of("driver", "recv", conn), key=lambda o: o.data["seq"])
        where = f"{_conn(facts, conn)}WskReceiveEvent"
        if len(seen) != len(wanted):
            yield "fail", f"{where} was called {_times(len(seen))}, expected {_times(len(wanted))}"
        for number, (one, call) in enumerate(zip(wanted, seen, strict=False), 1):
            for key, what in (("length", "indicated"), ("took", "saw the driver take")):
                told = call.data[key]
                if getattr(one, key) not in (None, told):
                    yield "fail", f"{where} {number} {what} {told} bytes, expected {getattr(one, key)}"


def order(facts: Facts) -> Iterator[Finding]:
    """What the scenario lists under `order` came in that order, by the driver's own numbers."""
    words = facts.scenario.expect.order
    for conn in facts.connections:
        seen = [(word, _first(facts, conn, word)) for word in words]
        for (word, at), (following, then) in pairwise(seen):
            if at is None or then is None:
                missing = word if at is None else following
                yield "fail", f"{_conn(facts, conn)}'{missing}' did not come; expected was {', '.join(words)}"
            elif at > then:
                yield "fail", f"{_conn(facts, conn)}'{following}' came before '{word}'"


def _first(facts: Facts, conn: int, word: str) -> int | None:
    """The number of the first line that tells of `word` on this connection."""
    kind, op = LINES[word]
    numbers = [o.data["seq"] for o in facts.of("driver", kind, conn) if op is None or o.data["op"] == op]
    return min(numbers, default=None)


def peer(facts: Facts) -> Iterator[Finding]:
    """What the peer program counted (R12: a half-closed peer still gets the driver's bytes)."""
    wanted = facts.scenario.expect.peer.received
    if wanted is None:
        return
    for conn in facts.connections:
        got = sum(o.data.get("bytes", 0) for o in facts.of("peer", "reply", conn) if o.data.get("do") == "receive")
        if got != wanted:
            yield "fail", f"{_conn(facts, conn)}the peer received {got} bytes, expected {wanted}"


def _conn(facts: Facts, conn: int) -> str:
    return f"connection {conn}: " if facts.scenario.connections > 1 else ""


def _words(ending: Sequence[str]) -> str:
    return " then ".join(word.upper() for word in ending) or "neither FIN nor RST"


def _times(count: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _status(status: int | None) -> str:
    if status is None:
        return "no completion"
    return f"{'success' if succeeded(status) else 'failure'} ({status:08x})"
