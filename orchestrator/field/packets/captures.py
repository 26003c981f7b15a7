"""Captured packets, one after the other, from pcap and pcapng files, also gzipped. Nothing in such a file is trusted.

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. Every section of a pcapng has its own byte order and
interfaces, every interface its own link type, unit and offset of time. What is broken ends the reading with a note.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from wsklab.common import files
from wsklab.orchestrator.errors import UsageError

CAPTURE = 64 << 30
"""Bytes of a capture; it is read as a stream."""

LONGEST = 256 << 10
"""Bytes of one packet: libpcap's own limit."""

MOST_PACKETS = 20_000_000
"""Packets of one file that are looked at."""

_MOST_INTERFACES = 4096
_LONGEST_BLOCK = 16 << 20
_CHUNK = 1 << 20
_MOST_INFLATED, _MOST_RATIO, _RATIO_FROM = 16 << 30, 300, 256 << 20

_PCAP = {  # magic -> (byte order, nanoseconds of a unit of the fraction, bytes of a record's header)
    magic.to_bytes(4, "big" if order == ">" else "little"): (order, unit, size)
    for magic, unit, size in ((0xA1B2C3D4, 1000, 16), (0xA1B23C4D, 1, 16), (0xA1B2CD34, 1000, 24))
    for order in "<>"
}
_SECTION, _INTERFACE, _OLD, _SIMPLE, _STATISTICS, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 5, 6
_OTHERS = {
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; unpack it with `zstd -d` first",
    b"\x04\x22\x4d\x18": "is compressed with lz4; unpack it with `lz4 -d` first",
    b"\xfd7zX": "is compressed with xz; unpack it with `unxz` first",
    b"PK\x03\x04": "is a zip archive; unpack it first",
    b"snoo": "is a snoop file; turn it into pcapng with `editcap`",
    b"GMBU": "is a Network Monitor file; turn it into pcapng with `editcap`",
    b"MDMP": "is a minidump, not a capture",
}
ETL = (
    "is a trace of Windows; turn it into pcapng there: `pktmon etl2pcap FILE.etl --out FILE.pcapng`, or, if "
    "`netsh trace` made it, with Microsoft's etl2pcapng"
)


class Packet(NamedTuple):
    """One captured packet. `lane` tells interfaces apart, and in and out where the file says it."""

    time: int | None  # ns since the epoch; simple packet blocks have none
    link: int
    length: int  # on the wire
    data: bytes
    lane: int  # interface * 4 + direction (0 not said, 1 in, 2 out)
    kept: bool = False  # the lab's own recording: the wire did not let it through


@dataclass
class Notes:
    """What is wrong with a file, or limits what it can tell; each said once."""

    texts: list[str] = field(default_factory=list)
    dropped: int = 0  # packets that the capture itself says it lost
    lab: bool = False  # a recording of this lab: lane 0 is the target's side, lane 1 the peer's

    def add(self, text: str) -> None:
        """Note something, unless it has been."""
        if text not in self.texts and len(self.texts) < 20:
            self.texts.append(text)


class _Inflated(io.RawIOBase):
    """A gzip file within its bounds: what would grow beyond all measure is given up."""

    def __init__(self, file: IO[bytes], packed: int) -> None:
        self.stream, self.packed, self.given = gzip.GzipFile(fileobj=file), max(packed, 1), 0

    def read(self, size: int = -1) -> bytes:
        block = self.stream.read(size if size > 0 else _CHUNK)
        self.given += len(block)
        if self.given > _MOST_INFLATED or (self.given > _RATIO_FROM and self.given > self.packed * _MOST_RATIO):
            raise UsageError("it unpacks to more than a capture plausibly has; cut it with `editcap -c`.")
        return block


class _Buffer:
    """A window on a stream. `at` is where reading goes on in `data`."""

    def __init__(self, stream: IO[bytes] | _Inflated) -> None:
        self.stream, self.data, self.at = stream, b"", 0

    def has(self, size: int) -> bool:
        """Whether `size` bytes lie ahead of `at`; reads on where it must."""
        while len(self.data) - self.at < size:
            more = self.stream.read(_CHUNK)
            if not more:
                return False
            self.data, self.at = self.data[self.at :] + more, 0
        return True


