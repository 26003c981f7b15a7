"""What the provider saw of every WSK call and callback (`--strict`), held against the rules and the driver's words.

Nothing here takes a pattern of the driver's text, but for the one check that compares the two. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from wsklab.orchestrator.judge.integrity import Statement, function
from wsklab.orchestrator.judge.reading import ABORTIVE, PENDING, Facts, succeeded
from wsklab.orchestrator.judge.wording import conn_of, connection_of, status_words
from wsklab.orchestrator.observe.driver_lines import Call, DisconnectEvent, ReceiveEvent
from wsklab.orchestrator.observe.foreign_lines import ForeignDisconnect
from wsklab.orchestrator.observe.lab_notes import ForeignStarted
from wsklab.orchestrator.observe.machine_events import MachineGone
from wsklab.orchestrator.observe.wsk_lines import (
    WskCalled,
    WskCompleted,
    WskEvent,
    WskEventReturned,
    WskSeen,
    words,
)

MAKES = frozenset({"WskSocket", "WskSocketConnect", "WskAccept"})
"""Functions whose completion gives a socket."""

CONNECTS = frozenset({"WskSocketConnect", "WskConnect", "WskAccept"})

OWN = "wsklab.sys"
"""The lab's own driver, which is loaded beside any other."""

TOLD = frozenset({"WskConnect", "WskControlSocket", "WskDisconnect", "WskReceive", "WskSend"})
"""Functions of whose calls the lab's own driver tells each that fails."""

SHOWN = 3


def complete(facts: Facts) -> Iterator[Statement]:
    """Check that the provider's lines are numbered from its load on: none may be missing."""
    loads: list[set[int]] = [set()]
    for o in facts.everywhere(WskSeen):
        if o.number == 1:
            loads.append(set())
        loads[-1].add(o.number)
    missing = sum(max(load) - min(load) + 1 - len(load) for load in loads if load)
    if missing:
        yield "inconclusive", f"{missing} lines in which the provider tells WSK calls are not on the debug line"


def contexts(facts: Facts) -> Iterator[Statement]:
    """Each callback gets the context that its socket was given (R4)."""
    given: dict[int, int] = {}
    asked: dict[int, int] = {}
    for o in facts.everywhere(WskSeen):
        match o:
            case WskCalled() if o.function in MAKES and o.irp:
                asked[o.irp] = o.context
            case WskCompleted() if o.function in MAKES and o.status == 0 and o.irp in asked:
                given[o.socket] = asked.pop(o.irp)
            case WskEventReturned() if o.made:
                given[o.made] = o.context
            case WskEvent() if given.get(o.socket, o.context) != o.context:
                yield (
                    "fail",
                    f"{connection_of(facts, o.socket)}{o.function} got the context {o.context:x}, "
                    f"socket {o.socket} was given {given[o.socket]:x} (R4)",
                )


def left_behind(facts: Facts) -> Iterator[Statement]:
    """IRPs that were never completed and sockets that were never closed, when all should have been cleaned up."""
    if facts.everywhere(MachineGone):
        return
    outstanding: dict[int, WskCalled] = {}
    open_: dict[int, WskSeen] = {}
    for o in facts.everywhere(WskSeen):
        match o:
            case WskCalled() if o.irp and o.returned == PENDING:
                outstanding[o.irp] = o
            case WskCompleted():
                outstanding.pop(o.irp, None)
                if o.status == 0 and o.function in MAKES:
                    open_[o.socket] = o
                elif o.status == 0 and o.function == "WskCloseSocket":
                    open_.pop(o.socket, None)
            case WskEventReturned() if o.made and o.returned == 0:
                open_[o.made] = o
    yield from _listed(
        [f"{connection_of(facts, o.socket)}this IRP was never completed: {words(o)}" for o in outstanding.values()]
    )
    yield from _listed(
        [
            f"{connection_of(facts, number)}socket {number} of {o.driver}, made by {o.function}, was never closed"
            for number, o in open_.items()
        ]
    )


