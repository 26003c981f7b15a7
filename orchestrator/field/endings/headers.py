"""The TCP headers of one connection, read from the capture once more: options and all, no payload.

The table keeps of a segment what every connection needs; who plays a peer's segments again needs the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.packets import captures
from wsklab.orchestrator.field.packets.captures import Notes, Packet
from wsklab.orchestrator.field.packets.flows import Flows, Reader


class _Headers(Reader):
    """Keeps the headers of some frames, and nothing else."""

    def __init__(self, wanted: frozenset[int]) -> None:
        super().__init__(Flows(Notes()))
        self.wanted, self.headers = wanted, dict[int, bytes]()

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
        """Keep the header and its options."""
        if number in self.wanted and len(data) > at + 12:
            self.headers[number] = bytes(data[at : at + (data[at + 12] >> 4) * 4])


def headers(path: Path, one: Connection) -> dict[int, bytes]:
    """Return frame number -> TCP header of a connection's segments; a cut header is as short as the capture has it."""
    return of_packets(captures.packets(path, Notes()), one)


def of_packets(packets: Iterable[Packet], one: Connection) -> dict[int, bytes]:
    """Return the same for packets at hand."""
    reader = _Headers(frozenset(segment.frame for segment in one.segments()))
    for number, packet in enumerate(packets, 1):
        if number > one.story.last_frame:
            break
        reader.packet(number, packet)
    return reader.headers
