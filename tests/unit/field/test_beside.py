"""The page that shows a capture and a run on one axis of time."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from click.testing import CliRunner
from support.captured import Talk, ethernet, pcap

from wsklab.orchestrator.commands.repro import command
from wsklab.qemu.wire.frames import ACK, FIN, RST

TEXT, LINE = "{http://www.w3.org/2000/svg}text", "{http://www.w3.org/2000/svg}line"


def written(path: Path, flags: int, after: float) -> Path:
    said = Talk().handshake().exchange()
    said.p(flags, after=after)
    path.write_bytes(pcap(sorted((time, ethernet(packet)) for time, packet in said.packets())))
    return path


def test_both_are_on_one_axis(tmp_path: Path) -> None:
    capture, run = written(tmp_path / "a.pcap", FIN | ACK, 4), written(tmp_path / "b.pcap", RST | ACK, 2)
    page = tmp_path / "page.html"
    result = CliRunner().invoke(command, ["fidelity", str(capture), str(run), "--html", str(page)])
    assert result.exit_code == 1, "another ending"
    text = page.read_text()
    drawing = ET.fromstring(text[text.index("<svg") :])
    words = [(element.get("text-anchor"), element.text or "") for element in drawing.iter(TEXT)]
    assert any(anchor == "end" and "peer FIN+ACK" in said for anchor, said in words)
    assert any(anchor == "start" and "peer RST+ACK" in said for anchor, said in words)
    assert "another ending; first difference" in text
    heights = [int(line.get("y1", "0")) for line in drawing.iter(LINE)][1:]
    half = len(heights) // 2
    assert heights[:half] == sorted(heights[:half]) and heights[half:] == sorted(heights[half:])
    assert max(heights[half:]) < 0.7 * max(heights[:half]), "the run is over earlier, on the same scale"
