"""How a connection ended, in the numbers of the ending table (C01-C63), with what speaks for it and against. Pure.

Many endings look alike on the wire: then all of them are named, the plainest first. What the wire cannot tell is said.

Long because every ending of the table has what speaks for it and against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wsklab.orchestrator.field.endings.limits import limits
from wsklab.orchestrator.field.endings.resets import FOREIGN, OWN, Origin, origin
from wsklab.orchestrator.field.endings.story import MS, SECOND, End, Half, History
from wsklab.orchestrator.field.endings.words import TABLE
from wsklab.orchestrator.field.packets.flows import Unreachable

AT_ONCE = 300 * MS
"""Data and FIN, handshake and ending: so close that a program did them in one go."""

FORGOTTEN = 2 * SECOND
"""A silence before an answering RST that a live peer would not have had."""


@dataclass(frozen=True)
class Named:
    """One row of the ending table that fits what was seen; without a number where the table has none."""

    number: str
    why: tuple[str, ...]
    against: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The row in a few words."""
        return TABLE.get(self.number, self.why[0] if self.why else "")


@dataclass(frozen=True)
class Ending:
    """What fits the end, and what happened before it that has a row of its own."""

    named: tuple[Named, ...]
    way: tuple[Named, ...]
    unknown: tuple[str, ...]
    origins: tuple[Origin, ...]  # of each FIN and RST, in their order


def ending(story: History, driver: int, errors: tuple[Unreachable, ...] = ()) -> Ending:
    """Name a connection's ending as seen from `driver`'s side."""
    return _Case(story, driver, errors).ending()


