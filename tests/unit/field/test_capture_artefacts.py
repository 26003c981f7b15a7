"""What a capture does to a conversation: frames seen twice, cut, joined, missing, damaged."""

from __future__ import annotations

from support.captured import Talk, captured_as, ethernet, pcap, read
from support.conversations import aborted, asked, closed

from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST, SYN


def numbers(connection: Connection) -> list[str]:
    return [named.number for named in connection.ending.named]


def way(connection: Connection) -> list[str]:
    return [named.number for named in connection.ending.way]


def frames(said: Talk) -> list[tuple[int, bytes]]:
    return [(time, ethernet(packet)) for time, packet in said.packets()]


def told(packets: list[tuple[int, bytes]]) -> Connection:
    (only,) = read(pcap(packets))
    return only


def test_frames_seen_twice_are_no_retransmissions() -> None:
    twice = [(time + extra, frame) for time, frame in frames(closed()) for extra in (0, 30_000)]
    connection = told(twice)
    assert [half.retransmissions for half in connection.story.halves] == [0, 0]
    assert sum(half.copies for half in connection.story.halves) == len(closed().segments)
    assert numbers(connection)[0] == "C01"


def test_one_side_alone_still_tells_its_ending() -> None:
    said = closed()
    only = [pair for pair, segment in zip(frames(said), said.segments, strict=True) if segment.sender == "peer"]
    connection = told(only)
    assert [end.word for end in connection.story.ends] == ["fin"]
    assert any("only the other direction" in text for text in connection.ending.unknown)


def test_bytes_that_were_not_captured_are_not_called_lost() -> None:
    said = asked()
    said.p(ACK | PSH, 300)
    said.d(ACK)
    said.p(RST | ACK, after=1)
    packets = frames(said)
    del packets[-3]
    connection = told(packets)
    assert connection.story.halves[1].missing == 300
    assert any("300 bytes" in text for text in connection.ending.unknown)


def test_a_joined_segment_larger_than_any_wire_carries() -> None:
    said = Talk().handshake()
    said.p(ACK | PSH, 30_000)
    said.d(ACK)
    said.p(FIN | ACK)
    connection = captured_as(said)
    assert connection.story.halves[1].payload == 30_000
    assert any("card's work" in text for text in connection.ending.unknown)


def test_unfilled_checksums_are_the_cards_and_a_single_wrong_one_is_damage() -> None:
    def spoilt(frame: bytes) -> bytes:
        return frame[:50] + bytes([frame[50] ^ 0x55]) + frame[51:]

    said = aborted()
    every = [(t, spoilt(f) if s.sender == "peer" else f) for (t, f), s in zip(frames(said), said.segments, strict=True)]
    assert numbers(told(every))[0] == "C05"
    last = [
        (t, spoilt(f) if s is said.segments[-1] else f) for (t, f), s in zip(frames(said), said.segments, strict=True)
    ]
    connection = told(last)
    assert connection.story.ends[0].damaged
    assert "C61" in way(connection)


def test_sequence_numbers_wrap() -> None:
    said = Talk(isn=(0xFFFFFFF0, 0xFFFFFFFE)).handshake()
    for _ in range(5):
        said.d(ACK | PSH, 100)
        said.p(ACK | PSH, 100)
    said.d(ACK)
    said.p(FIN | ACK, after=1)
    said.d(ACK)
    connection = captured_as(said)
    assert [half.payload for half in connection.story.halves] == [500, 500]
    assert [half.retransmissions for half in connection.story.halves] == [0, 0]


def test_the_drivers_side_is_the_one_with_windows_ttl() -> None:
    said = Talk()
    said.p(SYN)
    said.d(SYN | ACK, ttl=128)
    said.p(ACK)
    said.p(FIN | ACK, after=1)
    said.d(ACK, ttl=128)
    connection = captured_as(said)
    assert connection.names[connection.driver].startswith("10.1.0.10")
    assert "Windows" in connection.driver_by
    assert numbers(connection)[0] == "C01"
