"""Fragments of IP packets, put together again within bounds (RFC 791, 8200). Of overlapping bytes the first count."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from wsklab.orchestrator.field.packets.captures import Notes

MOST, LARGEST, LONGEST = 1000, 64 << 10, 30_000_000_000
"""Packets in pieces at one time; bytes of one; nanoseconds that one waits for its last piece."""


@dataclass(slots=True)
class _Packet:
    begun: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    size: int | None = None  # known with the last piece
    held: int = 0


class Fragments:
    """What waits for its missing pieces."""

    def __init__(self, notes: Notes) -> None:
        self.notes, self.waiting = notes, OrderedDict[object, _Packet]()

    def take(self, time: int, key: object, offset: int, more: bool, piece: bytes) -> bytes | None:
        """Add a piece; returns the whole once it is complete."""
        packet = self.waiting.get(key)
        if packet is None or time - packet.begun > LONGEST:
            packet = self.waiting[key] = _Packet(time)
            if len(self.waiting) > MOST:
                self.waiting.popitem(last=False)
                self.notes.add("More packets were in fragments at one time than are put together again.")
        if packet.held + len(piece) > LARGEST or offset + len(piece) > LARGEST or len(packet.pieces) > 512:
            del self.waiting[key]
            self.notes.add("A packet in fragments was larger than any may be.")
            return None
        if offset in packet.pieces:
            return None
        packet.pieces[offset] = piece
        packet.held += len(piece)
        if not more:
            packet.size = offset + len(piece)
        whole = self._whole(packet)
        if whole is not None:
            del self.waiting[key]
        return whole

    def _whole(self, packet: _Packet) -> bytes | None:
        if packet.size is None or packet.held < packet.size:
            return None
        whole = bytearray()
        for offset, piece in sorted(packet.pieces.items()):
            if offset > len(whole):
                return None
            if offset < len(whole):
                self.notes.add("Fragments overlap; the first of them counts.")
            whole += piece[len(whole) - offset :]
        return bytes(whole[: packet.size])
