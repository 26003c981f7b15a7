"""Each ending of the table, from a conversation as a customer's capture would have it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import pytest
from support.captured import SECOND, Talk, ethernet, pcap

from wsklab.orchestrator.field import captures, connections, flows
from wsklab.orchestrator.field.captures import Notes
from wsklab.orchestrator.field.connections import Connection
from wsklab.orchestrator.field.words import TABLE
from wsklab.orchestrator.scenario.scenario import KNOWN
from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST, SYN, checksum


def captured(said: Talk, extra: list[tuple[int, bytes]] | None = None, version: int = 4) -> list[Connection]:
    frames = [(time, ethernet(packet)) for time, packet in said.packets(version)]
    notes = Notes()
    data = pcap(sorted([*frames, *(extra or [])], key=lambda pair: pair[0]))
    return list(connections.connections(flows.read(captures.stream(io.BytesIO(data), notes), notes)))


def one(said: Talk) -> Connection:
    (only,) = captured(said)
    return only


def numbers(connection: Connection) -> list[str]:
    return [named.number for named in connection.ending.named]


def way(connection: Connection) -> list[str]:
    return [named.number for named in connection.ending.way]


def asked() -> Talk:
    """The driver asked, the peer answered, and then nothing for a while."""
    return Talk().handshake().exchange()


def closed() -> Talk:
    said = asked()
    said.p(FIN | ACK, after=1)
    said.d(ACK)
    return said


def half_closed() -> Talk:
    said = closed()
    said.d(ACK | PSH, 30)
    said.p(ACK)
    return said


def data_then_fin() -> Talk:
    said = asked()
    said.p(ACK | PSH, 20, after=1)
    said.p(FIN | ACK, after=0.001)
    said.d(ACK)
    return said


def fin_with_data() -> Talk:
    said = asked()
    said.p(FIN | ACK | PSH, 20, after=1)
    said.d(ACK)
    return said


def aborted() -> Talk:
    said = asked()
    said.p(RST | ACK, after=2)
    return said


def data_then_rst() -> Talk:
    said = asked()
    said.p(ACK | PSH, 20, after=1)
    said.p(RST | ACK, after=0.001)
    return said


def unread() -> Talk:
    said = Talk().handshake()
    said.d(ACK | PSH, 10)
    said.p(ACK)
    said.p(RST | ACK, after=1)
    return said


def half_then_rst() -> Talk:
    said = closed()
    said.p(RST | ACK, after=0.5)
    return said


def sent_after_close() -> Talk:
    said = closed()
    said.d(ACK | PSH, 4)
    said.p(RST, seq=said.next["peer"], stamp=False, window=0, ident=0)
    return said


def sent_after_fin_wait() -> Talk:
    said = closed()
    said.d(ACK | PSH, 4, after=70)
    said.p(RST, seq=said.next["peer"], stamp=False, window=0, ident=0)
    return said


def refused() -> Talk:
    said = Talk()
    said.d(SYN)
    said.p(RST | ACK, seq=-5000, stamp=False, ident=0, window=0)
    return said


def unanswered() -> Talk:
    said = Talk()
    for pause in (0, 1, 2, 4):
        said.d(SYN, after=pause, seq=0)
    return said


def at_once(flags: int) -> Callable[[], Talk]:
    def make() -> Talk:
        said = Talk().handshake()
        said.p(flags, after=0.001)
        return said

    return make


def vanished_sending() -> Talk:
    said = asked()
    said.d(ACK | PSH, 50, after=1)
    for pause in (0.3, 0.6, 1.2, 2.4):
        said.d(ACK | PSH, 50, after=pause, seq=11)
    return said


def vanished_idle() -> Talk:
    return asked()


def keepalive_death() -> Talk:
    said = asked()
    for _ in range(10):
        said.d(ACK, after=1, seq=10)
    said.d(RST | ACK, after=1)
    return said


def forgotten() -> Talk:
    said = asked()
    said.d(ACK | PSH, 2, after=30)
    said.p(RST, seq=said.next["peer"], stamp=False, window=0, ident=0)
    return said


def fin_lost_for_ever() -> Talk:
    said = asked()
    said.p(FIN | ACK, after=1)
    for pause in (0.2, 0.4, 0.8):
        said.p(FIN | ACK, after=pause, seq=21)
    said.d(ACK | PSH, 2, after=5, ack=21)
    said.p(RST, seq=21, stamp=False, window=0, ident=0)
    return said


def peer_keepalive() -> Talk:
    said = asked()
    for _ in range(9):
        said.p(ACK, after=75, seq=20)
    said.p(RST | ACK, after=75)
    return said


def window_closed() -> Talk:
    said = asked()
    said.d(ACK | PSH, 500)
    said.p(ACK, window=0)
    for pause in (0.2, 0.4, 0.8):
        said.d(ACK, after=pause, seq=510)
        said.p(ACK, window=0)
    return said


def drained_then_fin() -> Talk:
    said = asked()
    said.p(ACK | PSH, 1000)
    said.d(ACK, window=0)
    said.d(ACK, after=1)
    said.p(FIN | ACK)
    said.d(ACK)
    return said


def reset_behind_window() -> Talk:
    said = asked()
    said.p(ACK | PSH, 1000)
    said.d(ACK, window=0)
    said.p(RST | ACK, after=1)
    return said


def crossing() -> Talk:
    said = asked()
    said.d(FIN | ACK, after=1, ack=21)
    said.p(FIN | ACK, after=0.0001, ack=11)
    said.d(ACK)
    said.p(ACK)
    return said


def driver_first() -> Talk:
    said = asked()
    said.d(FIN | ACK, after=1)
    said.p(ACK)
    said.p(FIN | ACK)
    said.d(ACK)
    return said


def never_closes() -> Talk:
    said = asked()
    said.d(FIN | ACK, after=1)
    said.p(ACK)
    return said


def fin_then_rst() -> Talk:
    said = asked()
    said.d(FIN | ACK, after=1)
    said.p(RST | ACK)
    return said


def abort_meets_fin() -> Talk:
    said = asked()
    said.d(RST | ACK, after=1, ack=21)
    said.p(FIN | ACK, after=0.0001)
    return said


def abort_meets_rst() -> Talk:
    said = asked()
    said.d(RST | ACK, after=1, ack=21)
    said.p(RST | ACK, after=0.0001)
    return said


def forged(**changes: int) -> Callable[[], Talk]:
    """An RST of another TTL; the peer goes on afterwards."""

    def make() -> Talk:
        said = asked()
        said.p(RST | ACK, after=1, stamp=False, ttl=250, ident=0, **changes)
        said.p(ACK | PSH, 7, after=0.1)
        said.d(ACK)
        said.p(FIN | ACK, after=1)
        said.d(ACK)
        return said

    return make


def forged_fin() -> Talk:
    said = asked()
    said.p(FIN | ACK, after=1, stamp=False, ttl=250, ident=0)
    said.d(ACK)
    said.p(ACK, seq=21)
    said.p(ACK, seq=21, after=1)
    return said


FIRST = {
    "C01": closed,
    "C02": half_closed,
    "C07": data_then_fin,
    "C08": fin_with_data,
    "C09": data_then_rst,
    "C10": unread,
    "C16": half_then_rst,
    "C17": sent_after_close,
    "C18": sent_after_fin_wait,
    "C21": refused,
    "C22": unanswered,
    "C29": vanished_idle,
    "C30": vanished_sending,
    "C31": keepalive_death,
    "C33": forgotten,
    "C43": fin_lost_for_ever,
    "C44": peer_keepalive,
    "C47": drained_then_fin,
    "C48": reset_behind_window,
    "C50": window_closed,
    "C52": crossing,
    "C53": driver_first,
    "C54": never_closes,
    "C55": fin_then_rst,
    "C56": abort_meets_fin,
    "C57": abort_meets_rst,
    "C59": forged(),
    "C63": forged_fin,
}


@pytest.mark.parametrize("number", FIRST)
def test_an_ending_is_named_first(number: str) -> None:
    assert numbers(one(FIRST[number]()))[0] == number


@pytest.mark.parametrize(
    ("said", "all_of"),
    [
        (closed, {"C01", "C06", "C12", "C15"}),
        (aborted, {"C05", "C14", "C19"}),
        (at_once(FIN | ACK), {"C01", "C26"}),
        (at_once(RST | ACK), {"C05", "C24", "C25"}),
        (unread, {"C10", "C13", "C05"}),
        (sent_after_close, {"C03", "C17", "C18"}),
        (forgotten, {"C32", "C33", "C41"}),
        (vanished_sending, {"C30", "C35", "C40"}),
    ],
)
def test_endings_that_look_alike_are_all_named(said: Callable[[], Talk], all_of: set[str]) -> None:
    assert all_of <= set(numbers(one(said())))


def test_a_reset_within_the_window_that_nobody_took_is_told_apart_from_the_end() -> None:
    connection = one(forged(seq=1000)())
    assert way(connection)[:1] == ["C60"]
    assert numbers(connection)[0] == "C01"


def test_a_reset_outside_the_window() -> None:
    assert way(one(forged(seq=1 << 30)()))[:1] == ["C61"]


def test_a_syn_within_the_connection() -> None:
    said = asked()
    said.p(SYN, seq=500, after=0.1)
    said.d(ACK)
    said.p(FIN | ACK, after=1)
    said.d(ACK)
    assert "C62" in way(one(said))


def test_an_outage_that_passed() -> None:
    said = asked()
    said.d(ACK | PSH, 50, after=1)
    for pause in (0.3, 0.6, 1.2):
        said.d(ACK | PSH, 50, after=pause, seq=11 - 1)
    said.p(ACK)
    said.p(FIN | ACK)
    said.d(ACK)
    assert {"C34", "C36", "C39"} <= set(way(one(said)))


def unreachable(said: Talk, number: int, code: int) -> tuple[int, bytes]:
    """ICMP unreachable about a segment."""
    quoted = said.packet(number)[:28]
    message = struct.pack("!BBHI", 3, code, 0, 0) + quoted
    message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 1, 0, 64, 1, 0) + b"\x0a\1\0\x14\x0a\1\0\x0a"
    return 1_700_000_000 * SECOND + int(said.segments[number].time * SECOND) + 1000, ethernet(header + message)


def test_icmp_answers_a_syn_or_interrupts() -> None:
    said = unanswered()
    (connection,) = captured(said, [unreachable(said, 0, 3)])
    assert numbers(connection)[0] == "C23"
    said = closed()
    (connection,) = captured(said, [unreachable(said, 3, 1)])
    assert "C42" in way(connection)


def test_ports_used_again_are_another_connection() -> None:
    said = closed()
    said.isn = (said.isn[0], said.isn[1])
    again = Talk(isn=(77, 88), at=said.at + 0.5).handshake()
    again.p(RST | ACK)
    both = captured(said, [(time, ethernet(packet)) for time, packet in again.packets()])
    assert [numbers(c)[0] for c in both] == ["C01", "C05"]
    assert "C27" in way(both[1])


def test_many_that_end_together() -> None:
    extra = []
    for number in range(30):
        said = Talk(port=42000 + number).handshake()
        said.p(FIN | ACK, after=1)
        extra += [(time, ethernet(packet)) for time, packet in said.packets()]
    assert all("C20" in way(c) for c in captured(Talk(), extra))


def test_every_named_ending_is_in_the_table() -> None:
    assert set(TABLE) == {number for number in KNOWN if number.startswith("C")}


# -- what a capture does to a conversation ------------------------------------------------------------------------


def frames(said: Talk) -> list[tuple[int, bytes]]:
    return [(time, ethernet(packet)) for time, packet in said.packets()]


def told(packets: list[tuple[int, bytes]]) -> Connection:
    notes = Notes()
    (only,) = connections.connections(flows.read(captures.stream(io.BytesIO(pcap(packets)), notes), notes))
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
    connection = one(said)
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
    connection = one(said)
    assert [half.payload for half in connection.story.halves] == [500, 500]
    assert [half.retransmissions for half in connection.story.halves] == [0, 0]


def test_the_drivers_side_is_the_one_with_windows_ttl() -> None:
    said = Talk()
    said.p(SYN)
    said.d(SYN | ACK, ttl=128)
    said.p(ACK)
    said.p(FIN | ACK, after=1)
    said.d(ACK, ttl=128)
    connection = one(said)
    assert connection.names[connection.driver].startswith("10.1.0.10")
    assert "Windows" in connection.driver_by
    assert numbers(connection)[0] == "C01"
