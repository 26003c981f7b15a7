"""What a row observed, reduced to what should be the same in every run; and in what two rows differ. Pure.

Lengths of single receives and the number of frames are left out: they depend on how TCP cut the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsklab.orchestrator.judge.observed import Disconnect
from wsklab.orchestrator.results.results import call_words


@dataclass(frozen=True)
class Connection:
    """One connection: what the driver was told, in order, and how both sides ended it on the wire."""

    told: tuple[str, ...]
    """Calls of WskDisconnectEvent and the statuses of receives and sends; what repeats stands once."""
    peer: tuple[str, ...]
    driver: tuple[str, ...]


Behaviour = tuple[Connection, ...]


def of(observed: Mapping[str, Any]) -> Behaviour:
    """Return the behaviour of a row, from its `observed` (docs/results.md)."""
    wire = observed.get("wire") or {}
    peer, driver = wire.get("peer") or (), wire.get("driver") or ()
    events: dict[int, list[tuple[int, str]]] = {}
    for kind in ("disconnects", "receives", "sends"):
        for place, event in enumerate(observed.get(kind) or ()):
            order = event.get("order")
            events.setdefault(event.get("conn") or 0, []).append(
                (place if order is None else order, _word(kind, event))
            )
    most = max(len(peer), len(driver), *(number + 1 for number in events), 0)
    return tuple(
        Connection(
            _once(word for _, word in sorted(events.get(number, ()), key=lambda event: event[0])),
            tuple(peer[number]) if number < len(peer) else (),
            tuple(driver[number]) if number < len(driver) else (),
        )
        for number in range(most)
    )


def _word(kind: str, event: Mapping[str, Any]) -> str:
    if kind != "disconnects":
        return f"{kind.removesuffix('s')} {event.get('status')}"
    call = Disconnect(
        conn=None,
        flags=event.get("flags"),
        abortive=event.get("abortive"),
        at_dispatch=event.get("at_dispatch"),
        irql=event.get("irql"),
        context_ok=event.get("context_ok"),
        order=None,
    )
    context = "" if call["context_ok"] is not False else ", context of another connection"
    irql = "" if call["irql"] is None else f" at IRQL {call['irql']}"
    return f"disconnect {call_words(call)}{irql}{context}"


def _once(words: Iterator[str]) -> tuple[str, ...]:
    """Without what follows its like: how many receives there were depends on TCP."""
    found: list[str] = []
    for word in words:
        if not found or found[-1] != word:
            found.append(word)
    return tuple(found)


def document(behaviour: Behaviour) -> list[list[list[str]]]:
    """As JSON."""
    return [[list(one.told), list(one.peer), list(one.driver)] for one in behaviour]


def from_document(kept: Sequence[Sequence[Sequence[str]]]) -> Behaviour:
    """Return the inverse of `document`."""
    return tuple(Connection(tuple(told), tuple(peer), tuple(driver)) for told, peer, driver in kept)


def differences(before: Behaviour, after: Behaviour) -> Iterator[str]:
    """In what they differ, a sentence for each connection and point."""
    if len(before) != len(after):
        yield f"{len(before)} connections before, {len(after)} after"
    for number, (old, new) in enumerate(zip(before, after, strict=False)):
        where = f"connection {number}: " if max(len(before), len(after)) > 1 else ""
        for what, was, now in (
            ("the driver was told", old.told, new.told),
            ("the peer ended with", old.peer, new.peer),
            ("the driver ended with", old.driver, new.driver),
        ):
            if was == now:
                continue
            order = " in another order" if sorted(was) == sorted(now) else ""
            yield f"{where}{what}{order}: {_listed(was)}; now {_listed(now)}"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) or "nothing"
