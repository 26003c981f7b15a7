"""Each ending of the table, from a conversation as a customer's capture would have it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import pytest
from support.captured import SECOND, Talk, ethernet, pcap
from support.conversations import (
    FIRST,
    aborted,
    asked,
    at_once,
    closed,
    forged,
    forgotten,
    sent_after_close,
    unanswered,
    unread,
    vanished_sending,
)

from wsklab.orchestrator.field.endings import connections
from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.endings.words import TABLE
from wsklab.orchestrator.field.packets import captures, flows
from wsklab.orchestrator.field.packets.captures import Notes
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
