"""A connection's story told from its segments, one after the other. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from wsklab.orchestrator.field.endings.story import MS, SECOND, End, Half, History, opening
from wsklab.orchestrator.field.packets.segments import CUT, KEPT, REVERSED, STAMPED, WRONG_SUM, Segment
from wsklab.qemu.wire.frames import ACK, FIN, RST, SYN

MOST_SYNS = 8
"""SYNs within a connection that are kept."""

MOST_ENDS = 16
"""FINs and RSTs of a connection that are kept."""

_RECENT = 256


def follow(
    segments: Sequence[Segment], lab: bool = False, shifts: tuple[int | None, int | None] = (None, None)
) -> History:
    """Tell one connection's story. `lab`: a recording of the lab's own wire, whose lanes say who made a frame."""
    opener, opened = opening(segments)
    story = History((Half(), Half()), opener, opened, shifts=shifts)
    story.begin, story.end = min(s.time for s in segments), max(s.time for s in segments)
    story.first_frame, story.last_frame = segments[0].frame, segments[-1].frame
    _Follower(story, lab).follow(segments)
    return story


class _Follower:
    """The state that only the telling needs."""

    def __init__(self, story: History, lab: bool) -> None:
        self.story, self.lab = story, lab
        self.base: list[int | None] = [None, None]
        self.known: list[dict[tuple[int, int, int, int, int], Segment]] = [{}, {}]
        self.gaps: list[list[list[int]]] = [[], []]
        self.answered = [0, 0]  # what either side last acknowledged, as it was sent
        self.acks: list[deque[int]] = [deque(maxlen=64), deque(maxlen=64)]  # acknowledgement numbers of either side
        self.sums = [True, True]  # whether a wrong checksum means damage
        self.last: Segment | None = None

    def follow(self, segments: Sequence[Segment]) -> None:
        for side in (0, 1):
            own = [s.marks & WRONG_SUM != 0 for s in segments if s.marks & REVERSED == side]
            self.sums[side] = 2 * sum(own) <= len(own)
        for segment in segments:
            side = segment.marks & REVERSED
            half = self.story.halves[side]
            if self._copy(side, half, segment):
                continue
            half.segments += 1
            half.last = segment.time
            if half.segments <= 64 or segment.flags & (FIN | RST):
                half.ttls[segment.ttl] = half.ttls.get(segment.ttl, 0) + 1
            half.wrong_sums += segment.marks & WRONG_SUM != 0
            half.cut += segment.marks & CUT != 0
            half.stamps += segment.marks & STAMPED != 0
            if segment.length > half.largest:
                half.largest = segment.length
            if self.lab and segment.lane & 3 == 1 and self.story.driver_lane is None:
                self.story.driver_lane = side if segment.lane >> 2 == 0 else 1 - side
            if self.lab and segment.lane & 3 == 2:
                self._made(side, segment)
            elif segment.flags & RST:
                self._rst(side, segment)
            else:
                self._stream(side, half, segment)
            half.idents = [*half.idents[-3:], segment.ident]
            self.last = segment
        for side, half in enumerate(self.story.halves):
            half.missing += sum(high - low for low, high in self.gaps[side] if high <= half.acked)

    def _copy(self, side: int, half: Half, segment: Segment) -> bool:
        """Whether this is a packet seen before: captured or delivered twice, or delivered late."""
        known = self.known[side]
        key = (segment.ident, segment.seq, segment.ack, segment.flags, segment.length)
        first = known.get(key)
        if first is None or first.stamp != segment.stamp:
            if len(known) > _RECENT:
                known.clear()
            known[key] = segment
            return False
        near, other = abs(segment.time - first.time) < MS, first.lane != segment.lane
        passed_on = first.lane & 3 == 1 and segment.lane & 3 == 2
        if not (
            passed_on or (near and other) or (segment.ident and (other or abs(segment.time - first.time) < SECOND))
        ):
            return False
        half.copies += 1
        damaged = bool(segment.marks & WRONG_SUM) and self.sums[side]
        for end in self.story.ends:
            if end.side == side and end.segment is first and damaged:
                end.damaged, end.copies = not end.arrived, end.copies + 1
            elif end.side == side and end.segment is first:
                end.arrived, end.arrived_at, end.copies = True, segment.time, end.copies + 1
        return True

    def _at(self, side: int, seq: int) -> int:
        """Return the position of a sequence number: the one nearest to what was seen last."""
        base = self.base[side]
        if base is None:
            self.base[side] = base = (seq - 1) & 0xFFFFFFFF
            self.story.halves[side].next = self.story.halves[side].acked = 1
        near = self.story.halves[side].next
        return near + ((seq - base - near + 0x80000000) & 0xFFFFFFFF) - 0x80000000

    def _stream(self, side: int, half: Half, segment: Segment) -> None:
        flags, length = segment.flags, segment.length
        story, other = self.story, self.story.halves[1 - side]
        if flags & SYN:
            if self.base[side] is None:
                self.base[side] = segment.seq
                half.next, half.acked = 1, 0
            elif (segment.seq - (self.base[side] or 0)) & 0xFFFFFFFF:
                self._odd_syn(segment)
                return
            elif not length:
                half.retransmissions += 1
                half.unanswered += 1
            story.syns += not flags & ACK
        at = self._at(side, segment.seq) + (flags & SYN != 0)
        end = at + length + (flags & FIN != 0)
        sends = length or flags & (SYN | FIN)
        if flags & ACK:
            self._acknowledge(side, segment)
        if not flags & SYN and self._probe(half, other, segment, at):
            return
        if end > half.next + 0x40000000 or end < half.next - 0x40000000:
            return  # no part of this stream: forged, or a stray of an older connection
        if sends and not flags & SYN:
            self._sent(side, half, segment, at, end)
        if flags & FIN:
            self._fin(side, segment, at + length)
        window = segment.window
        if window == 0 and half.window != 0 and not flags & SYN:
            half.zero_windows += 1
        half.window = window
        if not story.established and not flags & SYN and story.opened[1] and side == story.opener:
            story.established = segment.time
        for past in story.ends:
            self._later(past, side, segment, at, end)

    def _acknowledge(self, side: int, segment: Segment) -> None:
        other = self.story.halves[1 - side]
        at = self._at(1 - side, segment.ack)
        self.answered[side] = at
        self.acks[side].append(segment.ack)
        if at > other.acked and at <= other.next + 0x40000000:
            if at > other.next:  # acknowledged, but never captured
                other.missing += at - other.next
                other.next = at
            other.acked = at
            other.recovered = max(other.recovered, other.unanswered)
            other.unanswered = 0
            fin = other.fin_at
            for end in self.story.ends:
                if end.side != side and end.word == "fin" and fin is not None and at > end.at:
                    end.acked = True
            if self.story.halves[side].fin_at is not None and other.after_fin:
                other.after_fin_acked = True
        elif at == other.next and other.unanswered:
            other.recovered = max(other.recovered, other.unanswered)
            other.unanswered = 0

    def _probe(self, half: Half, other: Half, segment: Segment, at: int) -> bool:
        if segment.length > 1 or segment.flags & (SYN | FIN) or not half.segments > 1:
            return False
        half.probed = False
        old = at == half.next - 1
        if not old and not (segment.length == 1 and other.window == 0 and at == half.next):
            return False
        if segment.length == 0 and self.last is not None and half.fin_at is not None and at == half.fin_at:
            return False  # an ACK of somebody who does not know of "his" FIN
        if other.window == 0:
            half.window_probes += 1
        elif segment.length == 1 and half.acked <= at:
            return False  # one byte, not yet acknowledged: sent again
        else:
            half.keepalives += 1
        half.unanswered += 1
        half.probed = True
        return True

    def _sent(self, side: int, half: Half, segment: Segment, at: int, end: int) -> None:
        """Bytes or a FIN."""
        length = segment.length
        if end <= half.next:
            filled = self._fill(side, at, end)
            if filled:
                half.out_of_order += 1
                half.payload += min(filled, length)
            else:
                half.retransmissions += 1
                half.unanswered += 1
        else:
            if at > half.next:
                self.gaps[side].append([half.next, at])
                del self.gaps[side][:-64]
            half.payload += min(length, end - half.next)
            half.next = end
            shift, window = self.story.shifts[1 - side], self.story.halves[1 - side].window
            if length and shift is not None and window is not None:
                half.filled_windows += end - half.acked + half.largest > window << shift
        if length:
            half.first_data = half.first_data if half.first_data is not None else segment.time
            half.last_data = segment.time
            other = self.story.halves[1 - side]
            if other.fin_at is not None and self.answered[side] > other.fin_at:
                half.after_fin += length
                half.data_at_fin = half.data_at_fin or segment.time

    def _fill(self, side: int, at: int, end: int) -> int:
        """Take a range out of what is missing; returns how many bytes of it were."""
        filled = 0
        rest: list[list[int]] = []
        for low, high in self.gaps[side]:
            first, last = max(low, at), min(high, end)
            if first >= last:
                rest.append([low, high])
                continue
            filled += last - first
            rest += [[a, b] for a, b in ((low, first), (last, high)) if a < b]
        self.gaps[side] = rest
        return filled

    def _unacked(self) -> tuple[int, int]:
        first, second = (max(0, h.next - h.acked) for h in self.story.halves)
        return first, second

    def _fin(self, side: int, segment: Segment, at: int) -> None:
        half = self.story.halves[side]
        for end in self.story.ends_of(side, "fin"):
            if end.at == at:
                end.copies += 1
                if not end.arrived and not segment.marks & KEPT:
                    end.arrived, end.arrived_at = True, segment.time
                return
        unacked = self._unacked()
        own = max(0, unacked[side] - 1)
        self._add(End(side, "fin", segment, at, at + 1 - half.next, _put(unacked, side, own), False, True), segment)
        half.fin_at = at

    def _rst(self, side: int, segment: Segment) -> None:
        half = self.story.halves[side]
        if self.base[side] is None:  # it answers a SYN, or nothing else of this side was captured
            self.base[side] = segment.seq
            half.next = half.acked = 0
        at = self._at(side, segment.seq)
        answers = not segment.flags & ACK and segment.seq in self.acks[1 - side]
        unacked = self._unacked()
        if segment.flags & ACK and self.base[1 - side] is not None:
            self._acknowledge(side, segment)
        offset = 0 if answers or at in (half.next, half.acked) else at - half.next
        known = [e for e in self.story.ends_of(side, "rst") if e.at == at]
        if known and (known[0].arrived or known[0].bare == (not segment.flags & ACK)):
            known[0].copies += 1
            known[0].arrived = known[0].arrived or not segment.marks & KEPT
            if known[0].answers and segment.flags & ACK:  # the socket's own, which its stack's answers had overtaken
                known[0].segment = segment
            return
        for past in self.story.ends:
            if past.side != side and not past.reply:
                past.reply = "rst"
        self._add(End(side, "rst", segment, at, offset, unacked, answers, True), segment)

    def _made(self, side: int, segment: Segment) -> None:
        """Note a segment that the lab's wire made: it changes nothing but what its receiver may believe."""
        if segment.flags & SYN:
            self._odd_syn(segment)
        elif segment.flags & (RST | FIN):
            at = self._at(side, segment.seq)
            half = self.story.halves[side]
            word = "rst" if segment.flags & RST else "fin"
            self._add(
                End(side, word, segment, at, at - half.next, self._unacked(), False, True, made=True),
                segment,
            )

    def _odd_syn(self, segment: Segment) -> None:
        if len(self.story.odd_syns) < MOST_SYNS:
            self.story.odd_syns.append(segment)

    def _add(self, end: End, segment: Segment) -> None:
        end.damaged = bool(segment.marks & WRONG_SUM) and self.sums[end.side]
        end.arrived = not segment.marks & KEPT and not end.damaged
        end.arrived_at = segment.time
        if len(self.story.ends) < MOST_ENDS:
            self.story.ends.append(end)

    def _later(self, past: End, side: int, segment: Segment, at: int, end: int) -> None:
        """Note what this segment says of an earlier FIN or RST."""
        if segment is past.segment:
            return
        if side == past.side:
            if past.word == "rst" or (end <= past.at and not segment.length) or (segment.length and at >= past.at):
                past.own_later += 1
        elif not past.reply:
            past.reply = "fin" if segment.flags & FIN else "data" if segment.length else "ack"


def _put(pair: tuple[int, int], side: int, value: int) -> tuple[int, int]:
    return (value, pair[1]) if side == 0 else (pair[0], value)
