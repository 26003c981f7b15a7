"""Checks of the events: as often, and with the flags and the context, that the scenario says; none unasked. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from wsklab.orchestrator.judge.integrity import Statement
from wsklab.orchestrator.judge.reading import (
    ABORTIVE,
    AT_DISPATCH_LEVEL,
    DEFINED_FLAGS,
    DISPATCH_LEVEL,
    Facts,
    told_abortive,
)
from wsklab.orchestrator.judge.wording import conn_of, times
from wsklab.orchestrator.observe.driver_lines import Completion, DisconnectTold, ReceiveEvent
from wsklab.orchestrator.observe.foreign_lines import ForeignClose
from wsklab.orchestrator.scenario.scenario import ExpectedDisconnect
from wsklab.orchestrator.scenario.steps import DriverStep

ASKED_FOR = frozenset({"receive", "send", "disconnect", "close"})
"""Operations that only a step starts."""


def disconnects(facts: Facts) -> Iterator[Statement]:
    """WskDisconnectEvent: as often as expected, each call flag by flag (R4-R9)."""
    for conn in facts.connections:
        seen = facts.disconnects(conn)
        where = conn_of(facts, conn)
        for call in [*seen, *facts.afterwards(DisconnectTold, conn)]:
            yield from _flag_rules(where, call)
        if facts.scenario.expect.characterise:
            continue
        wanted = [e for e in facts.scenario.expect.disconnect if e.conn in (None, conn)]
        needed = sum(not e.optional for e in wanted)
        if len(seen) < needed:
            yield _missing(facts, conn, len(seen), needed)
        if len(seen) > len(wanted):
            extra = seen[len(wanted)]
            yield "fail", f"{where}unexpected WskDisconnectEvent (call {len(wanted) + 1}) with {_told(extra)}"
        for expected, call in zip(wanted, seen, strict=False):
            yield from _flags(where, expected, call, facts.cookie(conn), facts.drawn(conn))


def _missing(facts: Facts, conn: int, seen: int, wanted: int) -> Statement:
    """Return the statement on an event that did not come.

    It need not once the driver closes its socket, as Microsoft's echo server does. That server closes at the first
    receive that fails, which may be earlier than the event. A driver that was told to close has not done it of its own
    accord, and its scenario would not expect an event then.
    """
    where = conn_of(facts, conn)
    if facts.of(ForeignClose, conn):
        return "pass", (
            f"{where}WskDisconnectEvent was called {times(seen)}: the driver was closing its socket "
            "already, and a socket that is being closed need not be told (R70, R73)"
        )
    return "fail", f"{where}WskDisconnectEvent was called {times(seen)}, expected {times(wanted)}"


def late_disconnects(facts: Facts) -> Iterator[Statement]:
    """Find a call after the story's end, which only an ending of the peer at that time can account for (R20)."""
    if facts.scenario.expect.characterise and not facts.judged_by_record:
        return
    for conn in facts.connections:
        late = facts.afterwards(DisconnectTold, conn)
        if not late:
            continue
        seen, story = len(facts.disconnects(conn)), len(facts.ending(conn, "peer").sent)
        new = len(facts.ending_of_the_run(conn, "peer").sent) - story
        wanted = sum(e.conn in (None, conn) for e in facts.scenario.expect.disconnect)
        allowed = (seen if facts.scenario.expect.characterise else wanted) + new
        if seen + len(late) > max(allowed, seen):
            extra = late[max(0, allowed - seen)]
            after = "" if facts.end is None else f" {(extra.t - facts.end) / 1e6:.0f} ms"
            yield (
                "fail",
                (
                    f"{conn_of(facts, conn)}unexpected WskDisconnectEvent (call {seen + len(late)}) with "
                    f"{_told(extra)},{after} after the end of the story"
                ),
            )


