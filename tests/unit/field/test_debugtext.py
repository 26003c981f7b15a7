"""A driver's log beside the wire: it fits, or the contradiction is named without anything being run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.captured import Talk, captured_as

from wsklab.drivers.profile import load_profile
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.debug_text import contradictions, debugtext
from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST


def ended(*flags: int, port: int = 40000) -> Connection:
    said = Talk(port=port).handshake().exchange()
    for one in flags:
        said.p(one, after=1)
        said.d(ACK)
    return captured_as(said)


def findings(tmp_path: Path, log: str, *connections: Connection, profile: str = "pinger") -> list[str]:
    path = tmp_path / "driver.log"
    path.write_text(log)
    told = debugtext.read_log(path, load_profile(profile))
    return [text for _, text in contradictions.contradictions(told, debugtext.beside(told, connections), connections)]


OPENED = "<pinger> #1 connected\n"
POLITE = "<pinger> #1 peer hung up: flags 0x0, receive 0x00000000\n"
ABORT = "<pinger> #1 peer broke off: flags 0x1, receive 0xc000020d\n"


def test_a_log_that_fits(tmp_path: Path) -> None:
    assert findings(tmp_path, OPENED + POLITE, ended(FIN | ACK)) == []
    assert findings(tmp_path, OPENED + ABORT, ended(RST | ACK)) == []


def test_a_flag_against_a_segment(tmp_path: Path) -> None:
    (text,) = findings(tmp_path, OPENED + ABORT, ended(FIN | ACK))
    assert "line 2 reports WSK_FLAG_ABORTIVE set, but the peer sent FIN+ACK (frame 7)" in text
    (text,) = findings(tmp_path, OPENED + POLITE, ended(RST | ACK))
    assert "WSK_FLAG_ABORTIVE clear, but the peer sent RST+ACK" in text


def given_up(*, before: bool) -> Connection:
    """Make a connection that the driver's stack gives up; the peer's FIN comes before or after that."""
    said = Talk().handshake().exchange()
    if before:
        said.p(FIN | ACK, after=1)
    said.d(RST | ACK, after=1)
    if not before:
        said.p(FIN | ACK, after=0.3)
    return captured_as(said)


def test_a_fin_that_comes_when_the_drivers_stack_has_given_up_is_told_to_nobody(tmp_path: Path) -> None:
    late = given_up(before=False)
    assert findings(tmp_path, OPENED + ABORT, late) == []
    assert findings(tmp_path, OPENED, late) == []
    assert contradictions.against(late, True) is None
    assert contradictions.against(late, False) is None  # the FIN alone would have been told so
    (text,) = findings(tmp_path, OPENED + ABORT, given_up(before=True))
    assert "reports WSK_FLAG_ABORTIVE set, but the peer sent FIN+ACK" in text
    assert contradictions.against(given_up(before=True), True) is not None


def test_words_against_flags(tmp_path: Path) -> None:
    log = OPENED + "<pinger> #1 peer hung up: flags 0x1, receive 0x00000000\n"
    assert any("the words clear" in text for text in findings(tmp_path, log, ended(RST | ACK)))


def test_an_end_that_nobody_made_and_one_that_nobody_told_of(tmp_path: Path) -> None:
    (text,) = findings(tmp_path, OPENED + POLITE, ended())
    assert "the peer sent neither FIN nor RST" in text
    log = OPENED + "<pinger> #2 connected\n" + POLITE.replace("#1", "#2")
    (text,) = findings(tmp_path, log, ended(FIN | ACK), ended(FIN | ACK, port=40001))
    assert "the log tells of no end" in text


def test_one_end_told_twice(tmp_path: Path) -> None:
    (text,) = findings(tmp_path, OPENED + POLITE + POLITE, ended(FIN | ACK))
    assert "line 3 reports an end, but the peer ended the connection once" in text


def test_more_bytes_than_the_wire_carried(tmp_path: Path) -> None:
    log = OPENED + "<pinger> #1 40 bytes in\n" + POLITE
    (text,) = findings(tmp_path, log, ended(FIN | ACK))
    assert "40 bytes received, the wire carried 20" in text


def line(number: int, rest: str) -> str:
    return f"WSKLAB1 seq={number:08x} t={number:016x} conn=5 {rest}\n"


CONNECT = line(1, "ev=done op=connect id=1 st=00000000 len=0 lport=40000 rport=7000 cookie=c0010001")


def test_the_labs_own_driver_needs_no_patterns(tmp_path: Path) -> None:
    right = CONNECT + line(2, "ev=disc flags=00000001 ab=1 disp=0 irql=0 cpu=0 n=1 depth=1 rdepth=0 cookie=c0010001")
    assert findings(tmp_path, right, ended(RST | ACK), profile="wsklab") == []
    (text,) = findings(
        tmp_path, right.replace("flags=00000001 ab=1", "flags=00000000 ab=0"), ended(RST | ACK), profile="wsklab"
    )
    assert "WSK_FLAG_ABORTIVE clear" in text
    (text,) = findings(
        tmp_path,
        right.replace("rdepth=0 cookie=c0010001", "rdepth=0 cookie=c0010002"),
        ended(RST | ACK),
        profile="wsklab",
    )
    assert "another context" in text


def test_a_graceful_call_and_an_abort_on_the_wire(tmp_path: Path) -> None:
    said = Talk().handshake()
    said.d(RST | ACK)
    log = CONNECT + line(2, "ev=call op=disconnect id=2 ret=00000103 flags=00000000 len=0 seed=0")
    (text,) = findings(tmp_path, log, captured_as(said), profile="wsklab")
    assert "asks for a graceful disconnect, the wire shows RST+ACK" in text


def test_bytes_that_the_driver_counts_as_sent(tmp_path: Path) -> None:
    said = Talk().handshake()
    said.d(ACK | PSH, 10)
    said.p(ACK)
    log = CONNECT + line(2, "ev=done op=send id=2 st=00000000 len=20")
    (text,) = findings(tmp_path, log, captured_as(said), profile="wsklab")
    assert "20 bytes sent, the wire carried 10" in text


def test_connections_are_told_apart_by_their_ports(tmp_path: Path) -> None:
    first, second = ended(FIN | ACK, port=40000), ended(RST | ACK, port=40001)
    log = "echo[1] hello 10.1.0.20:40001\necho[2] hello 10.1.0.20:40000\n"
    log += "echo[1] bye: flags=1 after 0 bytes\necho[2] bye: flags=0 after 0 bytes\n"
    assert findings(tmp_path, log, first, second, profile="echo") == []


def test_a_log_that_no_pattern_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no line of it is known"):
        findings(tmp_path, "nothing here\n", ended())


@pytest.mark.parametrize(
    ("report", "flags", "fits"),
    [
        ("abortive: set", RST | ACK, True),
        ("abortive: set", FIN | ACK, False),
        ("abortive: clear", FIN | ACK, True),
        ("abortive: clear", RST | ACK, False),
        ("none", FIN | ACK, False),
    ],
)
def test_what_the_customer_says(report: str, flags: int, fits: bool) -> None:
    assert (contradictions.against(ended(flags), contradictions.expected(report)) is None) == fits


def test_a_report_of_a_silent_peer() -> None:
    assert contradictions.against(ended(), None) is None
    assert contradictions.against(ended(), True) is not None


@pytest.mark.parametrize("report", ["abortive: maybe", "[", "set", "{a: 1}"])
def test_a_report_that_is_none(report: str) -> None:
    with pytest.raises(UsageError, match="abortive: set"):
        contradictions.expected(report)
