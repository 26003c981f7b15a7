"""A recording with comments and names: what Wireshark shows of it, and that its frames are as they were."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.qemu.wire import pcapng
from wsklab.qemu.wire.annotate import annotated
from wsklab.qemu.wire.frames import ADDRESSES, OTHER_SIDE, decode, echo_request

NAMES = {ADDRESSES["target"]: "target", ADDRESSES["peer"]: "peer", "fd77::20": "peer"}


def recording() -> bytes:
    """Return a frame to each machine, the second one with the comment of a fault, and a mark."""
    frames = [
        decode(echo_request(side, 7, 1), 1_000 * number, OTHER_SIDE[side], side, comment)
        for number, (side, comment) in enumerate((("target", ""), ("peer", "kept by fault 1 (drop)")), 1)
    ]
    return pcapng.header() + b"".join(map(pcapng.packet, [*frames, pcapng.mark(9_000, "end")]))


comments = st.dictionaries(st.integers(1, 5), st.lists(st.text(max_size=40).map("driver: {}".format), max_size=3))


@given(comments)
def test_frames_marks_and_faults_read_as_before(told: dict[int, list[str]]) -> None:
    assert pcapng.read(annotated(recording(), told, NAMES)) == pcapng.read(recording())


@given(comments, st.integers(0, 400))
def test_a_recording_that_was_cut_keeps_its_whole_blocks(told: dict[int, list[str]], cut: int) -> None:
    data = recording()
    data = data[: len(data) - min(cut, len(data))]
    assert pcapng.read(annotated(data, told, NAMES)) == pcapng.read(data)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_wireshark_shows_machines_names_and_all_comments(tmp_path: Path) -> None:
    file = tmp_path / "wire.pcapng"
    file.write_bytes(
        annotated(recording(), {2: ["driver: +4.0 ms WskDisconnectEvent, flags 0x0", "verdict: wrong"]}, NAMES)
    )
    command = ["tshark", "-r", str(file), "-N", "n", "-T", "json", "-e", "frame.interface_name", "-e", "frame.comment"]
    done = subprocess.run([*command, "-e", "ip.dst_host"], capture_output=True, text=True, check=True)
    first, second, end = (packet["_source"]["layers"] for packet in json.loads(done.stdout))
    assert first["frame.interface_name"] == ["peer"] and second["frame.interface_name"] == ["target"]
    assert (first["ip.dst_host"], second["ip.dst_host"]) == (["target"], ["peer"])
    assert second["frame.comment"] == [
        "kept by fault 1 (drop)",
        "driver: +4.0 ms WskDisconnectEvent, flags 0x0",
        "verdict: wrong",
    ]
    assert end["frame.comment"] == ["mark end"]