def uninvited(facts: Facts) -> Iterator[Statement]:
    """Check that events have a connection's context (R4), and WskReceiveEvent comes only where enabled (R2, R23)."""
    if any(call.conn is None for call in facts.of(DisconnectTold)):
        yield "fail", "WskDisconnectEvent got a context that is no connection's of this scenario (R4)"
    for conn in facts.connections:
        if not _enables_receive(facts, conn) and (calls := facts.of(ReceiveEvent, conn)):
            yield (
                "fail",
                (
                    f"{conn_of(facts, conn)}WskReceiveEvent was called {times(len(calls))}, and receive events "
                    "were never enabled (R23)"
                ),
            )


def _enables_receive(facts: Facts, conn: int) -> bool:
    steps = (action.step for action in facts.scenario.steps)
    return any(
        isinstance(step, DriverStep)
        and step.enable is not None
        and "receive" in step.enable.events
        and step.conn in ("all", conn)
        for step in steps
    )


def unasked(facts: Facts) -> Iterator[Statement]:
    """Check that the driver did nothing that no step asked for; where a step failed, its operations are not known."""
    if any(step.outcome != "done" for step in facts.steps()):
        return
    known = {number for step in facts.steps() for number in step.ops}
    unload = min((step.began for step in facts.steps() if step.verb == "unload"), default=math.inf)
    for done in facts.of(Completion):
        if done.t < unload and done.op in ASKED_FOR and done.id not in known:
            where = "" if done.conn is None else conn_of(facts, done.conn)
            yield "fail", f"{where}the driver did a {done.op} that no step asked for"


def _flag_rules(where: str, call: DisconnectTold) -> Iterator[Statement]:
    """Check what holds for any call, whatever the scenario says (R7, R8, R9), as far as the driver tells it."""
    flags, irql = call.flags or 0, call.irql
    if flags & ~DEFINED_FLAGS:
        yield "fail", f"{where}WskDisconnectEvent got flags {flags:08x}: {flags & ~DEFINED_FLAGS:#x} is undefined (R9)"
    if irql is None:
        return
    if flags & AT_DISPATCH_LEVEL and irql != DISPATCH_LEVEL:
        yield "fail", f"{where}WSK_FLAG_AT_DISPATCH_LEVEL is set, but the IRQL is {irql} (R7)"
    if irql > DISPATCH_LEVEL:
        yield "fail", f"{where}WskDisconnectEvent was called at IRQL {irql}, above DISPATCH_LEVEL (R8)"


def _flags(
    where: str, expected: ExpectedDisconnect, call: DisconnectTold, cookie: int | None, drawn: str | None
) -> Iterator[Statement]:
    flags, abortive = call.flags, call.abortive
    ending = ("set" if drawn == "rst" else "clear") if expected.abortive == "drawn" else expected.abortive
    for name, wanted, told in (
        ("WSK_FLAG_ABORTIVE", ending, told_abortive(call)),
        (
            "WSK_FLAG_AT_DISPATCH_LEVEL",
            expected.at_dispatch,
            None if flags is None else bool(flags & AT_DISPATCH_LEVEL),
        ),
    ):
        if wanted == "any" or told == (wanted == "set"):
            continue
        if told is None:
            yield "inconclusive", f"{where}the driver's text does not tell {name}, expected {wanted}"
        else:
            yield "fail", f"{where}{name} is {'set' if told else 'clear'}, expected {wanted} ({_told(call)})"
    if flags is not None and abortive is not None and abortive != bool(flags & ABORTIVE):
        yield "fail", f"{where}the driver takes flags {flags:08x} for {'' if abortive else 'not '}abortive"
    if expected.context == "own" and call.cookie not in (None, cookie):
        yield "fail", f"{where}WskDisconnectEvent got another connection's context (R4)"


def _told(call: DisconnectTold) -> str:
    """Return what the driver tells of a call."""
    if call.flags is not None:
        return f"flags {call.flags:08x}"
    told = told_abortive(call)
    return "flags that are not told" if told is None else f"the driver's word '{'abortive' if told else 'graceful'}'"
