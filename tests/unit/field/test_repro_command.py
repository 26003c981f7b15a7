"""`wsklab repro` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.captured import Talk, ethernet, pcap

from wsklab.orchestrator.commands.repro import command
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.endings import speed
from wsklab.orchestrator.scenario.scenario import load
from wsklab.qemu.wire.frames import ACK, FIN, RST


def repro(*words: str | Path) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def written(path: Path, *conversations: Talk) -> Path:
    packets = [(time, ethernet(packet)) for said in conversations for time, packet in said.packets()]
    path.write_bytes(pcap(sorted(packets)))
    return path


def ended(flags: int, port: int = 40000) -> Talk:
    said = Talk(port=port).handshake().exchange()
    said.p(flags, after=2)
    return said


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return written(tmp_path / "field.pcap", ended(FIN | ACK), ended(RST | ACK, 40001))


def test_the_table(capture: Path) -> None:
    result = repro("list", capture)
    assert result.exit_code == 0
    assert "2 connections" in result.output
    assert "10.1.0.10:40000 -> 10.1.0.20:7000" in result.output
    assert "C01 the peer read everything and closed" in result.output
    assert "C05 the peer closed with SO_LINGER 0" in result.output
    assert "peer RST+ACK; unacknowledged then: driver 0, peer 0 bytes" in result.output
    assert "the capture cannot tell" in result.output


def test_one_connection_with_its_segments(capture: Path) -> None:
    result = repro("list", capture, "--connection", "2")
    assert ":40000" not in result.output
    assert "peer RST+ACK      seq 21 ack 11 length 0" in result.output


def test_json(capture: Path) -> None:
    document = json.loads(repro("list", capture, "--json").output)
    first, second = document["captures"][0]["connections"]
    assert first["endings"][0]["number"] == "C01"
    assert second["ends"][0]["segment"] == "RST+ACK"
    assert second["ends"][0]["origin"] == "its sender's own"


def test_a_report_that_contradicts_the_wire(capture: Path) -> None:
    result = repro("list", capture, "--connection", "1", "--expect", "abortive: set")
    assert result.exit_code == 1
    assert "contradiction: connection 1: the driver is said to have reported abortive set" in result.output
    assert repro("list", capture, "--connection", "2", "--expect", "abortive: set").exit_code == 0


def test_a_log_that_contradicts_the_wire(capture: Path, tmp_path: Path) -> None:
    log = tmp_path / "driver.log"
    log.write_text("echo[1] hello 10.1.0.20:40000\necho[1] bye: flags=1 after 20 bytes\n")
    result = repro("list", capture, "--connection", "1", "--log", log, "--driver", "echo")
    assert result.exit_code == 1
    assert "reports WSK_FLAG_ABORTIVE set, but the peer sent FIN+ACK" in result.output


def test_two_captures_of_one_connection(capture: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other.pcap", ended(FIN | ACK))
    assert "1 and 3 are one connection (7 segments)" in repro("list", capture, other).output


def test_a_scenario_and_how_near_it_comes(capture: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.yaml"
    result = repro(capture, "--connection", "2", "--out", out)
    assert result.exit_code == 0, result.output
    assert load(out).name == "again"
    assert f"wsklab run {out}" in result.output
    run = written(tmp_path / "wire.pcapng", ended(RST | ACK, 40077))
    result = repro("fidelity", capture, tmp_path, "--connection", "2")
    assert result.exit_code == 0
    assert run.exists()
    assert "fidelity 1.000" in result.output
    result = repro("fidelity", capture, tmp_path, "--connection", "1")
    assert result.exit_code == 1
    assert "no reproduction; first difference: the capture has peer FIN, the run peer RST" in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "{capture}", "--connection", "9"], "there is no connection 9"),
        (["list", "{folder}/nothing"], "cannot be read"),
        (["list", "{folder}"], "a folder, not a regular file"),
        (["list", "{capture}", "--log", "x"], "--log and --driver go together"),
        (["list", "{capture}", "--driver-at", "nowhere"], "no IPv4 or IPv6 address"),
        (["{capture}", "--out", "{folder}/a.yaml"], "choose one with --connection"),
        (["{capture}", "--connection", "1", "--out", "{capture}"], "exists already"),
        (["{capture}", "--connection", "1", "--out", "{folder}/no/a.yaml"], "cannot be written"),
        (["fidelity", "{capture}", "{folder}", "--connection", "1"], "cannot be read"),
    ],
)
def test_mistakes_are_told_in_a_sentence(capture: Path, tmp_path: Path, words: list[str], said: str) -> None:
    result = repro(*(word.format(capture=capture, folder=tmp_path) for word in words))
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)


def test_what_the_bench_makes_is_read_within_the_bound(tmp_path: Path) -> None:
    speed.make(tmp_path / "made.pcap", 4000)
    done = speed.measure(tmp_path / "made.pcap")
    assert (done.packets, done.connections) == (4000, 200)
    assert done.peak_mib < 500
