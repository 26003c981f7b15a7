"""The course of a connection in turns: who sent how much, who ended what, after which pause. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.endings.story import MS, End
from wsklab.orchestrator.field.packets.segments import KEPT, REVERSED, Segment
from wsklab.qemu.wire.frames import ACK, FIN, RST, SYN

LONGEST_PAUSE = 2.0
"""Seconds of a pause that is kept without `--real-time`: shorter than any time-out that ends a connection."""

PAUSE = 200 * MS
"""A pause that ends a turn: no stack makes it by itself."""

MOST_TURNS = 40
"""Turns of data; of more, those in the middle are put together."""


@dataclass
class Turn:
    """What one side sent in one go, or one of its FINs and RSTs."""

    driver: bool
    kind: str  # "data", "fin", "rst"; "syn" within the connection; "icmp" to the driver's side
    first: int  # frames
    last: int
    gap: int = 0  # ns since the turn before it
    length: int = 0
    lost: int = 0  # times that its first bytes, or its FIN, were sent again
    acked: bool = True
    end_seq: int = 0  # the sequence number behind its bytes
    with_fin: bool = False  # its last segment carries the FIN, too
    end: End | None = None

    @property
    def who(self) -> str:
        """Who sent it."""
        return "driver" if self.driver else "peer"

    @property
    def frames(self) -> str:
        """Its frames, for people."""
        return f"frame {self.first}" if self.first == self.last else f"frames {self.first} to {self.last}"


def turns(one: Connection) -> list[Turn]:
    """Tell a connection as turns, without its handshake."""
    walker = _Walker(one)
    for segment in one.segments():
        walker.take(segment)
    return _shortened(walker.finished())


class _Walker:
    def __init__(self, one: Connection) -> None:
        self.one, self.turns = one, list[Turn]()
        self.next: list[int | None] = [None, None]
        self.acked: list[int | None] = [None, None]
        self.last_time = one.story.established or one.story.begin
        self.errors = [e for e in one.flow.errors if one.story.first_frame <= e.frame <= one.story.last_frame]
        self.odd_syns = {id_of(syn) for syn in one.story.odd_syns}
        self.ends = {id_of(end.segment): end for end in one.story.ends}

    def take(self, segment: Segment) -> None:
        side = segment.marks & REVERSED
        driver = side == self.one.driver
        while self.errors and self.errors[0].frame < segment.frame:
            error = self.errors.pop(0)
            self._add(Turn(False, "icmp", error.frame, error.frame), error.time)
        if segment.flags & ACK:
            acked = self.acked[1 - side]
            if acked is None or 0 < _signed(segment.ack - acked) < 1 << 30:
                self.acked[1 - side] = segment.ack
        if segment.flags & SYN:
            if id_of(segment) in self.odd_syns:
                self._add(Turn(driver, "syn", segment.frame, segment.frame), segment.time)
            elif self.next[side] is None:
                self.next[side] = segment.end
            return
        end = self.ends.get(id_of(segment))
        if segment.flags & RST or (end is not None and end.made):
            if end is not None:
                frame = segment.frame
                self._add(Turn(driver, end.word, frame, frame, end=end, acked=end.arrived), segment.time)
            return
        expected = self.next[side]
        if expected is None:
            self.next[side] = expected = segment.seq
        new = _signed(segment.end - expected)
        if new > 1 << 30 or new < -(1 << 30):
            return
        if new <= 0:
            self._again(driver, segment)
            return
        self.next[side] = segment.end
        fin = bool(segment.flags & FIN)
        length = min(new - fin, segment.length)
        if length > 0:
            last = self.turns[-1] if self.turns else None
            same = last is not None and last.kind == "data" and last.driver == driver
            if same and last is not None and segment.time - self.last_time < PAUSE:
                last.length, last.last = last.length + length, segment.frame
            else:
                self._add(Turn(driver, "data", segment.frame, segment.frame, length=length), segment.time)
            self.turns[-1].with_fin = fin
            self.turns[-1].end_seq = (segment.end - fin) & 0xFFFFFFFF
            self.last_time = segment.time
        if fin:
            lost = int(end is not None and not end.arrived)
            self._add(Turn(driver, "fin", segment.frame, segment.frame, end=end, lost=lost), segment.time)

    def finished(self) -> list[Turn]:
        """Return the turns, now that it is known how far they were acknowledged."""
        for turn in self.turns:
            acked = self.acked[self.one.driver if turn.driver else 1 - self.one.driver]
            if turn.kind == "data" and acked is not None:
                turn.acked = _signed(acked - turn.end_seq) >= 0
        return self.turns

    def _add(self, turn: Turn, time: int) -> None:
        turn.gap = max(0, time - self.last_time)
        self.turns.append(turn)
        self.last_time = time

    def _again(self, driver: bool, segment: Segment) -> None:
        """Count what was sent again: the last turn of that side lost it."""
        if not segment.length and not segment.flags & FIN:
            return
        kind = "fin" if segment.flags & FIN and not segment.length else "data"
        for turn in reversed(self.turns):
            if turn.driver == driver and turn.kind == kind:
                if segment.frame != turn.first and not segment.marks & KEPT:
                    turn.lost += 1
                return


def _shortened(found: list[Turn]) -> list[Turn]:
    """Put the middle of a long conversation together, a turn for either side."""
    data = [turn for turn in found if turn.kind == "data"]
    if len(data) <= MOST_TURNS:
        return found
    middle = data[MOST_TURNS // 4 : -MOST_TURNS // 4]
    summed = set(map(id, middle))
    kept: list[Turn] = []
    sums: dict[bool, Turn] = {}
    for turn in found:
        if id(turn) not in summed:
            kept.append(turn)
        elif turn.driver in sums:
            total = sums[turn.driver]
            total.length, total.last, total.lost = total.length + turn.length, turn.last, total.lost + turn.lost
        else:
            sums[turn.driver] = turn
            kept.append(turn)
    return kept


def id_of(segment: Segment) -> tuple[int, int]:
    """Return what names a segment within a capture."""
    return segment.frame, segment.seq


def _signed(value: int) -> int:
    return ((value + 0x80000000) & 0xFFFFFFFF) - 0x80000000
