"""Where a driver's debug text, or what a customer says of it, contradicts the wire. Pure.

Nothing is run: flags that do not fit the segments are a finding as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import yaml

from wsklab.common.text import quoted
from wsklab.drivers.protocol import Event
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.debug_text.debugtext import Side, Told
from wsklab.orchestrator.field.debug_text.within_log import set_or_clear, switched, within_log
from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.endings.resets import FOREIGN, origin
from wsklab.orchestrator.field.endings.story import SECOND, End

LATE = 2 * SECOND
"""An event that comes so much later than its segment was held back by somebody, if the log shows no work meanwhile."""

_TICK = 100
"""Nanoseconds of the unit in which the lab's own driver tells the time."""

_RESET = 0xC000020D


def contradictions(
    told: Sequence[Told], sides: Sequence[Side], connections: Sequence[Connection]
) -> Iterator[tuple[int, str]]:
    """Say where log and wire do not fit, or the log not itself, with the number of the connection, 0 for none."""
    for side, text in within_log(told, sides):
        yield side.connection.number if side and side.connection else 0, text
    tells = any(side.of("disc") for side in sides)
    for side in sides:
        if side.connection is not None:
            for check in _CHECKS:
                for text in check(side, side.connection):
                    yield side.connection.number, text
            for text in _late(told, side, side.connection):
                yield side.connection.number, text
            if tells or _on(side):
                for text in _untold(side, side.connection):
                    yield side.connection.number, text
        else:
            for one in side.of("disc"):
                yield 0, f"line {one.line} tells of an end ({quoted(one.text)}), but no connection of the capture fits"


def _ends(connection: Connection) -> list[End]:
    return [end for end in genuine(connection) if not _driver_first(connection, end)]


def _flags(side: Side, connection: Connection) -> Iterator[str]:
    """Find a flag against a segment, and an end that nobody has made."""
    ends, calls = _ends(connection), side.of("disc")
    for call, end in zip(calls, ends, strict=False):
        if call.abortive is not None and call.abortive != (end.word == "rst"):
            yield (
                f"line {call.line} reports WSK_FLAG_ABORTIVE {set_or_clear(call.abortive)}, but the peer sent "
                f"{_sent(end)}: {quoted(call.text)}"
            )
    for call in calls[len(ends) :] if ends or not _gave_up(connection) else ():
        times = "once" if len(ends) == 1 else f"{len(ends)} times"
        wire = f"the peer ended the connection {times}" if ends else "the peer sent neither FIN nor RST"
        yield f"line {call.line} reports an end, but {wire}: {quoted(call.text)}"


def _untold(side: Side, connection: Connection) -> Iterator[str]:
    """Find an end that the log does not tell of; only where it tells of such at all, or says that the event is on."""
    ends = [end for end in _ends(connection) if end.word == "rst" or end.acked]
    if not ends or side.of("disc") or not side.of("open") or _closed_before(side, connection, ends[0]):
        return
    yield f"the peer sent {_sent(ends[0])}, but the log tells of no end"


def _closed_before(side: Side, connection: Connection, end: End) -> bool:
    """Return whether the driver had closed its socket before the end reached it: then nobody need be told (R70)."""
    own = (e for e in connection.story.ends_of(connection.driver, "rst") if not e.bare)
    if end.word == "rst" and any(e.segment.time >= end.arrived_at for e in own):
        return True  # it comes from a socket that had not taken the peer's
    opened = next(iter(side.of("open")), None)
    since = None if opened is None else _ticks(opened)
    established = connection.story.established
    for one in side.lines:
        if one.data.get("op") == "close" and since is not None and established:
            return ((_ticks(one) or 0) - since) < end.arrived_at - established
    return False


def _on(side: Side) -> bool:
    """Return whether the log says that the disconnect event was switched on, and nothing that it was switched off."""
    masks = [(one.data.get("op"), mask) for one in side.lines if (mask := switched(one)) is not None]
    return any(op == "enable" and mask & Event.DISCONNECT for op, mask in masks) and not any(
        op == "disable" and mask & Event.DISCONNECT for op, mask in masks
    )


def _not_switched_on(side: Side, connection: Connection) -> Iterator[str]:
    ends = _ends(connection)
    refused = [
        one
        for one in side.lines
        if one.data.get("op") == "enable"
        and isinstance(status := one.data.get("ret", one.data.get("st")), int)
        and status >= 0xC0000000
    ]
    if refused and ends and not side.of("disc") and not _on(side):
        yield (
            f"line {refused[0].line}: the event could not be switched on, and so nothing tells of the peer's "
            f"{_sent(ends[0])}: {quoted(refused[0].text)}"
        )


def _late(told: Sequence[Told], side: Side, connection: Connection) -> Iterator[str]:
    """Find an event that the log's own clock puts long after its segment, with nothing done meanwhile."""
    opened, call = next(iter(side.of("open")), None), next(iter(side.of("disc")), None)
    ends, established = _ends(connection), connection.story.established
    if opened is None or call is None or not ends or not established:
        return
    since, at = _ticks(opened), _ticks(call)
    if since is None or at is None:
        return
    switches = [_ticks(one) or 0 for one in side.lines if one.line < call.line and switched(one) is not None]
    due = max([since + ends[0].arrived_at - established, *switches])
    if at - due > LATE and _idle(told, due, at) > SECOND:
        yield f"line {call.line} tells of the end {(at - due) / SECOND:.1f} s after the peer's {_sent(ends[0])} arrived"


