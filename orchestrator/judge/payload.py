"""The bytes of a connection: what one side was to send against what the other received, in order. Pure.

Every send is of the known pattern, so that a stream is known without its bytes; both ends tell the sum of what they
received. What was refused, drained or lost with a reset is not missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from wsklab.drivers.protocol import FNV1A_START, Flag, fnv1a, pattern
from wsklab.orchestrator.judge.integrity import Statement
from wsklab.orchestrator.judge.reading import FEW, Facts, succeeded
from wsklab.orchestrator.observe.driver_lines import Call, Completion, ReceiveEvent
from wsklab.orchestrator.observe.foreign_lines import ForeignReceive
from wsklab.orchestrator.observe.lab_notes import ForeignStarted
from wsklab.orchestrator.observe.peer_replies import PeerReply

PERIOD = 256
"""The pattern begins again after so many bytes."""

LONGEST = 1 << 16
"""Bytes of a send up to which the peer program's own sum is proven, so that a verdict takes no second."""


@dataclass(frozen=True)
class Stream:
    """What one side was to send, as pieces of the pattern: first byte and length; `whole`: nothing is to follow."""

    pieces: tuple[tuple[int, int], ...]
    whole: bool

    @property
    def length(self) -> int:
        """All bytes that are known of."""
        return sum(length for _, length in self.pieces)

    def sum(self, start: int, length: int) -> int | None:
        """FNV-1a of `length` bytes from `start` on; None where the stream is not known as far as that."""
        if start + length > self.length:
            return None
        total = FNV1A_START
        for first, here in self.pieces:
            skipped = min(start, here)
            taken = min(here - skipped, length)
            total = _continued(total, (first + skipped) % PERIOD, taken)
            start, length = start - skipped, length - taken
        return total


@lru_cache(maxsize=4096)
def _continued(total: int, first: int, length: int) -> int:
    return fnv1a(pattern(first, length), total)


@dataclass(frozen=True)
class Piece:
    """Bytes that an end has seen: their sum, and how many of them it took."""

    what: str
    length: int
    took: int
    sum: int


def payload(facts: Facts) -> Iterator[Statement]:
    """Every byte came as it was sent, in both directions, and before a FIN every one of them."""
    for conn in facts.connections:
        where = f"connection {conn}: " if facts.scenario.connections > 1 else ""
        sent_by_peer, sent_by_driver = _peers(facts, conn), _drivers(facts, conn)
        for reply in _replies(facts, conn, "send"):
            if reply.length <= LONGEST and reply.sum != _continued(FNV1A_START, 0, reply.length):
                yield "infra", f"{where}the peer program sent other bytes than the pattern"
        received, ended = _driver_received(facts, conn)
        threads = facts.scenario.socket.concurrent
        yield from _compare(where, received, ended, sent_by_peer, "the peer sent", threads)
        received, ended = _peer_received(facts, conn)
        yield from _compare(where, received, ended, sent_by_driver, "the driver was to send")


OVERTAKEN = 3
"""Lines of one connection's bytes, of which the last may stand first when several threads print them."""


def _compare(
    where: str, received: Sequence[Piece], ended: bool, sent: Stream | None, who: str, loosely: bool = False
) -> Iterator[Statement]:
    """`loosely`: threads that run side by side print their lines in another order than the bytes have."""
    if sent is None:
        return
    at, left = 0, list(received)
    while left:
        fits = (n for n, one in enumerate(left[:OVERTAKEN]) if loosely and sent.sum(at, one.length) == one.sum)
        piece = left.pop(next(fits, 0))
        wanted = sent.sum(at, piece.length)
        if wanted is None:
            if sent.whole:
                yield "fail", f"{where}{piece.what} more than the {sent.length} bytes that {who}"
            return
        if wanted != piece.sum:
            yield (
                "fail",
                (f"{where}{piece.what} other bytes than {who} (bytes {at} to {at + piece.length - 1} of the stream)"),
            )
            return
        at += piece.took
    if ended and sent.whole and at != sent.length:
        who = who.replace("was to send", "had sent").replace("the peer sent", "the peer had sent")
        yield "fail", f"{where}the end of the stream came after {at} bytes, {who} {sent.length}"


