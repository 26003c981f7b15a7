"""Where a driver's debug text contradicts itself, or tells of a call that no driver may make. Pure.

What needs the words that only the lab's own driver prints (its calls and their completions) is silent for others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wsklab.common.text import quoted
from wsklab.drivers.protocol import Event
from wsklab.orchestrator.field.debug_text.debugtext import ABORTIVE, Side, Told

USES_AFTER_ABORT = 5
"""Calls that fail after an abort was told of: so many are no last attempt."""

_COUNTS = ("sockets", "irps", "indications", "allocs")


def within_log(told: Sequence[Told], sides: Sequence[Side]) -> Iterator[tuple[Side | None, str]]:
    """Say where the log cannot be true, or the driver did what it must not, with the connection where it is one's."""
    for text in _gaps(told):
        yield None, text
    for side in sides:
        for check in _OF_ONE:
            for text in check(side):
                yield side, text
    yield from _shared_contexts(sides)
    for text in _left(told):
        yield None, text


def _words(side: Side) -> Iterator[str]:
    for one in side.of("disc"):
        flag, word = one.data.get("flags"), one.data.get("abortive")
        if isinstance(flag, int) and word is not None and bool(flag & ABORTIVE) != bool(word):
            yield f"line {one.line}: the flags say {set_or_clear(bool(flag & ABORTIVE))}, the words " + set_or_clear(
                bool(word)
            )


def _contexts(side: Side) -> Iterator[str]:
    ends = side.of("disc")
    if ends and len({one.data["cookie"] for one in (*side.of("open"), *ends) if "cookie" in one.data}) > 1:
        yield f"line {ends[0].line} tells of the end with another context than the connection was opened with"


def _closing(side: Side) -> Iterator[str]:
    """Find a close that was never called, a call after the close, an event after it."""
    closed = next(iter(side.of("close")), None)
    calls = [one for one in side.lines if one.kind in ("call", "disconnect")]
    closing = next((one for one in calls if one.data.get("op") == "close"), None)
    if closed is not None and "id" in closed.data and closing is None:
        yield f"line {closed.line} says that the socket is closed, but no line tells that a close was called"
    for one in side.of("disc"):
        if closed is not None and one.line > closed.line:
            yield f"line {one.line} tells of an end after line {closed.line} closed the socket: {quoted(one.text)}"
    for one in calls:
        if closing is not None and one.line > closing.line and one.data.get("op") != "close":
            yield f"line {one.line} calls WSK for a socket that line {closing.line} closed: {quoted(one.text)}"


def _events(side: Side) -> Iterator[str]:
    """Name events that the log says are off."""
    asked = off = 0
    where: Told | None = None
    for one in side.lines:
        mask = switched(one)
        if mask is not None and one.data.get("op") == "enable":
            asked, off = asked | mask, off & ~mask
        elif mask is not None:
            off, where = off | mask, one
        elif one.kind == "disc" and off & Event.DISCONNECT and where is not None:
            yield f"line {one.line} tells of an end, but line {where.line} has switched that event off"
        elif one.kind == "indication" and asked and not asked & Event.RECEIVE:
            yield f"line {one.line}: WskReceiveEvent was called, but no line has switched it on"
            return


def switched(one: Told) -> int | None:
    """Return the events that a successful call has switched, on or off by its `op`; None for any other line."""
    mask, done = one.data.get("mask"), one.data.get("ret") == 0 or one.data.get("st") == 0
    return mask if one.data.get("op") in ("enable", "disable") and done and isinstance(mask, int) else None


def _lengths(side: Side) -> Iterator[str]:
    """Find sends that end in success with another length than they were called with."""
    asked = {one.data.get("id"): one for one in side.lines if one.kind == "call" and one.data.get("op") == "send"}
    for done in side.of("sent"):
        call = asked.get(done.data.get("id"))
        if call is not None and done.data.get("len") != call.data.get("len"):
            yield (
                f"line {done.line}: a send of {call.data.get('len')} bytes (line {call.line}) ended in success with "
                f"{done.data.get('len')}"
            )


def _after_abort(side: Side) -> Iterator[str]:
    abort = next((one for one in side.of("disc") if one.abortive), None)
    if abort is None:
        return
    failed = [one for one in side.of("failed") if one.line > abort.line and one.data.get("op") == "send"]
    if len(failed) >= USES_AFTER_ABORT:
        yield (
            f"line {abort.line} tells of an abort, and {len(failed)} sends after it fail, from line {failed[0].line} "
            "on: the driver goes on as if nothing had been"
        )


def _shared_contexts(sides: Sequence[Side]) -> Iterator[tuple[Side, str]]:
    """Name two connections that were open at the same time, with one context."""
    users: dict[object, Side] = {}
    for side in sides:
        opened = next((one for one in side.of("open") if "cookie" in one.data), None)
        if opened is None:
            continue
        other = users.get(opened.data["cookie"])
        if other is not None and other.conn != side.conn and not _over(other, opened.line):
            yield side, f"line {opened.line} opens a connection with the context of connection {other.conn} of the log"
        users[opened.data["cookie"]] = side


def _over(side: Side, line: int) -> bool:
    return any(one.line < line for one in side.of("close"))


def _gaps(told: Sequence[Told]) -> Iterator[str]:
    """Name numbers that the driver counts its lines by, and that are missing: lines may come in another order."""
    numbers = [(seq, one.line) for one in told if isinstance(seq := one.data.get("seq"), int)]
    if not numbers:
        return
    seen = {seq for seq, _ in numbers}
    begun, missing = min(seen), list[int]()
    for seq in range(begun, min(max(seen), begun + len(told) * 2)):
        if seq not in seen:
            missing.append(seq)
    if missing:
        yield (
            f"the log is not whole: {len(missing)} of its lines are missing, the first of them number {missing[0]}; "
            "what else does not fit may be that"
        )


def _left(told: Sequence[Told]) -> Iterator[str]:
    """Find what the driver itself counts as left when all is closed."""
    for one in told:
        left = {key: one.data.get(key) for key in _COUNTS if one.data.get(key)}
        if one.kind == "clean" and left:
            words = ", ".join(f"{key} {value}" for key, value in left.items())
            yield f"line {one.line}: everything is closed, and the driver still counts {words}"


def set_or_clear(value: bool) -> str:
    """Return a flag's state in words."""
    return "set" if value else "clear"


_OF_ONE = (_words, _contexts, _closing, _events, _lengths, _after_abort)
