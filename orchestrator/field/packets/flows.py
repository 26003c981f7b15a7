"""A whole capture, sorted into flows. What is kept of a segment is a record of 37 bytes, and that within a bound."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from wsklab.orchestrator.field.packets.captures import Notes, Packet
from wsklab.orchestrator.field.packets.fragments import Fragments
from wsklab.orchestrator.field.packets.layers import (
    AUTHENTICATION,
    ETHERNET,
    EXTENSIONS,
    FRAGMENT,
    WIRELESS,
    ip_in,
    tunnelled,
)
from wsklab.orchestrator.field.packets.segments import (
    CUT,
    FRAGMENTED,
    INSIDE,
    KEPT,
    RECORD,
    REVERSED,
    STAMPED,
    UNTIMED,
    WRONG_SUM,
)
from wsklab.qemu.wire.frames import SYN

MOST_FLOWS = 100_000
"""Flows that are followed; of more, only their number is known."""

MOST_BYTES = 128 << 20
"""Bytes of records: three and a half million segments. Beyond that, long flows keep their first and last segments."""

THINNED = 2000
"""Segments that a flow keeps at either end, once the bound is reached."""

_MOST_SYNS, _MOST_ERRORS = 8, 32
_IPV4, _TCP = struct.Struct("!BBHHHBBH"), struct.Struct("!IIBBHH")
_UNTIL = 1 << 62


class Unreachable(NamedTuple):
    """An ICMP error about a flow: it quotes a segment that `quoted_reversed` end has sent."""

    time: int
    frame: int
    icmp_type: int
    code: int
    seq: int
    quoted_reversed: bool


@dataclass(slots=True)
class Flow:
    """All segments between two ends, as records; ends are named in the order of the first segment."""

    addresses: bytes  # both, as in the IP header
    ports: bytes
    records: bytearray = field(default_factory=bytearray)
    left_out: int = 0  # segments in the middle that were not kept
    left_out_at: int = 0  # before this record
    syns: dict[int, bytes] = field(default_factory=dict)  # frame -> options
    errors: list[Unreachable] = field(default_factory=list)
    through: tuple[str, ...] = ()


@dataclass
class Flows:
    """What `read` has found."""

    notes: Notes
    flows: list[Flow] = field(default_factory=list)
    packets: int = 0
    segments: int = 0
    unread: int = 0  # packets that are no IP or were cut too short
    over: int = 0  # flows beyond the bound
    begin: int = 0
    end: int = 0


def read(packets: Iterable[Packet], notes: Notes) -> Flows:
    """Sort packets into flows."""
    reader = Reader(Flows(notes))
    for number, packet in enumerate(packets, 1):
        reader.packet(number, packet)
    found = reader.found
    found.packets = reader.number
    found.flows = reader.flows
    if reader.wireless:
        notes.add("Frames of a wireless card are encrypted or need its driver; capture on the wired side.")
    if found.over:
        notes.add(f"There are more than {MOST_FLOWS:,} flows; the rest was counted, not followed.")
    return found


class Reader:
    """The loop's state. One call for each packet: what it does is kept short."""

    def __init__(self, found: Flows) -> None:
        self.found, self.flows = found, list[Flow]()
        self.index: dict[bytes, tuple[Flow, int]] = {}
        self.fragments = Fragments(found.notes)
        self.number, self.bytes, self.time, self.wireless = 0, 0, 0, False
        self.beyond: set[int] = set()

    def packet(self, number: int, packet: Packet) -> None:
        """Take one packet."""
        time, link, _, data, lane, kept = packet
        self.number = number
        marks = KEPT if kept else 0
        if time is None:
            time, marks = self.time, marks | UNTIMED
        elif not -_UNTIL < time < _UNTIL:
            self.found.notes.add("Some packets have impossible times.")
            time, marks = self.time, marks | UNTIMED
        self.time = time
        if link == ETHERNET and data[12:14] == b"\x08\x00" and len(data) >= 34 and data[14] == 0x45:
            self._ip(number, time, data, 14, (), marks, lane)
            return
        at, through = ip_in(link, data)
        if at < 0:
            self.wireless = self.wireless or link in WIRELESS
            self.found.unread += 1
            return
        self._ip(number, time, data, at, through, marks, lane)

    def _ip(
        self, number: int, time: int, data: bytes, at: int, through: tuple[str, ...], marks: int, lane: int
    ) -> None:
        """Take what an IP header at `at` announces."""
        if data[at] >> 4 == 4:
            first, _, total, ident, offset, ttl, protocol, _ = _IPV4.unpack_from(data, at)
            body, end = at + (first & 15) * 4, at + total if total else len(data)
            addresses = data[at + 12 : at + 20]
            if offset & 0x3FFF:
                whole = self.fragments.take(
                    time, (addresses, ident, protocol), (offset & 0x1FFF) * 8, bool(offset & 0x2000), data[body:end]
                )
                if whole is None:
                    return
                data, body, end, marks = whole, 0, len(whole), marks | FRAGMENTED
        else:
            total, protocol, ttl = int.from_bytes(data[at + 4 : at + 6], "big"), data[at + 6], data[at + 7]
            body, end, ident = at + 40, at + 40 + total if total else len(data), 0
            addresses = data[at + 8 : at + 40]
            while protocol in EXTENSIONS or protocol in (FRAGMENT, AUTHENTICATION):
                if len(data) < body + 8:
                    self.found.unread += 1
                    return
                if protocol == FRAGMENT:
                    place = int.from_bytes(data[body + 2 : body + 4], "big")
                    if place & 0xFFF9:
                        whole = self.fragments.take(
                            time,
                            (addresses, int.from_bytes(data[body + 4 : body + 8], "big"), data[body]),
                            place & 0xFFF8,
                            bool(place & 1),
                            data[body + 8 : end],
                        )
                        if whole is None:
                            return
                        protocol, data, body, end, marks = data[body], whole, 0, len(whole), marks | FRAGMENTED
                        continue
                    protocol, body = data[body], body + 8
                else:
                    size = (data[body + 1] + 2) * 4 if protocol == AUTHENTICATION else (data[body + 1] + 1) * 8
                    protocol, body = data[body], body + size
        if protocol == 6:
            self.tcp(number, time, data, addresses, body, end, (ident, ttl, marks, lane), through)
        elif protocol in (1, 58):
            self._icmp(number, time, data, addresses, body, protocol)
        else:
            inner, layers = tunnelled(data, protocol, body, through)
            if inner >= 0:
                self._ip(number, time, data, inner, layers, marks | INSIDE, lane)

    def tcp(
        self,
        number: int,
        time: int,
        data: bytes,
        addresses: bytes,
        at: int,
        end: int,
        about: tuple[int, int, int, int],
        through: tuple[str, ...],
    ) -> None:
        if len(data) < at + 16 or end < at + 20:
            self.found.unread += 1
            return
        ident, ttl, marks, lane = about
        seq, ack, offset, flags, window = _FIELDS.unpack_from(data, at + 4)
        header = (offset >> 4) * 4
        length = end - at - header
        if header < 20 or length < 0:
            self.found.unread += 1
            return
        key = addresses + data[at : at + 4]
        known = self.index.get(key)
        if known is None:
            known = self._new(key, through)
            if known is None:
                return
        flow, reverse = known
        stamp = 0
        if len(data) >= end:
            if header == 32 and data[at + 20 : at + 24] == b"\x01\x01\x08\x0a":
                marks |= STAMPED
                stamp = int.from_bytes(data[at + 24 : at + 28], "big")
            elif header > 20:
                stamp = _stamp(data[at + 20 : at + header])
                marks |= STAMPED if stamp >= 0 else 0
                stamp = max(stamp, 0)
            total = int.from_bytes(addresses, "big") + 6 + end - at
            segment = data[at:end]
            total += int.from_bytes(segment, "big") << 8 if len(segment) & 1 else int.from_bytes(segment, "big")
            if total % 0xFFFF:
                marks |= WRONG_SUM
        else:
            options = data[at + 20 : at + header]
            stamp = _stamp(options)
            marks |= (STAMPED if stamp >= 0 else 0) | (CUT if len(options) < header - 20 else 0)
            stamp = max(stamp, 0)
        if flags & SYN and len(flow.syns) < _MOST_SYNS:
            flow.syns[number] = bytes(data[at + 20 : at + header])
        flow.records += RECORD.pack(
            time,
            number & 0xFFFFFFFF,
            seq,
            ack,
            stamp,
            length,
            window,
            ident,
            flags,
            ttl,
            marks | reverse,
            lane & 0xFFFF,
        )
        found = self.found
        found.segments += 1
        found.begin, found.end = (min(found.begin, time), max(found.end, time)) if found.begin else (time, time)
        self.bytes += RECORD.size
        if self.bytes > MOST_BYTES:
            self._thin()

    def _new(self, key: bytes, through: tuple[str, ...]) -> tuple[Flow, int] | None:
        if len(self.flows) >= MOST_FLOWS:
            self.found.over += 1
            return None
        half = (len(key) - 4) // 2
        flow = Flow(key[:-4], key[-4:], through=through)
        self.flows.append(flow)
        self.index[key[half:-4] + key[:half] + key[-2:] + key[-4:-2]] = flow, REVERSED
        self.index[key] = flow, 0
        return flow, 0

    def _icmp(self, number: int, time: int, data: bytes, addresses: bytes, at: int, protocol: int) -> None:
        """Take in an error about a flow that is known, or that only it tells of."""
        if len(data) < at + 8 + 28 or data[at] not in ((3,) if protocol == 1 else (1,)):
            return
        inner = at + 8
        if protocol == 1 and data[inner] >> 4 == 4 and data[inner + 9] == 6:
            tcp, quoted = inner + (data[inner] & 15) * 4, data[inner + 12 : inner + 20]
        elif protocol == 58 and data[inner + 6] == 6:
            tcp, quoted = inner + 40, data[inner + 8 : inner + 40]
        else:
            return
        if len(data) < tcp + 8:
            return
        known = self.index.get(quoted + data[tcp : tcp + 4])
        if known and len(known[0].errors) < _MOST_ERRORS:
            seq = int.from_bytes(data[tcp + 4 : tcp + 8], "big")
            known[0].errors.append(Unreachable(time, number, data[at], data[at + 1], seq, bool(known[1])))

    def _thin(self) -> None:
        """Give room: long flows lose their middle, what they lost is counted."""
        keep = THINNED * RECORD.size
        self.bytes = 0
        for flow in self.flows:
            if len(flow.records) > 2 * keep:
                flow.left_out += (len(flow.records) - 2 * keep) // RECORD.size
                flow.left_out_at = THINNED
                flow.records = flow.records[:keep] + flow.records[-keep:]
            self.bytes += len(flow.records)
        self.found.notes.add(f"Of long connections only the first and last {THINNED:,} segments were kept.")
        if self.bytes > MOST_BYTES // 2:  # many short ones: each keeps less
            for flow in self.flows:
                most = 20 * RECORD.size
                if len(flow.records) > 2 * most:
                    flow.left_out += (len(flow.records) - 2 * most) // RECORD.size
                    flow.left_out_at = 20
                    flow.records = flow.records[:most] + flow.records[-most:]
            self.bytes = sum(len(flow.records) for flow in self.flows)


_FIELDS = struct.Struct("!IIBBH")


def _stamp(options: bytes) -> int:
    """Return the sender's timestamp, -1 where there is none."""
    for kind, value in options_of(options):
        if kind == 8 and len(value) == 8:
            return int.from_bytes(value[:4], "big")
    return -1


def options_of(options: bytes) -> list[tuple[int, bytes]]:
    """TCP options, as far as they can be read (RFC 9293, 3.1)."""
    found, at = list[tuple[int, bytes]](), 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2 or at + size > len(options):
            break
        found.append((kind, options[at + 2 : at + size]))
        at += size
    return found
