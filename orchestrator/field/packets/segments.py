"""One TCP segment of a capture, and how it is kept while a whole capture is read: 37 bytes each."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST, SYN, URG

REVERSED, STAMPED, CUT, WRONG_SUM, KEPT, UNTIMED, FRAGMENTED, INSIDE = 1, 2, 4, 8, 16, 32, 64, 128
"""Marks: sent by the other end than the flow's key names first; has timestamps; options cut off; wrong checksum;
swallowed by the lab's wire; no time in the file; came in fragments; was taken out of a tunnel."""

RECORD = struct.Struct("<qIIIIIHHBBBH")


class Segment(NamedTuple):
    """A segment, as captured. `file` and `frame` name it for people; frames count from 1 as in Wireshark."""

    time: int
    frame: int
    seq: int
    ack: int
    stamp: int
    length: int  # bytes of payload, by the IP header
    window: int  # as it stands in the header
    ident: int  # the IP header's identification; 0 for IPv6
    flags: int
    ttl: int
    marks: int
    lane: int

    @property
    def end(self) -> int:
        """The sequence number behind it; SYN and FIN count as one byte each."""
        return (self.seq + self.length + (self.flags & SYN != 0) + (self.flags & FIN != 0)) & 0xFFFFFFFF

    @property
    def words(self) -> str:
        """Its flags, as people write them."""
        return "+".join(name for name, bit in _WORDS if self.flags & bit) or "no flags"


_WORDS = (("SYN", SYN), ("FIN", FIN), ("RST", RST), ("PSH", PSH), ("URG", URG), ("ACK", ACK))


def unpacked(records: Iterable[bytearray]) -> Iterator[Segment]:
    """Yield the segments of what a reader has kept."""
    for record in records:
        yield from map(Segment._make, RECORD.iter_unpack(record))