# --- what was sent ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moved:
    """Bytes that the peer program says it has sent or received; `eof`: the end of the stream came behind them."""

    length: int
    sum: int
    eof: bool


def _replies(facts: Facts, conn: int, do: str) -> list[Moved]:
    return [
        Moved(o.bytes, int(o.sum, 16), bool(o.eof))
        for o in facts.of(PeerReply, conn)
        if o.do == do and o.bytes is not None and o.sum is not None
    ]


def _peers(facts: Facts, conn: int) -> Stream:
    """Return the peer's stream; not whole where a send has not been answered, or where the wire plays the peer."""
    played = [step for step in facts.scenario.steps if step.wire is not None and step.wire.play is not None]
    if played:
        segments = [one for step in played if step.wire and step.wire.play for one in step.wire.play.segments]
        return Stream(((0, max(0, max(one.seq - 1 + one.length for one in segments))),), whole=False)
    asked = sum(step.actor == "peer" and step.verb in ("send", "fill") for step in facts.steps())
    replies = _replies(facts, conn, "send")
    whole = asked == sum(o.do == "send" for o in facts.of(PeerReply))
    return Stream(tuple((0, reply.length) for reply in replies), whole)


def _drivers(facts: Facts, conn: int) -> Stream | None:
    """Return the driver's stream, by its calls in their order.

    None where it does not print them all, or is another's.
    """
    if facts.scenario.connections > FEW or facts.everywhere(ForeignStarted):
        return None
    calls = sorted(
        (o for o in facts.of(Call, conn) if o.op in ("send", "disconnect")),
        key=lambda o: o.seq,
    )
    pieces = [(o.seed, o.length) for o in calls if o.seed is not None and o.length is not None]
    if len(pieces) < len(calls):
        return None
    whole = all((done := facts.outcomes.get(o.id)) is not None and succeeded(done.status) for o in calls)
    return Stream(tuple(pieces), whole)


# --- what was received ------------------------------------------------------------------------------------------------


def _driver_received(facts: Facts, conn: int) -> tuple[list[Piece], bool]:
    """Return what WskReceive and WskReceiveEvent brought, and whether WskReceive has told of the end of the stream.

    After a receive that drains (R48) or fails, it is not known where in the stream the next one stands.
    """
    calls = facts.returns
    pieces: list[Piece] = []
    told: list[Completion | ReceiveEvent] = [*facts.completions("receive", conn), *facts.of(ReceiveEvent, conn)]
    summed = [(o, o.sum) for o in told if o.sum is not None]
    if len(summed) < len(told) or facts.of(ForeignReceive, conn):
        return [], False
    for o, total in sorted(summed, key=lambda pair: pair[0].seq):
        if isinstance(o, ReceiveEvent):
            pieces.append(Piece("WskReceiveEvent brought", o.length, o.took, total))
            continue
        flags, room = _asked(calls.get(o.id))
        if flags & Flag.DRAIN or not succeeded(o.status):
            break
        if o.length == 0 and room > 0:
            return pieces, True
        pieces.append(Piece("WskReceive brought", o.length, o.length, total))
    return pieces, False


def _asked(call: Call | None) -> tuple[int, int]:
    """With which flags, and for how many bytes, a receive was posted, as far as its call tells."""
    if call is None:
        return 0, 1
    return call.flags or 0, 1 if call.length is None else call.length


def _peer_received(facts: Facts, conn: int) -> tuple[list[Piece], bool]:
    """Return what the peer program read, and whether it has read to the end of the stream."""
    replies = _replies(facts, conn, "receive")
    pieces = [Piece("the peer received", reply.length, reply.length, reply.sum) for reply in replies]
    return pieces, any(reply.eof for reply in replies)
