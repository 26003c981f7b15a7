"""A capture without its payload: what `repro` needs of it and nothing else, as pcapng. Pure.

Kept are TCP headers with all that is around them, ICMP errors as far as they name a segment, times to the nanosecond,
the lengths that packets had, and of a recording of the lab what its wire did not let through.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from wsklab.orchestrator.field.packets.captures import Notes, Packet
from wsklab.orchestrator.field.packets.flows import Flows, Reader
from wsklab.qemu.wire import pcapng

_ICMP, _QUOTED = 8, 8
_KEPT = f"{pcapng.KEPT}back".encode()


class _Ends(Reader):
    """Finds where in a packet the last header ends, -1 where it has none that is wanted."""

    def __init__(self) -> None:
        super().__init__(Flows(Notes()))
        self.end, self.data = -1, b""

    def of(self, number: int, packet: Packet) -> int:
        self.end, self.data = -1, packet.data
        self.packet(number, packet)
        return self.end

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
        if data is self.data and len(data) >= at + 16:
            self.end = min(at + (data[at + 12] >> 4) * 4, end)

    def _icmp(self, number: int, time: int, data: bytes, addresses: bytes, at: int, protocol: int) -> None:
        inner = at + _ICMP
        if data is self.data and len(data) > inner and data[at] in ((3,) if protocol == 1 else (1,)):
            self.end = inner + ((data[inner] & 15) * 4 if protocol == 1 else 40) + _QUOTED


def stripped(
    packets: Iterable[Packet], notes: Notes, wanted: frozenset[int] | None = None, left_out: list[int] | None = None
) -> Iterator[bytes]:
    """Yield the new file block by block; `wanted`: the frames that are kept, `left_out` collects those that are not.

    Fragments cannot be cut without losing what makes them whole again, so that they are left out.
    """
    ends, interfaces, last, begun = _Ends(), dict[tuple[int, int], int](), 0, False
    for number, packet in enumerate(packets, 1):
        if not begun:
            begun = True
            yield pcapng.header() if notes.lab else pcapng.section()
            if notes.lab:
                interfaces = {(0, packet.link): 0, (1, packet.link): 1}
        last = packet.time if packet.time is not None and packet.time >= 0 else last
        if wanted is not None and number not in wanted:
            continue
        end = ends.of(number, packet)
        if end < 0:
            if left_out is not None:
                left_out.append(number)
            continue
        key = (packet.lane >> 2, packet.link)
        if key not in interfaces:
            interfaces[key] = len(interfaces)
            yield pcapng.interface("", packet.link)
        yield _block(interfaces[key], last, packet, packet.data[:end])
    if not begun:
        yield pcapng.section()


def _block(interface: int, time: int, packet: Packet, data: bytes) -> bytes:
    time = min(time, (1 << 64) - 1)
    body = struct.pack("<IIIII", interface, time >> 32, time & 0xFFFFFFFF, len(data), max(packet.length, len(data)))
    told = b""
    if packet.lane & 3:
        told += pcapng.option(pcapng.FLAGS, struct.pack("<I", packet.lane & 3))
    if packet.kept:
        told += pcapng.option(pcapng.COMMENT, _KEPT)
    return pcapng.block(pcapng.PACKET, body + data + b"\0" * (-len(data) % 4) + (told + pcapng.END if told else b""))
