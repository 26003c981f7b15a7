"""A test in Python as a scenario: which steps its verbs are, how it fails, and what is judged of it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.judge.judge import Judgement
from wsklab.orchestrator.judge.observed import observed
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.live import conversation as module
from wsklab.orchestrator.live import telling
from wsklab.orchestrator.live.conversation import Conversation, LabLost, StepFailed, scenario_of
from wsklab.orchestrator.live.parties import Parties
from wsklab.orchestrator.live.session import reasons_of, verdict_of, worker_folder
from wsklab.orchestrator.observe.base import Observation
from wsklab.orchestrator.observe.foreign_lines import ForeignDisconnect
from wsklab.orchestrator.observe.lab_notes import PortsKnown
from wsklab.orchestrator.observe.wire_frames import FrameSeen
from wsklab.orchestrator.scenario.scenario import Action


class Playing:
    """Whatever is played is noted; `peer: kill` loses the lab, `driver: await` tells of a reset."""

    def __init__(self, *_: object) -> None:
        self.actions: list[str] = []
        self.calls: list[str] = []
        self.seen: list[Observation] = [PortsKnown(t=1, conn=0, target_port=1, peer_port=2)]
        self.context = SimpleNamespace(deadline=lambda within: within)

    def begin(self) -> None:
        self.calls.append("begin")

    def step(self, action: Action) -> Any:
        self.actions.append(str(action))
        if action.step.verb == "kill":
            raise LabError("QEMU of the peer ended")
        failed = action.step.verb == "receive"
        if action.step.verb == "await_":
            self.seen.append(
                FrameSeen(t=2, proto="tcp", sender="peer", flags="R", seq=1, ack=1, length=0, sport=2, dport=1, fate="")
            )
            self.seen.append(ForeignDisconnect(t=3, conn=0, text="gone: flags 1", flags=1, abortive=True))
        outcome, detail = ("failed", "it did not come") if failed else ("done", "")
        return SimpleNamespace(outcome=outcome, text=str(action), detail=detail)

    def end(self) -> None:
        self.calls.append("end")

    def failed(self, error: Exception) -> None:
        self.calls.append(f"failed: {error}")

    def put_back(self) -> None:
        self.calls.append("put back")

    def so_far(self) -> list[Observation]:
        return list(self.seen)

    observations = so_far


class Heartbeat:
    def __init__(self, lab: object, limit: float, what: str) -> None:
        assert limit == float("inf"), "a test may take as long as it likes"

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Conversation:
    monkeypatch.setattr(module, "Playing", Playing)
    monkeypatch.setattr(module, "Heartbeat", Heartbeat)
    monkeypatch.setattr(module, "phase", lambda *_: nullcontext())
    lab = SimpleNamespace(
        slowness=1.0,
        doubt=None,
        journal=SimpleNamespace(lost=None),
        wire=SimpleNamespace(barrier=lambda *_: None),
        reachable=["peer", "target"],
        guest=SimpleNamespace(image=SimpleNamespace(name="standin"), qualifying=False),
    )
    return Conversation(cast(Lab, lab), scenario_of("x", "x", {}), tmp_path, "1")


def played(talk: Conversation) -> Playing:
    return cast(Playing, talk._playing)


def test_verbs_are_steps(talk: Conversation) -> None:
    parties = Parties(talk)
    parties.driver.connect()
    parties.driver.enable(["disconnect"])
    parties.driver.send(100, conn=0, expect="any")
    parties.peer.option(user_timeout_ms=5)
    parties.peer.close(linger=0)
    parties.wire.drop(sender="peer", segment="fin", nth=2)
    parties.wire.drop_first("fin", sender="peer")
    parties.wire.await_(segment="rst")
    parties.lab.power_off()
    assert played(talk).actions == [
        "driver: connect",
        "driver: enable events=['disconnect']",
        "driver: send length=100",
        "peer: option user-timeout-ms=5",
        "peer: close linger=0",
        "wire: drop from=peer segment=fin nth=2",
        "wire: drop from=peer segment=fin",
        "wire: await segment=rst",
        "lab: power-off",
    ]


def test_an_unknown_word_is_one_sentence_that_knows_better(talk: Conversation) -> None:
    parties = Parties(talk)
    with pytest.raises(AttributeError, match=r"the peer has no verb 'clsoe'; it has connect, accept, send"):
        parties.peer.clsoe()
    with pytest.raises(TypeError, match=r"^peer.close: linger: Input should be less than or equal to 60$"):
        parties.peer.close(linger=99)
    with pytest.raises(TypeError, match="takes one value, or words with names"):
        parties.peer.send(1, cork=True)
    assert played(talk).actions == []


def test_words_are_offered_at_a_prompt(talk: Conversation) -> None:
    parties = Parties(talk)
    assert {"close_all", "await_", "kill", "shell"} <= set(dir(parties.peer))
    assert (parties.peer.close.__doc__ or "").startswith("close(2)")


def test_the_event_is_returned_and_the_wire_tells_of_the_ending(talk: Conversation) -> None:
    parties = Parties(talk)
    event = parties.driver.await_disconnect()
    assert (event.flags, event.abortive, repr(event)) == (1, True, "<WskDisconnectEvent abortive, flags 0x1>")
    assert parties.wire.endings("peer") == ["rst"]
    text = telling.told(talk.facts).splitlines()
    assert text[:2] == [
        "told (WskDisconnectEvent): abortive 0x1",
        "on the wire: peer sent RST; driver sent no FIN and no RST",
    ]
    assert text[-1].split() == ["0.0", "ms", "driver", "gone:", "flags", "1"]


def test_a_step_that_does_not_come_to_its_end_fails_the_test(talk: Conversation) -> None:
    with pytest.raises(StepFailed, match=r"^peer: receive: it did not come$"):
        Parties(talk).peer.receive()


def test_a_lab_that_is_lost_is_not_asked_again(talk: Conversation) -> None:
    parties = Parties(talk)
    for _ in range(2):
        with pytest.raises(LabLost, match="QEMU of the peer ended") as lost:
            parties.peer.kill()
        assert not lost.value.blamed
    talk.close()
    assert played(talk).calls == ["begin", "failed: QEMU of the peer ended", "put back"]


def test_what_was_played_is_a_scenario_that_expects_the_events_that_came(talk: Conversation) -> None:
    parties = Parties(talk)
    parties.driver.connect()
    parties.driver.await_disconnect()
    scenario, seen = talk.close()
    assert [str(action) for action in scenario.steps] == ["driver: connect", "driver: await what=disconnect"]
    assert [one.conn for one in scenario.expect.disconnect] == [0]
    assert played(talk).calls == ["begin", "end", "put back"]
    assert talk.close() == (scenario, seen), "it is closed once"
    with pytest.raises(TypeError, match="the test is over"):
        parties.peer.close()


@pytest.mark.parametrize(
    ("judged", "why", "verdict"),
    [("pass", None, "pass"), ("pass", "x", "fail"), ("inconclusive", "x", "fail"), ("infra", "x", "infra")],
)
def test_a_lab_at_fault_excuses_the_driver(judged: Any, why: str | None, verdict: str) -> None:
    assert verdict_of(judged, why) == verdict
    found = Judgement(judged, ("the lab's",), observed())
    assert reasons_of(found, why)[0] == ("x" if why and judged != "infra" else "the lab's")


def test_each_worker_has_a_folder_in_that_of_all() -> None:
    assert worker_folder(None, "", "") is None
    assert worker_folder(Path("r"), "gw1", "abc") == Path("r/gw1")
    assert worker_folder(None, "gw0", "abc") == Path("wsklab-runs/pytest-abc/gw0")


def test_the_frame_of_a_test_knows_its_words() -> None:
    with pytest.raises(ValueError, match="a test in Python has no steps"):
        scenario_of("x", "x", {"steps": []})
    assert scenario_of("x", "x" * 300, {"connections": 2}).connections == 2
