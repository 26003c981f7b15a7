"""The story of one TCP connection, as it was captured: what each side sent, and how it ended. Pure.

Positions are sequence numbers without their wrap, counted from the SYN (0), or from the first byte that was seen (1).
"Arrived" can only be denied where the lab's own recording says that its wire kept a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from wsklab.orchestrator.field.packets.segments import REVERSED, Segment
from wsklab.qemu.wire.frames import ACK, FIN, RST, SYN

MS = 1_000_000
SECOND = 1000 * MS
REUSED_AFTER = 120 * SECOND
"""A SYN with another ISN after so long a silence opens a new connection between the same ports."""


@dataclass(slots=True)
class End:
    """A FIN or RST, and how things stood when it was sent."""

    side: int
    word: str  # "fin" or "rst"
    segment: Segment
    at: int  # position
    offset: int  # from the byte that the receiver expects next
    unacked: tuple[int, int]  # bytes that either side had sent and the other had not acknowledged
    answers: bool  # an RST without ACK, numbered by what the other side had just acknowledged
    arrived: bool
    arrived_at: int = 0
    damaged: bool = False  # its checksum is wrong, where others of its side are right
    made: bool = False  # the lab's own recording says that the wire made it
    copies: int = 0
    acked: bool = False
    own_later: int = 0  # segments of the same side afterwards that do not know of it
    reply: str = ""  # what the other side did next: "ack", "data", "fin", "rst"

    @property
    def bare(self) -> bool:
        """An RST without ACK."""
        return not self.segment.flags & ACK


@dataclass(slots=True)
class Half:
    """What one side sent."""

    segments: int = 0
    payload: int = 0  # bytes of the stream, each counted once
    next: int = 0  # position behind the last byte seen
    acked: int = 0  # highest position that the other side acknowledged
    first_data: int | None = None  # times
    last_data: int | None = None
    last: int = 0
    retransmissions: int = 0
    copies: int = 0
    out_of_order: int = 0
    keepalives: int = 0
    window_probes: int = 0
    zero_windows: int = 0
    filled_windows: int = 0  # segments that left no room for another one in the other side's window
    probed: bool = False  # its last segment was a probe
    window: int | None = None
    missing: int = 0  # bytes that the other side acknowledged and that were not captured
    wrong_sums: int = 0
    cut: int = 0
    largest: int = 0
    unanswered: int = 0  # retransmissions and probes since the other side was last heard
    recovered: int = 0  # the longest run of such that was answered after all
    stamps: int = 0
    ttls: dict[int, int] = field(default_factory=dict)
    idents: list[int] = field(default_factory=list)  # the last few
    fin_at: int | None = None
    after_fin: int = 0  # bytes sent after the other side's FIN
    after_fin_acked: bool = False
    data_at_fin: int | None = None  # time of the first of them


@dataclass(slots=True)
class History:
    """A connection's whole story, as far as it was captured."""

    halves: tuple[Half, Half]
    opener: int
    opened: tuple[bool, bool, bool]  # SYN, SYN+ACK, and the ACK of it were seen
    ends: list[End] = field(default_factory=list)
    begin: int = 0
    end: int = 0
    first_frame: int = 0
    last_frame: int = 0
    established: int = 0  # time of the handshake's end
    odd_syns: list[Segment] = field(default_factory=list)
    syns: int = 0
    stepped: bool = False  # a clock of the capture went back
    driver_lane: int | None = None  # the lab's own recording: this side is the target
    shifts: tuple[int | None, int | None] = (None, None)

    def ends_of(self, side: int, word: str | None = None) -> list[End]:
        """FINs and RSTs of one side, in order."""
        return [e for e in self.ends if e.side == side and word in (None, e.word)]

    def unacked(self, side: int) -> int:
        """Return the bytes that one side had sent at the end, and the other had not acknowledged."""
        half = self.halves[side]
        return max(0, half.next - half.acked) if self.halves[1 - side].segments else 0


def split(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Separate connections that used the same ports one after the other."""
    current: list[Segment] = []
    isns: dict[int, int] = {}
    over, last = False, 0
    for segment in segments:
        side = segment.marks & REVERSED
        if segment.flags & (SYN | ACK | RST) == SYN:
            other = side in isns and isns[side] != segment.seq
            if current and (other or side not in isns) and (over or segment.time - last > REUSED_AFTER):
                yield current
                current, isns, over = [], {}, False
            isns.setdefault(side, segment.seq)
        over = over or bool(segment.flags & (FIN | RST))
        last = segment.time
        current.append(segment)
    if current:
        yield current


def ordered(segments: list[Segment]) -> tuple[list[Segment], bool]:
    """Bring segments into the order of time, and say whether a clock went back instead.

    Queues of a card and merged files disorder directions and interfaces against each other. Within one direction of one
    interface the file's order is the order of the wire: there a time that goes back is a clock's.
    """
    last: dict[tuple[int, int], int] = {}
    before, disorder = segments[0].time, False
    for segment in segments:
        key = (segment.marks & REVERSED, segment.lane)
        if segment.time < last.get(key, segment.time):
            return segments, True
        last[key] = segment.time
        disorder = disorder or segment.time < before
        before = segment.time
    return (sorted(segments, key=lambda s: s.time) if disorder else segments), False


def opening(segments: Sequence[Segment]) -> tuple[int, tuple[bool, bool, bool]]:
    """Who opened the connection, and which parts of the handshake were seen; a guess where none was."""
    for segment in segments[:50]:
        side = segment.marks & REVERSED
        if segment.flags & SYN:
            opener = 1 - side if segment.flags & ACK else side
            answers = [s for s in segments[:50] if s.flags & SYN and s.flags & ACK and s.marks & REVERSED != opener]
            final = any(
                s.marks & REVERSED == opener and not s.flags & (SYN | RST) and s.flags & ACK
                for s in segments[:50]
                if answers and s.time >= answers[0].time
            )
            return opener, (not segment.flags & ACK, bool(answers), final)
    return segments[0].marks & REVERSED, (False, False, False)