class _Case:
    """One connection, with shorthands for what the rules ask."""

    def __init__(self, story: History, driver: int, errors: tuple[Unreachable, ...]) -> None:
        self.story, self.d, self.p, self.errors = story, driver, 1 - driver, errors
        self.driver, self.peer = story.halves[driver], story.halves[1 - driver]
        self.origins = tuple(origin(story, end) for end in story.ends)
        self.of = dict(zip(map(id, story.ends), self.origins, strict=True))
        self.unknown: list[str] = []

    def ending(self) -> Ending:
        named: dict[object, Named] = {}
        for one in self._named():
            named.setdefault(one.number or one.why, one)
        way = tuple(self._way({n.number for n in named.values()}))
        unknown = (*self.unknown, *limits(self.story, self.d))
        return Ending(tuple(named.values()), way, unknown, self.origins)

    def _named(self) -> Iterator[Named]:
        if not self._established():
            yield from self._opening()
            return
        ends = sorted(
            (e for e in self.story.ends if e.arrived and not (e.word == "rst" and self._far(e))),
            key=lambda e: e.arrived_at if e.side == self.p else e.segment.time,
        )
        if not ends:
            yield from self._silence()
            return
        first = ends[0]
        peers = [e for e in ends if e.side == self.p]
        if first.side == self.d:
            yield from self._driver_first(first, ends, peers)
        elif first.word == "fin":
            yield from self._peer_fin(first, ends, peers)
        else:
            yield from self._peer_rst(first)

    def _established(self) -> bool:
        syn, answer, final = self.story.opened
        return final or not syn or (answer and any(h.payload for h in self.story.halves))

    # -- the handshake ------------------------------------------------------------------------------------------------

    def _opening(self) -> Iterator[Named]:
        story, ends = self.story, self.story.ends
        if story.opener == self.p:
            refused = next((e for e in ends if e.side == self.d), None)
            yield Named("", (f"the driver's side {'refused' if refused else 'did not accept'} the peer's connection",))
            return
        answer = next((e for e in ends if e.side == self.p and e.word == "rst"), None)
        if self.errors:
            yield Named("C23", (f"frame {self.errors[0].frame}: ICMP unreachable answers the SYN",))
        elif answer and not story.opened[1]:
            yield Named("C21", (f"frame {answer.segment.frame}: {answer.segment.words} answers the SYN",))
        elif answer:
            yield Named("C25", (f"frame {answer.segment.frame}: {answer.segment.words} within the handshake",))
        elif not story.opened[1]:
            yield Named("C22", (f"{max(1, story.syns)} SYN, no answer",))
            yield Named("C28", (), ("nothing shows that the driver closed meanwhile",))
        else:
            yield Named("C22", ("the SYN was answered, the answer not acknowledged",))
            yield Named("C28", ("the driver's side did not finish the handshake",))

    # -- the peer ends first ------------------------------------------------------------------------------------------

    def _peer_fin(self, fin: End, ends: list[End], peers: list[End]) -> Iterator[Named]:
        seen = self._frame(fin)
        if self.of[id(fin)].word == FOREIGN:
            yield Named("C63", (seen, *self.of[id(fin)].signs))
            return
        reset = next((e for e in peers if e.word == "rst" and self.of[id(e)].word != FOREIGN), None)
        own = next((e for e in ends if e.side == self.d), None)
        if own is not None and not self._covers(own, fin):
            crossing = f"{self._frame(own)} does not acknowledge it"
            yield Named("C52" if own.word == "fin" else "C56", (seen, crossing))
        if self.driver.zero_windows or self.peer.filled_windows:
            yield Named("C47", (seen, "the driver's window had been full"))
        if reset is not None and reset.bare and fin.copies and not fin.acked:
            yield Named("C43", (seen, f"sent {fin.copies + 1} times, never acknowledged", self._frame(reset)))
            return
        if reset is not None:
            after = self.driver.after_fin
            if not reset.bare:
                yield Named("C16", (seen, f"{self._frame(reset)} is of a socket that was still there"))
            if after and self.driver.data_at_fin is not None:
                sent = f"the driver sent {after} bytes after it, {self._frame(reset)} answers"
                late = self.driver.data_at_fin - fin.segment.time > FORGOTTEN
                for number in ("C18", "C17", "C03") if late else ("C17", "C03", "C18"):
                    yield Named(number, (seen, sent))
            yield Named("C16", (seen, self._frame(reset)), ("the driver had sent in between",) if after else ())
            return
        if not fin.acked and fin.copies > 1 and not self.driver.after_fin:
            yield Named("C43", (seen, f"sent {fin.copies + 1} times, never acknowledged"))
            yield Named("C46", (seen, f"sent {fin.copies + 1} times, the driver's side does not answer"))
        if self.driver.after_fin_acked:
            yield Named("C02", (seen, f"the driver sent {self.driver.after_fin} bytes after it, acknowledged"))
        yield from self._plain_fin(fin, seen)

    def _plain_fin(self, fin: End, seen: str) -> Iterator[Named]:
        behind = [seen, "the driver's side acknowledged it"] if fin.acked else [seen]
        if fin.segment.length:
            yield Named("C08", (*behind, f"it carries {fin.segment.length} bytes"))
            yield Named("C07", tuple(behind), ("data and FIN came in one segment",))
        elif self.peer.last_data is not None and fin.segment.time - self.peer.last_data < AT_ONCE:
            yield Named("C07", (*behind, "data right before it"))
        yield Named("C01", tuple(behind))
        if not self.peer.payload and not self.driver.payload and self._soon(fin):
            yield Named("C26", (*behind, "right after the handshake, no data"))
        for number in ("C06", "C12", "C15"):
            yield Named(number, tuple(behind))
        yield Named("C02", tuple(behind), ("nothing was sent to the peer after it",))
        self.unknown.append("whether the peer's program closed, exited or was killed: a kernel sends the same FIN")

    def _peer_rst(self, rst: End) -> Iterator[Named]:
        seen, foreign = self._frame(rst), self.of[id(rst)]
        own = next((e for e in self.story.ends_of(self.d, "rst") if not e.bare), None)
        if own is not None and own.segment.time >= rst.segment.time and not self._far(own):
            yield Named("C57", (seen, f"{self._frame(own)} comes from a socket that had not taken it"))
        last = self.driver.last_data
        if foreign.word == FOREIGN:
            numbers = ["C58" if rst.bare else "C59"]
            behind_data = last is not None and 0 <= rst.segment.time - last < AT_ONCE
            through = behind_data and not rst.unacked[self.d]
            numbers = ["C41", *numbers] if behind_data and not through else [*numbers, "C41"]
            for number in numbers:
                let = ("what the driver had sent was acknowledged",) if through and number == "C41" else ()
                yield Named(number, (seen, *foreign.signs), let)
            return
        if rst.bare:
            yield from self._forgotten(rst, seen)
            return
        doubts = () if foreign.word == OWN else foreign.signs
        for named in self._abort(rst, seen):
            yield Named(named.number, named.why, (*named.against, *doubts))
        self.unknown.append("why the peer aborted: SO_LINGER 0, unread bytes and a killed program send the same RST")

    def _forgotten(self, rst: End, seen: str) -> Iterator[Named]:
        """Recognise a bare RST: no socket (any more) that the driver's segment belongs to (RFC 9293, 3.10.7.1)."""
        silent = rst.segment.time - max(self._last_of_peer(rst), self.story.begin)
        lost = any(e.side == self.p and e.word == "fin" and not (e.arrived and e.acked) for e in self.story.ends)
        why = (seen, f"it answers the driver's segment, {silent / SECOND:.1f} s after the peer's last one")
        if lost:
            yield Named("C43", (*why, "the peer's FIN had not come through"))
        if self.peer.unanswered or self.peer.retransmissions:
            yield Named("C45", (*why, "the peer had sent again in vain before"))
        yield Named("C33", why)
        if not lost:
            yield Named("C43", why, ("no FIN of the peer was seen",))
        yield Named("C32", why, () if silent > FORGOTTEN else ("hardly time for a restart",))
        yield Named("C41", why, ("TTL and identification are the peer's",))
        yield Named("C17", why, ("no FIN was seen before it",))
        yield Named("C58", why, ("it has the number of an answer", *self.of[id(rst)].signs))
        self.unknown.append("whether the peer was restarted, forgot the connection, or a firewall answered in its name")

    def _abort(self, rst: End, seen: str) -> Iterator[Named]:
        story, d, p = self.story, self.driver, self.peer
        if d.zero_windows or p.filled_windows:
            yield Named("C48", (seen, "the driver's window had been full"))
        if p.keepalives and p.probed:
            yield Named("C44", (seen, f"{p.keepalives} keepalive probes of the peer before it"))
        if p.zero_windows or d.window_probes or d.filled_windows:
            yield Named("C49", (seen, "the peer's window had been full"))
        if rst.unacked[self.d] and d.payload > 20_000:
            yield Named("C51", (seen, f"{rst.unacked[self.d]} bytes of the driver were on their way"))
            yield Named("C49", (seen, "the driver was sending"), ("the peer's window was never full",))
        if rst.reply == "data":
            yield Named("C33", (seen, "the driver sent after it: perhaps it had not arrived"))
        nothing = not d.payload and not p.payload
        read = ("the driver had sent nothing that could be unread",)
        if d.last_data is not None and (p.last_data is None or p.last_data <= d.last_data):
            why = (seen, "the driver's last bytes were acknowledged and not answered: perhaps unread")
            for number in ("C11", "C10", "C13") if p.payload else ("C10", "C13"):
                yield Named(number, why)
        if p.last_data is not None and rst.segment.time - p.last_data < SECOND:
            yield Named("C09", (seen, "data right before it"))
            if d.payload:
                yield Named("C11", (seen, "both sides had sent; the driver's bytes were perhaps unread"))
                yield Named("C51", (seen, "both sides were sending"), ("nothing was unacknowledged",))
        if nothing and self._soon(rst):
            for number in ("C05", "C25", "C24"):
                yield Named(number, (seen, "right after the handshake, no data"))
        for number in ("C05", "C14", "C19"):
            yield Named(number, (seen,))
        yield Named("C10", (seen,), read if not d.payload else ())
        if rst.unacked[self.p]:
            lost = f"{rst.unacked[self.p]} bytes of the peer were not acknowledged"
            yield Named("C48", (seen, lost), ("the driver's window was never full",))
        for number in ("C59", "C41"):
            yield Named(number, (seen, *self.of[id(rst)].signs), ("no strong sign that it is not the peer's own",))
        if story.halves[self.p].fin_at is None and rst.unacked[self.d]:
            yield Named("C51", (seen, f"{rst.unacked[self.d]} bytes of the driver were unacknowledged"))

    # -- the driver's side ends first ---------------------------------------------------------------------------------

    def _driver_first(self, first: End, ends: list[End], peers: list[End]) -> Iterator[Named]:
        seen = self._frame(first)
        if self.of[id(first)].word == FOREIGN:
            yield Named("", (f"{seen} in the driver's name: {'; '.join(self.of[id(first)].signs)}",))
            return
        answer = next(iter(peers), None)
        if first.word == "rst":
            late = (e for e in self.story.ends if e.side == self.p and not e.damaged and not self._far(e))
            lost = next((e for e in late if not e.arrived or e.arrived_at >= first.segment.time), None)
            if lost is not None:
                yield Named("C56" if lost.word == "fin" else "C57", (seen, f"{self._frame(lost)} crosses it"))
            if first.bare and self.driver.recovered >= 2:
                gone = f"{self.driver.recovered} times sent again, and what answers at last finds no connection"
                for number in ("C35", "C30", "C40", "C37", "C38"):
                    yield Named(number, (seen, gone))
            yield from self._silence(first)
            return
        if answer is None:
            if first.unacked[self.d] or self.peer.zero_windows:
                yield Named("C50", (seen, "bytes before it were not acknowledged"))
            if not first.acked and self.driver.unanswered:
                yield from self._silence(first)
            yield Named("C54", (seen, "the peer acknowledged it" if first.acked else "not acknowledged"))
            yield from self._quiet(seen)
        elif answer.word == "rst":
            yield Named("C55", (seen, self._frame(answer)))
            if not self._covers(answer, first):
                yield Named("C57", (seen, f"{self._frame(answer)} crosses it"))
        elif not self._covers(answer, first):
            yield Named("C52", (seen, f"{self._frame(answer)} does not acknowledge it"))
        else:
            yield Named("C53", (seen, self._frame(answer)))
            yield from self._quiet(seen)

    # -- nobody ends --------------------------------------------------------------------------------------------------

    def _silence(self, abort: End | None = None) -> Iterator[Named]:
        """No ending of the peer was seen; `abort`: the driver's side gave up by itself."""
        d, p = self.driver, self.peer
        seen = (self._frame(abort),) if abort is not None else ("neither FIN nor RST",)
        if d.window_probes or p.window == 0 or d.filled_windows:
            yield Named("C50", (*seen, "the peer's window was full"))
        if d.keepalives and d.unanswered:
            yield Named("C31", (*seen, f"{d.keepalives} keepalive probes of the driver's side, the last unanswered"))
        elif abort is not None and abort.unacked[self.d] and not d.unanswered and self._heard_until(abort):
            why = f"{abort.unacked[self.d]} bytes of the driver were on their way"
            yield Named("C50", (*seen, why), ("the peer's window was never full",))
        elif d.unanswered or (abort is not None and abort.unacked[self.d]):
            again = (*seen, f"{d.retransmissions} retransmissions of the driver's side, the last unanswered")
            for number in ("C30", "C35", "C40", "C37", "C38"):
                yield Named(number, again)
        if p.filled_windows:
            yield Named("C47", (*seen, "the driver's window was full: a FIN would stand behind the data"))
        if p.keepalives and p.probed:
            yield Named("C44", (*seen, "the peer's keepalive probes are not answered"))
        elif p.unanswered or self.story.unacked(self.p):
            for number in ("C46", "C45", "C43") if self.peer.fin_at is not None else ("C46", "C45"):
                yield Named(number, (*seen, "what the peer sends again is not answered"))
        if abort is not None:
            yield Named("", (f"the driver's side aborted, frame {abort.segment.frame}",))
        yield from self._quiet(seen[0])
        if abort is None:
            self.unknown.append("whether the connection ended after the capture, or is still open")

    def _quiet(self, seen: str) -> Iterator[Named]:
        """Yield what leaves no trace on the wire, and so may have been before."""
        for number in ("C29", "C04", "C33", "C40", "C37", "C38"):
            yield Named(number, (seen,), ("nothing on the wire speaks for it; it would leave no trace",))

    # -- before the end -----------------------------------------------------------------------------------------------

    def _way(self, named: set[str]) -> Iterator[Named]:
        """Yield what happened before the end, and has a row of its own."""
        d, p = self.driver, self.peer
        for end, found in zip(self.story.ends, self.origins, strict=True):
            if end.word == "rst" and self._far(end):
                inside = 0 < end.offset < self._window(self.story.halves[1 - end.side])
                yield Named("C60" if inside else "C61", (self._frame(end), *found.signs))
            elif end.damaged:
                yield Named("C61", (self._frame(end), "its checksum is wrong: its receiver drops it"))
            elif found.word == FOREIGN and end.side == self.p and end.word == "rst":
                yield Named("C58" if end.bare else "C59", (self._frame(end), *found.signs))
        for syn in self.story.odd_syns[:1]:
            yield Named("C62", (f"frame {syn.frame}: a SYN within the connection",))
        if self.errors and "C23" not in named:
            yield Named("C42", (f"frame {self.errors[0].frame}: ICMP unreachable",))
        if (self.driver.recovered >= 2 or p.recovered >= 2) and "C35" not in named:
            for number in ("C36", "C34", "C39"):
                yield Named(number, (f"{max(d.recovered, p.recovered)} times sent again before it was answered",))
        if p.keepalives >= 2 and "C44" not in named:
            yield Named("C44", (f"{p.keepalives} keepalive probes of the peer",))
        if d.zero_windows and not named & {"C47", "C48"}:
            yield Named("C47", ("the driver's window was 0 for a while",))
        if (p.zero_windows or d.window_probes) and not named & {"C49", "C50"}:
            yield Named("C50", ("the peer's window was 0 for a while",))

    # -- shorthands ---------------------------------------------------------------------------------------------------

    def _frame(self, end: End) -> str:
        who = "driver" if end.side == self.d else "peer"
        return f"frame {end.segment.frame}: {end.segment.words} of the {who}"

    def _soon(self, end: End) -> bool:
        return 0 <= end.segment.time - (self.story.established or end.segment.time) < SECOND

    def _heard_until(self, end: End) -> bool:
        """Whether the other side was heard shortly before."""
        last = self.story.halves[1 - end.side].last
        return 0 <= end.segment.time - last < SECOND

    def _far(self, end: End) -> bool:
        """Tell whether an RST is one that a receiver by RFC 5961 does not take."""
        return bool(end.offset) and bool(self.story.halves[end.side].segments > 1)

    def _window(self, half: Half) -> int:
        shift = self.story.shifts[self.story.halves.index(half)] or 0
        return max((half.window or 0) << shift, 1)

    def _covers(self, one: End, other: End) -> bool:
        """Whether `one` acknowledges the FIN `other`."""
        fin = (other.segment.seq + other.segment.length) & 0xFFFFFFFF
        return bool((one.segment.ack - fin - 1) & 0x80000000 == 0) and not one.bare

    def _last_of_peer(self, rst: End) -> int:
        return max((t for t in (self.peer.last_data, self.story.established) if t and t < rst.segment.time), default=0)
