"""Captures made by code: a conversation is told segment by segment, and written as pcap or pcapng in any dress."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field, replace

from wsklab.orchestrator.field.endings import connections
from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.packets import captures, flows
from wsklab.orchestrator.field.packets.captures import Notes
from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST, SYN, checksum

DRIVER, PEER = "10.1.0.10", "10.1.0.20"
SECOND = 1_000_000_000
_TCP = struct.Struct("!HHIIBBHHH")


@dataclass(frozen=True)
class Seg:
    """One segment as a test wants it; `seq` and `ack` count from the first number of either side."""

    time: float
    sender: str  # "driver" or "peer"
    flags: int
    seq: int
    ack: int
    payload: int = 0
    window: int = 500
    ttl: int = 64
    ident: int | None = None
    stamp: bool = True
    options: bytes = b""


@dataclass
class Talk:
    """A conversation between driver and peer; `d` and `p` add a segment of either, with the numbers that are due."""

    port: int = 40000
    isn: tuple[int, int] = (0xFFFFFF00, 5000)  # the driver's wraps
    segments: list[Seg] = field(default_factory=list)
    at: float = 0.0
    next: dict[str, int] = field(default_factory=lambda: {"driver": 0, "peer": 0})

    def say(self, sender: str, flags: int, payload: int = 0, after: float = 0.01, **changes: object) -> Seg:
        """Add a segment."""
        self.at += after
        other = "peer" if sender == "driver" else "driver"
        plain = Seg(self.at, sender, flags, self.next[sender], self.next[other] if flags & ACK else 0, payload)
        segment = replace(plain, **changes)  # type: ignore[arg-type]
        self.segments.append(segment)
        if "seq" not in changes and not flags & RST:
            self.next[sender] += payload + bool(flags & SYN) + bool(flags & FIN)
        return segment

    def d(self, flags: int, payload: int = 0, **changes: object) -> Seg:
        """Have the driver's side send."""
        return self.say("driver", flags, payload, **changes)  # type: ignore[arg-type]

    def p(self, flags: int, payload: int = 0, **changes: object) -> Seg:
        """Have the peer send."""
        return self.say("peer", flags, payload, **changes)  # type: ignore[arg-type]

    def handshake(self) -> Talk:
        """SYN, SYN+ACK, ACK, from the driver."""
        self.d(SYN, options=b"\x02\x04\x05\xb4\x01\x03\x03\x07")
        self.p(SYN | ACK, options=b"\x02\x04\x05\xb4\x01\x03\x03\x07")
        self.d(ACK)
        return self

    def exchange(self) -> Talk:
        """Add an exchange: the driver asks, the peer answers."""
        self.d(ACK | PSH, 10)
        self.p(ACK | PSH, 20)
        self.d(ACK)
        return self

    def packet(self, number: int, version: int = 4) -> bytes:
        """One segment as an IP packet."""
        segment = self.segments[number]
        own, other = (self.port, 7000) if segment.sender == "driver" else (7000, self.port)
        base = self.isn if segment.sender == "driver" else self.isn[::-1]
        options = segment.options
        if segment.stamp:
            options = options + b"\x01\x01\x08\x0a" + struct.pack("!II", int(segment.time * 1000) + 1, 1)
        options += b"\0" * (-len(options) % 4)
        src, dst = (DRIVER, PEER) if segment.sender == "driver" else (PEER, DRIVER)
        raw = bytes(map(int, src.split("."))) + bytes(map(int, dst.split(".")))
        if version == 6:
            raw = b"\xfd" + bytes(11) + raw[:4] + b"\xfd" + bytes(11) + raw[4:]
        ack = (segment.ack + base[1]) & 0xFFFFFFFF if segment.flags & ACK else 0
        tcp = _TCP.pack(
            own,
            other,
            (segment.seq + base[0]) & 0xFFFFFFFF,
            ack,
            (5 + len(options) // 4) << 4,
            segment.flags,
            segment.window,
            0,
            0,
        )
        tcp += options + b"x" * segment.payload
        pseudo = raw + (6).to_bytes(4, "big") + len(tcp).to_bytes(4, "big")
        tcp = tcp[:16] + checksum(pseudo + tcp).to_bytes(2, "big") + tcp[18:]
        ident = number + 1 if segment.ident is None else segment.ident
        if version == 6:
            return struct.pack("!IHBB", 6 << 28, len(tcp), 6, segment.ttl) + raw + tcp
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), ident, 0x4000, segment.ttl, 6, 0) + raw
        return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + tcp

    def packets(self, version: int = 4) -> list[tuple[int, bytes]]:
        """All of them with their times, as IP packets."""
        return [
            (1_700_000_000 * SECOND + int(one.time * SECOND), self.packet(number, version))
            for number, one in enumerate(self.segments)
        ]


def ethernet(packet: bytes, kind: int | None = None) -> bytes:
    """Return an IP packet in an Ethernet frame."""
    kind = (0x0800 if packet[0] >> 4 == 4 else 0x86DD) if kind is None else kind
    return b"\x52\x54\0\x77\0\x10\x52\x54\0\x77\0\x20" + kind.to_bytes(2, "big") + packet


def pcap(packets: list[tuple[int, bytes]], link: int = 1, order: str = "<", nano: bool = False, cut: int = 0) -> bytes:
    """Return a pcap file; `cut`: what is kept of each packet."""
    unit = 1 if nano else 1000
    out = struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, cut or 262144, link)
    for time, data in packets:
        kept = data[:cut] if cut else data
        out += struct.pack(order + "IIII", time // SECOND, time % SECOND // unit, len(kept), len(data)) + kept
    return out


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """Return a block of pcapng."""
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    """Return the head of a section."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, resolution: int = 6, order: str = "<", offset: int = 0) -> bytes:
    """Return an interface."""
    options = struct.pack(order + "HHB3x", 9, 1, resolution) + struct.pack(order + "HHq", 14, 8, offset)
    return block(1, struct.pack(order + "HHI", link, 0, 0) + options + bytes(4), order)


def enhanced(number: int, ticks: int, data: bytes, order: str = "<") -> bytes:
    """Return a packet of an interface."""
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(6, head + data, order)


def read(data: bytes) -> list[Connection]:
    """Return the connections of a capture in memory."""
    notes = Notes()
    return list(connections.connections(flows.read(captures.stream(io.BytesIO(data), notes), notes)))


def captured_as(said: Talk) -> Connection:
    """Return the one connection that a conversation is in a plain capture."""
    (one,) = read(pcap([(time, ethernet(packet)) for time, packet in said.packets()]))
    return one
