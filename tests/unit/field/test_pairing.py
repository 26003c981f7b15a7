"""The same connection in two captures: paired by its numbers, clocks brought together, what only one saw is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.captured import SECOND, Talk, ethernet, pcap, read

from wsklab.orchestrator.field.endings import pairing
from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.qemu.wire.frames import ACK, FIN, RST

MS = 1_000_000


def at_both_ends(said: Talk, delay: int, offset: int) -> tuple[list[Connection], list[Connection]]:
    """Return the conversation as captured at the driver's side, and at the peer's, whose clock is `offset` ahead."""
    here, there = [], []
    for (time, packet), segment in zip(said.packets(), said.segments, strict=True):
        ours = segment.sender == "driver"
        here.append((time + (0 if ours else delay), ethernet(packet)))
        there.append((time + (delay if ours else 0) + offset, ethernet(packet)))
    return read(pcap(here, nano=True)), read(pcap(there, nano=True))


def closed() -> Talk:
    said = Talk().handshake().exchange()
    said.p(FIN | ACK)
    said.d(ACK)
    return said


@pytest.mark.parametrize("offset", [0, 5 * SECOND, -3 * MS])
def test_clocks_and_delay_are_found(offset: int) -> None:
    (pair,) = pairing.pairs(*at_both_ends(closed(), 2 * MS, offset))
    assert (pair.offset, pair.delay) == (offset, 2 * MS)
    assert pair.matched == len(closed().segments)
    assert pair.only == ()


def test_the_order_of_the_two_captures_does_not_matter() -> None:
    here, there = at_both_ends(closed(), 2 * MS, SECOND)
    (pair,) = pairing.pairs(there, here)
    assert (pair.offset, pair.delay) == (-SECOND, 2 * MS)


def test_a_segment_that_only_the_far_side_sent_was_lost_or_made() -> None:
    said = closed()
    here, _ = at_both_ends(said, MS, 0)
    forged = closed()
    forged.segments.append(replace(forged.segments[-2], flags=RST, time=forged.at + 0.1, seq=21, ident=9))
    _, there = at_both_ends(forged, MS, 0)
    (pair,) = pairing.pairs(here, there)
    assert len(pair.only) == 1
    assert "second capture (RST" in pair.only[0]


def test_addresses_may_be_anothers() -> None:
    first = [(time, ethernet(packet)) for time, packet in closed().packets()]
    behind = [
        (time, ethernet(packet.replace(b"\x0a\1\0\x0a", b"\xc6\x33\x64\x07"))) for time, packet in closed().packets()
    ]
    assert len(list(pairing.pairs(read(pcap(first)), read(pcap(behind))))) == 1


def test_other_connections_are_not_paired() -> None:
    other = Talk(port=40001, isn=(1, 2)).handshake()
    there = read(pcap([(time, ethernet(packet)) for time, packet in other.packets()]))
    assert list(pairing.pairs(at_both_ends(closed(), MS, 0)[0], there)) == []
