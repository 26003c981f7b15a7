"""The segments of a captured peer, as the wire is to play them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.captured import Talk, ethernet, pcap

from wsklab.orchestrator.commands.repro import command
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.endings.connections import Connection, read
from wsklab.orchestrator.field.endings.headers import headers
from wsklab.orchestrator.field.scenarios import exact
from wsklab.orchestrator.scenario.scenario import load
from wsklab.qemu.wire.exact import Exact
from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST


def written(path: Path, said: Talk) -> Path:
    path.write_bytes(pcap(sorted((time, ethernet(packet)) for time, packet in said.packets())))
    return path


def odd() -> Talk:
    """Return data of the peer in another order, and an RST with payload."""
    said = Talk().handshake()
    said.d(PSH | ACK, 100)
    said.p(ACK)
    said.say("peer", PSH | ACK, 30, seq=said.next["peer"] + 20)
    said.say("peer", ACK, 20)
    said.next["peer"] += 30
    said.d(ACK)
    said.say("peer", RST | ACK, 5, after=0.3)
    return said


def of(path: Path) -> tuple[Connection, list[exact.Played]]:
    one = read(path).connections[0]
    return one, exact.segments(one, headers(path, one))


def test_each_segment_with_what_came_before_it(tmp_path: Path) -> None:
    _, played = of(written(tmp_path / "x.pcap", odd()))
    assert [(one.flags, one.seq, one.length, one.sent, one.heard) for one in played] == [
        ("SA", 0, 0, 1, 0),
        ("A", 1, 0, 101, 1),
        ("PA", 21, 30, 101, 1),
        ("A", 1, 20, 101, 1),
        ("RA", 51, 5, 101, 51),
    ]
    assert [one.gap for one in played] == [0, 0, 0, 0, 0.3]


def test_large_segments_are_cut(tmp_path: Path) -> None:
    said = Talk().handshake()
    said.p(PSH | FIN | ACK, 4000)
    _, played = of(written(tmp_path / "x.pcap", said))
    assert [(one.flags, one.seq, one.length) for one in played[1:]] == [
        ("A", 1, 1400),
        ("A", 1401, 1400),
        ("FPA", 2801, 1200),
    ]


def test_a_scenario_that_the_wire_takes(tmp_path: Path) -> None:
    capture, out = written(tmp_path / "x.pcap", odd()), tmp_path / "again.yaml"
    result = CliRunner().invoke(command, [str(capture), "--peer", "auto", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "The wire plays the peer, as a program cannot make: frame 9: an RST with 5 bytes of payload" in result.output
    scenario = load(out)
    play = next(step.wire.play for step in scenario.steps if step.wire is not None)
    assert play is not None
    dumped = [{**one.model_dump(exclude={"gap"}), "gap_ns": 0} for one in play.segments]
    assert len(Exact({"port": 7000, "segments": dumped}).segments) == 5
    assert not any(step.actor == "peer" for step in scenario.steps)
    assert "# frame 9" in out.read_text()


def test_auto_is_the_program_where_that_will_do(tmp_path: Path) -> None:
    said = Talk().handshake().exchange()
    said.p(FIN | ACK)
    capture, out = written(tmp_path / "x.pcap", said), tmp_path / "again.yaml"
    assert CliRunner().invoke(command, [str(capture), "--peer", "auto", "--out", str(out)]).exit_code == 0
    assert any(step.actor == "peer" for step in load(out).steps)


def test_what_the_wire_cannot_play_is_said(tmp_path: Path) -> None:
    said = Talk()
    said.d(PSH | ACK, 10)
    said.p(FIN | ACK)
    capture = written(tmp_path / "x.pcap", said)
    arguments = [str(capture), "--driver-at", "10.1.0.10", "--peer", "exact", "--out", str(tmp_path / "again.yaml")]
    error = CliRunner().invoke(command, arguments).exception
    assert isinstance(error, UsageError) and "its handshake is not in the capture" in str(error)


@pytest.mark.parametrize("length", [0, 1, 1400, 1401])
def test_no_byte_is_lost_in_cutting(tmp_path: Path, length: int) -> None:
    said = Talk().handshake()
    said.p(PSH | ACK, length)
    _, played = of(written(tmp_path / "x.pcap", said))
    assert sum(one.length for one in played) == length
