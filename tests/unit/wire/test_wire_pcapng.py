"""The recording: what is written is read again, by us and by tshark, and a broken file gives what is whole."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.qemu.wire import pcapng
from wsklab.qemu.wire.frames import ACK, MACS, RST, Endpoint, decode, tcp_frame

DATA = tcp_frame(Endpoint(MACS["target"], "10.77.0.10", 5000), Endpoint(MACS["peer"], "10.77.0.20", 6000), 1, 2, ACK, 3)
RESET = tcp_frame(
    Endpoint(MACS["peer"], "10.77.0.20", 6000), Endpoint(MACS["target"], "10.77.0.10", 5000), 2, 0, RST, 0
)
NOW = 1_800_000_000_123_456_789
FRAMES = [
    decode(DATA, NOW, "target", "peer"),
    decode(DATA, NOW + 1, "target", "", pcapng.KEPT + "by fault 1 (drop)"),
    decode(RESET, NOW + 2, "wire", "target", "forged by fault 2 (forge): rst as peer"),
    pcapng.mark(NOW + 3, "scenario begins"),
    decode(RESET, NOW + 4, "peer", "target"),
]
RECORDING = pcapng.header() + b"".join(map(pcapng.packet, FRAMES))


def test_what_is_written_is_read() -> None:
    assert pcapng.read(RECORDING) == FRAMES


@given(st.binary(max_size=70), st.integers(0, 2**63), st.sampled_from(["target", "peer"]), st.text(max_size=50))
def test_any_bytes_survive(data: bytes, time: int, sender: str, comment: str) -> None:
    comment = comment.encode(errors="replace").decode()
    frame = decode(data, time, sender, {"target": "peer", "peer": "target"}[sender], f"c{comment}")
    assert pcapng.read(pcapng.header() + pcapng.packet(frame)) == [frame]


def test_a_killed_run_leaves_all_but_the_last_frame() -> None:
    end = len(RECORDING)
    for cut in range(1, len(pcapng.packet(FRAMES[-1]))):
        assert pcapng.read(RECORDING[: end - cut]) == FRAMES[:-1]


@given(st.binary(max_size=300))
def test_garbage_is_no_recording(data: bytes) -> None:
    pcapng.read(data)


@given(st.lists(st.tuples(st.integers(0, len(RECORDING) - 1), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_spoilt_recording_never_raises(changes: list[tuple[int, int]]) -> None:
    spoilt = bytearray(RECORDING)
    for at, value in changes:
        spoilt[at] = value
    pcapng.read(bytes(spoilt))


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_tshark_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "wire.pcapng"
    file.write_bytes(RECORDING)
    fields = ["frame.interface_name", "frame.time_epoch", "tcp.flags.reset", "frame.comment"]
    command = ["tshark", "-r", str(file), "-T", "fields", "-E", "separator=|"]
    command += [word for field in fields for word in ("-e", field)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split("|")[0] for line in lines] == ["target", "target", "target", "target", "peer"]
    assert lines[0].split("|")[1] == "1800000000.123456789"
    assert lines[1].endswith("kept by fault 1 (drop)")
    assert lines[3].endswith("mark scenario begins")