def packets(path: Path, notes: Notes) -> Iterator[Packet]:
    """Yield the packets of a capture, in the order of the file. Raises UsageError for what is none."""
    try:
        with files.open_file(path, CAPTURE) as file:
            yield from stream(file, notes, path.suffix.lower())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {files.why(error)}.") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def stream(file: IO[bytes], notes: Notes, suffix: str = "") -> Iterator[Packet]:
    """Yield the same for an open file."""
    head = file.read(4)
    file.seek(0)
    source: IO[bytes] | _Inflated = file
    if head[:2] == b"\x1f\x8b":
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        source = _Inflated(file, size)
    buffer = _Buffer(source)
    try:
        buffer.has(24)
        yield from _read(buffer, notes, suffix)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        notes.add("The compressed file is damaged or cut; what stood before that was read.")


def _read(buffer: _Buffer, notes: Notes, suffix: str) -> Iterator[Packet]:
    head = buffer.data[:4]
    if head in _PCAP and buffer.has(24):
        yield from _pcap(buffer, notes)
    elif head == b"\x0a\x0d\x0d\x0a":
        yield from _pcapng(buffer, notes)
    elif head in _OTHERS:
        raise UsageError(f"{_OTHERS[head]}.")
    elif suffix == ".etl":
        raise UsageError(f"{ETL}.")
    elif not head:
        raise UsageError("is empty.")
    else:
        raise UsageError("is neither pcap nor pcapng (nor one of them in gzip).")


def _pcap(buffer: _Buffer, notes: Notes) -> Iterator[Packet]:
    order, unit, size = _PCAP[buffer.data[:4]]
    link = struct.unpack_from(order + "I", buffer.data, 20)[0] & 0xFFFF  # above it: the length of a trailing FCS
    record = struct.Struct(order + "IIII")
    buffer.at = 24
    has, unpack = buffer.has, record.unpack_from
    for _ in range(MOST_PACKETS):
        at = buffer.at
        if len(buffer.data) - at < size:
            if not has(size):
                if len(buffer.data) > buffer.at:
                    notes.add("The file ends within a packet.")
                return
            at = buffer.at
        seconds, fraction, captured, length = unpack(buffer.data, at)
        if captured > LONGEST:
            notes.add("A packet claims more bytes than any has; the rest of the file was not read.")
            return
        if len(buffer.data) - at < size + captured:
            if not has(size + captured):
                notes.add("The file ends within a packet.")
                return
            at = buffer.at
        buffer.at = end = at + size + captured
        yield Packet(
            seconds * 1_000_000_000 + fraction * unit, link, max(length, captured), buffer.data[at + size : end], 0
        )
    notes.add(f"Only the first {MOST_PACKETS:,} packets were read.")


class _Interface(NamedTuple):
    link: int
    snaplen: int
    multiply: int
    divide: int
    offset: int
    name: bytes

    def time(self, ticks: int) -> int:
        return ticks * self.multiply // self.divide + self.offset