def _listed(texts: Sequence[str]) -> Iterator[Statement]:
    for text in texts[:SHOWN]:
        yield "fail", text
    if len(texts) > SHOWN:
        yield "fail", f"and {len(texts) - SHOWN} more of that kind"


def contradictions(facts: Facts) -> Iterator[Statement]:
    """Compare what WskDisconnectEvent told a driver with what the driver says it was told; both lines are given."""
    if not facts.everywhere(ForeignStarted):
        return
    told = _events(facts.everywhere(WskSeen))
    for conn in facts.connections:
        said = facts.everywhere(ForeignDisconnect)
        for seen, says in zip(told[conn], [o for o in said if o.conn == conn], strict=False):
            abortive = bool(seen.flags & ABORTIVE)
            claims = says.abortive  # its own words; the flags that it prints need not be what it goes by
            if claims is None and says.flags is not None:
                claims = bool(says.flags & ABORTIVE)
            if claims is not None and claims != abortive:
                yield (
                    "fail",
                    f"{conn_of(facts, conn)}WSK told the driver {_word(abortive)}, the driver says {_word(claims)}: "
                    f"'{words(seen)}', then '{says.text}'",
                )


def returns(facts: Facts) -> Iterator[Statement]:
    """Whether the lab's own driver tells of every call that WSK refused at once, and of no success that there was not.

    Only what fails is told of many.
    """
    calls = [o for o in facts.everywhere(WskCalled) if o.driver == OWN]
    had = Counter((o.function, o.returned) for o in calls)
    told = Counter((function(o.op), o.ret) for o in facts.everywhere(Call))
    for name, status in had - told:
        if name in TOLD and not succeeded(status):
            yield "fail", f"{name} returned {status_words(status)} to the driver, which does not tell of such a call"
    if not calls or next(complete(facts), None):
        return
    for name, status in told - had:
        if name in TOLD | CONNECTS and succeeded(status):
            yield (
                "fail",
                f"the driver tells of {told[name, status]} calls of {name} that returned {status_words(status)}, "
                f"WSK had {had[name, status]} return that",
            )


def running(facts: Facts) -> Iterator[Statement]:
    """Whether the lab's own driver counts no more callbacks as running than WSK had called at any one time."""
    seen = facts.everywhere(WskSeen)
    if not seen or next(complete(facts), None):
        return
    now, most = Counter[str](), Counter[str]()
    for o in seen:
        if o.driver == OWN and isinstance(o, WskEvent):
            now[o.function] += 1
            most[o.function] = max(most[o.function], now[o.function])
        elif o.driver == OWN and isinstance(o, WskEventReturned):
            now[o.function] -= 1
    receives, disconnects = facts.everywhere(ReceiveEvent), facts.everywhere(DisconnectEvent)
    for name, counted in (
        ("WskReceiveEvent", [*(o.depth for o in receives), *(o.rdepth for o in disconnects)]),
        ("WskDisconnectEvent", [*(o.ddepth for o in receives), *(o.depth for o in disconnects)]),
    ):
        highest = max((count for count in counted if count is not None), default=0)
        if highest > most[name]:
            yield "fail", f"the driver counts {highest} calls of {name} as running, WSK had {most[name]} at the most"


def _word(abortive: bool) -> str:
    return "abortive" if abortive else "graceful"


def _events(seen: Sequence[WskSeen]) -> dict[int, list[WskEvent]]:
    """Return calls of WskDisconnectEvent by the connection, which are numbered in the order of their making."""
    numbers: dict[int, int] = {}
    events: defaultdict[int, list[WskEvent]] = defaultdict(list)
    for o in seen:
        if o.driver == OWN:
            continue
        match o:
            case WskCompleted() if o.function in CONNECTS and o.status == 0:
                numbers.setdefault(o.socket, len(numbers))
            case WskEventReturned() if o.made and o.returned == 0:
                numbers.setdefault(o.made, len(numbers))
            case WskEvent() if o.function == "WskDisconnectEvent" and o.socket in numbers:
                events[numbers[o.socket]].append(o)
    return events
