"""A capture without its payload: what is told of it stays the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.captured import Talk, ethernet, pcap, read

from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.field.endings import table
from wsklab.orchestrator.field.packets import stripping
from wsklab.orchestrator.field.packets.captures import Notes, Packet
from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST


def told() -> Talk:
    said = Talk().handshake().exchange()
    said.p(ACK | PSH, 1000)
    said.d(ACK)
    said.p(FIN | ACK, after=1)
    said.d(ACK)
    said.d(ACK | PSH, 500, after=1)
    said.p(RST)
    return said


def stripped(path: Path, *words: str) -> bytes:
    out = path.with_name("new.pcapng")
    done = CliRunner().invoke(main, ["repro", "strip", str(path), *words, "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out.read_bytes()


@pytest.mark.parametrize(("link", "version"), [(1, 4), (1, 6), (101, 4)])
def test_lengths_and_endings_stay_and_no_payload(tmp_path: Path, link: int, version: int) -> None:
    packets = [(time, ethernet(data) if link == 1 else data) for time, data in told().packets(version)]
    path = tmp_path / "field.pcap"
    path.write_bytes(whole := pcap(packets, link))
    small = stripped(path)
    (before,), (after,) = read(whole), read(small)
    assert b"xxxx" in whole and b"xxxx" not in small
    assert table.row(before) == table.row(after)
    assert before.ending.named == after.ending.named
    assert [(s.time, s.seq, s.length, s.flags) for s in before.segments()] == [
        (s.time, s.seq, s.length, s.flags) for s in after.segments()
    ]


def test_one_connection_of_several(tmp_path: Path) -> None:
    other = Talk(port=40001).handshake()
    other.p(FIN | ACK)
    path = tmp_path / "field.pcap"
    path.write_bytes(pcap(sorted((t, ethernet(data)) for said in (told(), other) for t, data in said.packets())))
    (only,) = read(stripped(path, "--connection", "2"))
    assert "40001" in "".join(only.names)


def test_what_is_no_tcp_is_left_out_and_fragments_are() -> None:
    left_out: list[int] = []
    arp, (_, first) = Packet(1, 1, 42, bytes(42), 0), told().packets()[3]
    fragment = ethernet(first[:6] + b"\x20\x00" + first[8:])
    packets = [arp, Packet(2, 1, len(fragment), fragment, 0), Packet(3, 1, len(first) + 14, ethernet(first), 0)]
    assert len(read(b"".join(stripping.stripped(packets, Notes(), None, left_out)))) == 1
    assert left_out == [1, 2]


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "field.pcap"
    path.write_bytes(pcap([(t, ethernet(data)) for t, data in told().packets()]))
    stripped(path)
    done = CliRunner().invoke(main, ["repro", "strip", str(path), "--out", str(tmp_path / "new.pcapng")])
    assert "exists already" in str(done.exception) + done.output
