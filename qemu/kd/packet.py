"""KD packets on a serial line: building them, and finding them in a stream that also holds text and garbage.

The format is docs/reference/kd.md 1.1 to 1.3: a 16-byte little-endian header (leader, type, count, id, checksum), and
for data packets the payload and one 0xAA. Control packets are the header alone.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import IntEnum

DATA_LEADER = b"0000"
CONTROL_LEADER = b"iiii"
TRAILER = 0xAA
BREAK_IN = b"b"
"""Host to target, bare: stop the machine (kd.md 1.1, V18)."""

HEADER = struct.Struct("<4sHHII")
PAYLOAD_MAX = 4000
INITIAL_ID = 0x80800000
"""The first packet id of each direction; bit 0 toggles with each accepted data packet (kd.md 1.3)."""
SYNC = 0x800
"""Set in the id of the first packet after boot, and of the first after the target gave the debugger up (kd.md 1.3)."""


class Kind(IntEnum):
    """The packet types (kd.md 1.2)."""

    STATE_CHANGE32 = 1
    MANIPULATE = 2
    DEBUG_IO = 3
    ACKNOWLEDGE = 4
    RESEND = 5
    RESET = 6
    STATE_CHANGE64 = 7
    TRACE_IO = 9
    CONTROL_REQUEST = 10
    FILE_IO = 11


@dataclass(frozen=True, slots=True)
class Packet:
    """One whole packet, its checksum proven. A control packet has no payload."""

    kind: Kind
    id: int
    payload: bytes = b""

    @property
    def control(self) -> bool:
        """ACK, RESEND or RESET."""
        return not self.payload


@dataclass(frozen=True, slots=True)
class Text:
    """Bytes that belong to no packet: plain text, or what damage left of a packet."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """A packet with a true header and a false body (sum, trailer, or cut short). Its bytes follow, as other items."""


Item = Packet | Text | Broken


def checksum(payload: bytes) -> int:
    """Return the plain sum of the payload's bytes, modulo 2**32. It cannot see damages that cancel out (kd.md 1.1)."""
    return sum(payload) & 0xFFFFFFFF


def encode(packet: Packet) -> bytes:
    """Return the bytes of a packet. Raises ValueError for a payload of more than PAYLOAD_MAX bytes."""
    if packet.control:
        return HEADER.pack(CONTROL_LEADER, packet.kind, 0, packet.id, 0)
    if len(packet.payload) > PAYLOAD_MAX:
        raise ValueError(f"a KD packet carries at most {PAYLOAD_MAX} bytes, not {len(packet.payload)}")
    header = HEADER.pack(DATA_LEADER, packet.kind, len(packet.payload), packet.id, checksum(packet.payload))
    return header + packet.payload + bytes([TRAILER])


# What each byte of a header may be. "0000" is also common text ("0x00000000"), so that the whole header is asked for.
_ANY = rb"[\x00-\xff]"
_DATA = [rb"0"] * 4 + [rb"[\x01-\x03\x07\x09-\x0b]", rb"\x00", _ANY, rb"[\x00-\x0f]"]
_DATA += [rb"[\x00\x01]", rb"[\x00\x08]", rb"\x80", rb"\x80"] + [_ANY] * 4
_CONTROL = [rb"i"] * 4 + [rb"[\x04-\x06]", rb"\x00", rb"\x00", rb"\x00"] + [_ANY] * 4 + [rb"\x00"] * 4


def _beginning(classes: list[bytes]) -> bytes:
    """Return a pattern for one or more of the first bytes of `classes`, but not all of them, at the end of the data."""
    pattern = b""
    for one in reversed(classes[1:-1]):
        pattern = b"(?:" + one + pattern + b")?"
    return classes[0] + pattern + rb"\Z"


_WHOLE = re.compile(b"".join(_DATA) + b"|" + b"".join(_CONTROL))
_PART = re.compile(_beginning(_DATA) + b"|" + _beginning(_CONTROL))


class Decoder:
    """Cuts a byte stream into packets and what lies between. Holds at most one packet (4,017 bytes); never raises."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def waiting(self) -> bool:
        """Some bytes are kept back, because they may be the beginning of a packet."""
        return bool(self._buffer)

    @property
    def hides(self) -> bool:
        """A whole packet lies within what is kept back: what seemed to begin before it is none."""
        at = 1
        while found := _WHOLE.search(self._buffer, at):
            at = found.start() + 1
            leader, _, count, _, total = HEADER.unpack_from(self._buffer, found.start())
            if leader == CONTROL_LEADER:
                return True
            start = found.start() + HEADER.size
            body = self._buffer[start : start + count]
            if (
                len(self._buffer) > start + count
                and self._buffer[start + count] == TRAILER
                and 0 < count <= PAYLOAD_MAX
                and checksum(bytes(body)) == total
            ):
                return True
        return False

    def feed(self, data: bytes) -> list[Item]:
        """Return what `data` completes, in order. No byte is lost: all come out in a packet or as text."""
        self._buffer += data
        return self._take()

    def expire(self) -> list[Item]:
        """Give up what is kept back, as its rest will not come: it is no packet.

        A whole packet may well lie inside it.
        """
        if not self._buffer:
            return []
        items: list[Item] = [Broken()] if len(self._buffer) >= HEADER.size else []
        items.append(Text(bytes(self._buffer[:1])))
        del self._buffer[:1]
        return items + self._take()

    def clear(self) -> None:
        """Forget what is kept back."""
        self._buffer.clear()

    def _take(self) -> list[Item]:
        items: list[Item] = []
        buffer = self._buffer
        text = at = 0  # text begins at `text`; no packet begins before `at`
        while found := _WHOLE.search(buffer, at):
            start = found.start()
            leader, kind, count, number, total = HEADER.unpack_from(buffer, start)
            if leader == DATA_LEADER and not 0 < count <= PAYLOAD_MAX:
                at = start + 1
                continue
            end = start + HEADER.size + (count + 1 if leader == DATA_LEADER else 0)
            if len(buffer) < end:
                at = start
                break
            if start > text:
                items.append(Text(bytes(buffer[text:start])))
            payload = bytes(buffer[start + HEADER.size : start + HEADER.size + count])
            if count and (buffer[end - 1] != TRAILER or checksum(payload) != total):
                items.append(Broken())
                text, at = start, start + 1
                continue
            items.append(Packet(Kind(kind), number, payload))
            text = at = end
        if not found:
            part = _PART.search(buffer, max(at, len(buffer) - HEADER.size + 1))
            at = part.start() if part else len(buffer)
        if at > text:
            items.append(Text(bytes(buffer[text:at])))
        del buffer[:at]
        return items
