"""The recording of a scenario, with what the driver told: names, comments, and frames as they were recorded."""

from __future__ import annotations

from pathlib import Path

from support.made import recording, scenario

from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.play.wire_steps import observe_recording
from wsklab.orchestrator.results.story import tell
from wsklab.orchestrator.run import evidence
from wsklab.qemu.wire import pcapng
from wsklab.qemu.wire.frames import OTHER_SIDE, decode, echo_request


def test_the_evidence_of_a_failure_tells_its_story_in_the_recording(tmp_path: Path) -> None:
    recorded = [decode(echo_request(side, 1, 1), 5, OTHER_SIDE[side], side) for side in ("target", "peer") * 2]
    file = tmp_path / "wire.pcapng"
    file.write_bytes(pcapng.header() + b"".join(map(pcapng.packet, recorded)))
    observations = recording(flags=0).ended()
    judgement = judge(scenario(), observations)
    story = tell(scenario(), observations, judgement.verdict, judgement.reasons)
    evidence.annotate(tmp_path, observations, story)
    data = file.read_bytes()
    assert pcapng.read(data) == recorded
    assert b"driver: +0.0 ms WskDisconnectEvent, flags 0x0" in data and b"verdict: The peer's RST" in data
    assert b"target\0" in data and list(tmp_path.iterdir()) == [file]
    assert observe_recording(file) == []


def test_a_scenario_without_a_recording_has_none_afterwards(tmp_path: Path) -> None:
    evidence.annotate(tmp_path, recording().ended(), None)
    assert list(tmp_path.iterdir()) == []
