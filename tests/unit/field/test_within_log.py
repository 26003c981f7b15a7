"""What a driver's log says of itself, and of calls that no driver may make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from support.captured import Talk, captured_as

from wsklab.drivers.profile import load_profile
from wsklab.orchestrator.field.debug_text import contradictions, debugtext
from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST

OPEN = "conn=5 ev=done op=connect id=1 st=00000000 len=0 lport=40000 rport=7000 cookie=c0010001"
ON = "conn=5 ev=call op=enable id=2 ret=00000000 mask=00000080"
OFF = "conn=5 ev=call op=disable id=3 ret=00000000 mask=00000080"
POLITE = "conn=5 ev=disc flags=00000000 ab=0 disp=0 irql=0 cpu=0 n=1 depth=1 rdepth=0 cookie=c0010001"
ABORT = POLITE.replace("flags=00000000 ab=0", "flags=00000001 ab=1")
CLOSE = "conn=5 ev=call op=close id=9 ret=00000103"
CLOSED = "conn=5 ev=done op=close id=9 st=00000000 len=0"
CLEAN = "conn=0 ev=clean sockets=0 irps=0 indications=0 allocs=0"
SENDS = "conn=5 ev=call op=send id=4 ret=00000103 flags=00000000 len=10 seed=0"
SENT = "conn=5 ev=done op=send id=4 st=00000000 len=10"
REFUSED = "conn=5 ev=done op=send id=4 st=c000020d len=0"


def ended(*flags: int) -> Connection:
    said = Talk().handshake().exchange()
    for one in flags:
        said.p(one, after=1)
        said.d(ACK)
    return captured_as(said)


def findings(tmp_path: Path, lines: Sequence[str], *seen: Connection, apart: int = 1) -> list[str]:
    """`apart`: milliseconds between two lines of the log."""
    path = tmp_path / "driver.log"
    text = (f"WSKLAB1 seq={n:08x} t={n * apart * 10_000:016x} {line}\n" for n, line in enumerate(lines, 1) if line)
    path.write_text("".join(text))
    told = debugtext.read_log(path, load_profile("wsklab"))
    return [text for _, text in contradictions.contradictions(told, debugtext.beside(told, seen), seen)]


def test_a_log_that_is_right(tmp_path: Path) -> None:
    lines = [OPEN, ON, SENDS, SENT, POLITE, CLOSE, CLOSED, CLEAN]
    said = Talk().handshake().exchange()
    said.p(FIN | ACK, after=1)
    said.d(ACK)
    said.d(RST | ACK)
    assert findings(tmp_path, lines, captured_as(said)) == []


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([OPEN, ON, POLITE, CLOSED], "no line tells that a close was called"),
        ([OPEN, ON, CLOSE, CLOSED, POLITE], "tells of an end after line 4 closed the socket"),
        ([OPEN, ON, POLITE, CLOSE, CLOSED, SENDS], "calls WSK for a socket that line 4 closed"),
        ([OPEN, ON, OFF, POLITE], "line 3 has switched that event off"),
        ([OPEN, ON, "conn=5 ev=recv flags=0 len=5 took=5 null=0", POLITE], "no line has switched it on"),
        (
            [OPEN, ON, SENDS, SENT.replace("len=10", "len=9"), POLITE],
            "10 bytes (line 3) ended in success with 9",
        ),
        ([OPEN, ON, "", POLITE], "1 of its lines are missing, the first of them number 3"),
        ([OPEN, ON, POLITE, CLEAN.replace("allocs=0", "allocs=2")], "still counts allocs 2"),
        ([OPEN, ON], "the log tells of no end"),
        ([OPEN, ON.replace("ret=00000000", "ret=c000000d")], "the event could not be switched on"),
        ([OPEN, "conn=5 ev=done op=receive id=4 st=c000020d len=0", POLITE], "a receive ended as reset"),
    ],
)
def test_what_cannot_be(tmp_path: Path, lines: list[str], wanted: str) -> None:
    found = findings(tmp_path, lines, ended(FIN | ACK))
    assert any(wanted in text for text in found), found


def test_what_an_event_that_is_off_does_not_tell_is_no_contradiction(tmp_path: Path) -> None:
    assert findings(tmp_path, [OPEN, ON, OFF], ended(FIN | ACK)) == []
    assert findings(tmp_path, [OPEN], ended(FIN | ACK)) == []


def test_sends_without_an_end_after_an_abort(tmp_path: Path) -> None:
    few, many = ([OPEN, ON, ABORT, *[SENDS, REFUSED] * count] for count in (1, 6))
    assert findings(tmp_path, few, ended(RST | ACK)) == []
    assert any("6 sends after it fail" in text for text in findings(tmp_path, many, ended(RST | ACK)))


def test_two_connections_with_one_context(tmp_path: Path) -> None:
    other = OPEN.replace("conn=5", "conn=6").replace("lport=40000", "lport=40001")
    second = captured_as(Talk(port=40001).handshake())
    both = findings(tmp_path, [OPEN, other], ended(), second)
    assert any("with the context of connection 5" in text for text in both)
    assert findings(tmp_path, [OPEN, CLOSE, CLOSED, other.replace("conn=6", "conn=7")], ended(RST | ACK), second) == []


def test_an_event_that_comes_late_by_the_logs_own_clock(tmp_path: Path) -> None:
    idle = [OPEN, ON, POLITE]  # the FIN is there one second after the handshake
    assert findings(tmp_path, idle, ended(FIN | ACK), apart=600) == []
    assert any("s after the peer's FIN+ACK" in text for text in findings(tmp_path, idle, ended(FIN | ACK), apart=3000))
    busy = [OPEN, ON, *["conn=9 ev=cbout cb=disc"] * 60, POLITE]
    assert findings(tmp_path, busy, ended(FIN | ACK), apart=100) == [], (
        "a driver that works all the while is overloaded"
    )


def test_an_end_of_the_drivers_own_that_the_wire_does_not_show(tmp_path: Path) -> None:
    said = Talk().handshake()
    said.d(ACK | PSH, 10)
    said.p(ACK)
    (text,) = findings(tmp_path, [OPEN, ON, CLOSE, CLOSED], captured_as(said))
    assert "no FIN or RST of its side is in the capture" in text
    said.d(RST | ACK)
    assert findings(tmp_path, [OPEN, ON, CLOSE, CLOSED], captured_as(said)) == []