def _idle(told: Sequence[Told], since: int, until: int) -> int:
    """Return the longest time between two lines of the log: a driver that is overloaded prints all the while."""
    times = sorted(time for one in told if (time := _ticks(one)) is not None and since < time < until)
    return max(after - before for before, after in pairwise([since, *times, until]))


def _ticks(one: Told) -> int | None:
    time = one.data.get("t")
    return time * _TICK if isinstance(time, int) and "seq" in one.data else None


def _bytes(side: Side, connection: Connection) -> Iterator[str]:
    for kinds, word, who in (
        (("recv", "indication"), "received", 1 - connection.driver),
        (("sent",), "sent", connection.driver),
    ):
        half = connection.story.halves[who]
        total = sum(sum(_lengths(side.of(kind), "took" if kind == "indication" else "len")) for kind in kinds)
        if total > half.payload + half.missing:
            yield f"the log counts {total} bytes {word}, the wire carried {half.payload}"


def _lengths(lines: Sequence[Told], key: str) -> Iterator[int]:
    for one in lines:
        value = one.data.get("length", one.data.get(key))
        if isinstance(value, int):
            yield value


def _graceful(side: Side, connection: Connection) -> Iterator[str]:
    first = next((e for e in connection.story.ends if e.side == connection.driver), None)
    own = side.of("disconnect")
    asked = own[0] if own and not any(one.data.get("flags") for one in own) else None
    if (
        asked is not None
        and first is not None
        and first.word == "rst"
        and not any(e.word == "rst" for e in genuine(connection))
    ):
        yield f"line {asked.line} asks for a graceful disconnect, the wire shows {_sent(first)}: {quoted(asked.text)}"


def _not_ended(side: Side, connection: Connection) -> Iterator[str]:
    """Find what the log says of the driver's own end and the wire does not show."""
    if any(e.side == connection.driver or e.word == "rst" or not e.acked for e in connection.story.ends):
        return
    asked = [one for one in (*side.of("disconnect"), *side.of("close")) if one.data.get("ret", 0) in (0, 0x103)]
    if asked and connection.story.established and not connection.story.unacked(connection.driver):
        yield (
            f"line {asked[0].line} says that the driver ended the connection, but no FIN or RST of its side is in the "
            f"capture: {quoted(asked[0].text)}"
        )


def _statuses(side: Side, connection: Connection) -> Iterator[str]:
    """Compare how pending receives ended, against what the peer sent (R43, R45)."""
    ends = genuine(connection)
    if any(e.side == connection.driver and e.word == "rst" for e in connection.story.ends) and not ends:
        return
    words = {end.word for end in ends}
    for one in side.lines:
        if one.data.get("op") != "receive" or one.kind not in ("recv", "failed"):
            continue
        if one.data.get("st") == _RESET and "rst" not in words and not _gave_up(connection):
            yield f"line {one.line}: a receive ended as reset, but the peer sent no RST: {quoted(one.text)}"
            return


def _gave_up(connection: Connection) -> bool:
    """Return whether the driver's own stack may have ended it: what it sent was not answered, or it sent an RST."""
    half = connection.story.halves[connection.driver]
    return bool(half.unanswered) or any(e.side == connection.driver and e.word == "rst" for e in connection.story.ends)


_CHECKS: tuple[Callable[[Side, Connection], Iterator[str]], ...] = (
    _flags,
    _not_switched_on,
    _bytes,
    _graceful,
    _not_ended,
    _statuses,
)


def genuine(connection: Connection) -> list[End]:
    """Return the peer's own endings that reached the driver's side: what its callback must tell of."""
    found: list[End] = []
    for end in connection.story.ends:
        # A forged segment that is exactly placed is taken by a receiver like any other.
        taken = end.arrived and (end.word == "fin" or not end.offset)
        if end.side != connection.driver and taken and not any(e.word == end.word for e in found):
            found.append(end)
    return found


def _driver_first(connection: Connection, end: End) -> bool:
    """Return whether the driver's own stack had given the connection up before: what comes then is told to nobody."""
    return any(
        e.side == connection.driver and e.word == "rst" and e.segment.time <= end.arrived_at
        for e in connection.story.ends
    )


# -- what the customer says ----------------------------------------------------------------------------------------


def expected(text: str) -> bool | None:
    """`abortive: set` or `clear` as True or False, `none` as None. Raises UsageError."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if found == "none":
        return None
    if isinstance(found, dict) and list(found) == ["abortive"] and found["abortive"] in ("set", "clear"):
        return bool(found["abortive"] == "set")
    raise UsageError(f"'{quoted(text)}' is no report of a driver; say `abortive: set`, `abortive: clear` or `none`.")


def against(connection: Connection, report: bool | None) -> str | None:
    """Where a report contradicts the wire, a sentence; None where it fits."""
    ends = genuine(connection)
    if report is None:
        return None if not ends else f"no report fits a silent peer only; it sent {_sent(ends[0])}"
    if not ends:
        return f"{_said(report)}, but the peer sent neither FIN nor RST"
    if any((end.word == "rst") == report for end in ends) or (report and _driver_first(connection, ends[0])):
        return None
    foreign = origin(connection.story, ends[0]).word == FOREIGN
    note = ", which is not the peer's own" if foreign else ""
    return f"{_said(report)}, but the peer sent {_sent(ends[0])}{note}"


def _said(report: bool) -> str:
    return f"the driver is said to have reported abortive {set_or_clear(report)}"


def _sent(end: End) -> str:
    return f"{end.segment.words} (frame {end.segment.frame})"