def _pcapng(buffer: _Buffer, notes: Notes) -> Iterator[Packet]:
    order, interfaces, count, lab = "<", list[_Interface](), 0, False
    head = struct.Struct("<II")
    enhanced = struct.Struct("<IIIII")
    has = buffer.has
    while count < MOST_PACKETS:
        if len(buffer.data) - buffer.at < 12 and not has(12):
            break
        data, at = buffer.data, buffer.at
        kind, size = head.unpack_from(data, at)
        if kind == _SECTION:
            magic = data[at + 8 : at + 12]
            if magic not in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
                notes.add("A section's byte order is unknown; the rest of the file was not read.")
                return
            order, interfaces, lab = "<" if magic[0] == 0x4D else ">", [], False
            head, enhanced = struct.Struct(order + "II"), struct.Struct(order + "IIIII")
            kind, size = head.unpack_from(data, at)
        if size < 12 or size % 4 or size > _LONGEST_BLOCK:
            notes.add("A block has an impossible length; the rest of the file was not read.")
            return
        if len(data) - at < size:
            if not has(size):
                break
            data, at = buffer.data, buffer.at
        buffer.at = end = at + size
        if kind == _ENHANCED and size >= 32:
            number, high, low, captured, length = enhanced.unpack_from(data, at + 8)
            if number >= len(interfaces) or captured > min(LONGEST, size - 32):
                notes.add("Packets with an impossible length or interface were left out.")
                continue
            count += 1
            interface, begin, direction, kept = interfaces[number], at + 28, 0, False
            options = begin + captured + -captured % 4
            if options < end - 8:
                direction, kept, mark = _direction(data[options : end - 4], order, lab)
                if mark:
                    continue
            yield Packet(
                interface.time(high << 32 | low),
                interface.link,
                max(length, captured),
                data[begin : begin + captured],
                number * 4 + direction,
                kept,
            )
        elif kind == _INTERFACE:
            if size >= 20 and len(interfaces) < _MOST_INTERFACES:
                interfaces.append(_interface(data[at + 8 : end - 4], order))
                lab = [i.name for i in interfaces] == [b"target", b"peer"]
                notes.lab = notes.lab or lab
            else:
                notes.add("A description of an interface is broken; the rest of the file was not read.")
                return
        elif kind in (_SIMPLE, _OLD):
            packet = _rare(kind, data[at + 8 : end - 4], order, interfaces)
            if packet is None:
                notes.add("Packets with an impossible length or interface were left out.")
                continue
            count += 1
            if packet.time is None:
                notes.add("Some packets have no time; they are in the file's order.")
            yield packet
        elif kind == _STATISTICS and size >= 24:
            numbers = dict(_options(data[at + 20 : end - 4], order))
            notes.dropped += sum(
                int.from_bytes(numbers[code][:8], "little" if order == "<" else "big") & 0xFFFFFFFF
                for code in (5, 7)
                if code in numbers
            )
    else:
        notes.add(f"Only the first {MOST_PACKETS:,} packets were read.")
        return
    if len(buffer.data) > buffer.at:
        notes.add("The file ends within a block.")


def _interface(body: bytes, order: str) -> _Interface:
    link, _, snaplen = struct.unpack_from(order + "HHI", body)
    options = dict(_options(body[8:], order))
    resolution = options.get(9, b"\x06")[:1] or b"\x06"
    power = resolution[0] & 0x7F
    offset = struct.unpack_from(order + "q", options[14])[0] if len(options.get(14, b"")) >= 8 else 0
    if resolution[0] & 0x80:
        multiply, divide = 1_000_000_000, 1 << power
    elif power <= 9:
        multiply, divide = int(10 ** (9 - power)), 1
    else:
        multiply, divide = 1, int(10 ** (power - 9))
    return _Interface(link, snaplen, multiply, divide, offset * 1_000_000_000, options.get(2, b""))


def _rare(kind: int, body: bytes, order: str, interfaces: list[_Interface]) -> Packet | None:
    """Return a simple packet block, which has neither time nor interface, or an old packet block."""
    if kind == _SIMPLE:
        if len(body) < 4 or not interfaces:
            return None
        length = struct.unpack_from(order + "I", body)[0]
        captured = min(length, interfaces[0].snaplen or length)
        if captured > min(LONGEST, len(body) - 4):
            return None
        return Packet(None, interfaces[0].link, length, body[4 : 4 + captured], 0)
    if len(body) < 20:
        return None
    number, _, high, low, captured, length = struct.unpack_from(order + "HHIIII", body)
    if number >= len(interfaces) or captured > min(LONGEST, len(body) - 20):
        return None
    interface = interfaces[number]
    time = interface.time(high << 32 | low)
    return Packet(time, interface.link, max(length, captured), body[20 : 20 + captured], number * 4)


def _direction(options: bytes, order: str, lab: bool) -> tuple[int, bool, bool]:
    """In or out, and in a recording of the lab whether the wire kept the frame, and whether it is a mark, no frame."""
    direction, kept = 0, False
    for code, value in _options(options, order):
        if code == 2 and len(value) == 4:
            direction = struct.unpack(order + "I", value)[0] & 3
        elif code == 1 and lab:
            if value.startswith(b"mark "):
                return 0, False, True
            kept = kept or value.startswith(b"kept ")  # of several comments: the driver's lines come behind
    return direction % 3, kept, False


def _options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    pair, at = struct.Struct(order + "HH"), 0
    while at + 4 <= len(data):
        code, size = pair.unpack_from(data, at)
        if code == 0:
            return
        yield code, data[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
