"""The heartbeat: who is asked, when, and what silence is blamed on; played with parties that are only names."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.judge.integrity import blame
from wsklab.orchestrator.liveness import heartbeat
from wsklab.orchestrator.liveness.heartbeat import Heartbeat, Line
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.observe.lab_notes import Failure, Trouble
from wsklab.orchestrator.observe.observation import Loss, describe_loss
from wsklab.qemu.errors import DeadlinePassed, WireError


def test_a_line_is_asked_after_a_moment_of_silence_and_its_answer_counts() -> None:
    answers, asked = [False], list[float]()

    def ask() -> Callable[[], bool]:
        asked.append(now)
        return lambda: answers[0]

    line, now = Line(ask, ask_after=1.0), 0.0
    for now, answered, silent in [
        (0.0, False, 0.0),
        (0.5, False, 0.0),
        (1.0, False, 0.0),
        (2.0, False, 1.0),
        (3.0, True, 0.0),
        (3.5, False, 0.0),
        (4.0, False, 0.0),
        (9.0, False, 5.0),
    ]:
        answers[0] = answered
        line.beat(now)
        assert line.silent(now) == silent, now
    assert asked == [1.0, 4.0]
    assert line.answers == 1
    line.beat(9.5, speaks=True)
    assert line.silent(10.0) == 0.5, "whoever speaks lives, and still owes an answer"
    line.forget()
    assert line.silent(99.0) == 0.0


class Lab:
    """A lab in which everybody answers, but for those named."""

    def __init__(
        self,
        *silent: str,
        busy: bool = False,
        excused: tuple[str, ...] = (),
        speaks: bool = False,
        status: str | Exception = "running",
        stat: str = "9 (peer) S 1",
    ) -> None:
        self.journal, self.slowness = Journal(), 0.01
        self._silent, self._excused, self._status, self._stat = silent, excused, status, stat
        self.wire = SimpleNamespace(pid=os.getpid(), ask=self._ask_wire)
        agent = SimpleNamespace(begin=lambda _op: 1, answered=lambda _number: "agent" not in silent, busy=busy)
        machine = SimpleNamespace(
            pid=os.getpid(),
            status=self._tell_status,
            profile=SimpleNamespace(debug="text"),
            quiet=lambda: {"debug": 0.0 if speaks else 60.0, "agent": 70.0},
        )
        self.target = SimpleNamespace(agent=agent, machine=machine)
        ssh = SimpleNamespace(run=self._run, broken=lambda: "ssh" in silent, hung_up=False)
        self.peer = SimpleNamespace(machine=machine, newest=SimpleNamespace(pid=9), ssh=ssh)
        self.machine = lambda _name: machine

    def excused(self, party: str) -> bool:
        return party in self._excused

    def _ask_wire(self, side: str | None = None) -> Callable[[], bool]:
        return lambda: (side or "wire") not in self._silent

    def _tell_status(self, _deadline: float) -> str:
        if isinstance(self._status, Exception):
            raise self._status
        return self._status

    def _run(self, _command: str, _timeout: float) -> str:
        if "ssh" in self._silent:
            raise LabError("it did not end")
        return self._stat


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.01)


def found(lab: Any, beats: int = 600, limit: float = 600.0) -> Trouble | None:
    """Return what the heartbeat says after so many beats at most."""
    heart = Heartbeat(lab, limit)
    for _ in range(beats):
        heart._stop.wait(heartbeat.BEAT)
        try:
            if observation := heart._look():
                return observation
        except LabError as error:
            return Failure(t=0, machine="peer", detail=str(error))
    return None


@pytest.mark.parametrize(
    ("lab", "kind", "machine", "verdict", "says"),
    [
        (Lab("agent", "target"), "silence", "target", "fail", "while QEMU calls it running"),
        (Lab("agent", "target", busy=True), "silence", "target", "fail", "while QEMU calls it running"),
        (Lab("agent", "target", status="paused"), "failure", "target", "infra", "QEMU calls it 'paused'"),
        (
            Lab("agent", "target", status=DeadlinePassed("QEMU did not answer")),
            "failure",
            "target",
            "infra",
            "nor does its QEMU: QEMU did not answer",
        ),
        (Lab("agent"), "agent-gone", "target", "infra", "its machine still answers on the wire"),
        (Lab("ssh"), "peer-gone", "peer", "infra", "its machine still answers on the wire"),
        (Lab("ssh", "peer"), "peer-gone", "peer", "infra", "while QEMU calls it running"),
        (Lab("ssh", "peer", status="paused"), "peer-gone", "peer", "infra", "QEMU calls it 'paused'"),
        (Lab("wire"), "failure", "wire", "infra", "the wire's process has not answered"),
        (Lab(stat="9 (peer) T 1"), "failure", "peer", "infra", "the peer program has been stopped by a signal"),
    ],
)
def test_who_gives_no_answer_is_named_and_blamed(lab: Lab, kind: str, machine: str, verdict: str, says: str) -> None:
    observation = found(lab)
    assert observation is not None
    assert (observation.kind, observation.machine) == (kind, machine)
    assert blame(observation) == verdict
    assert says in describe_loss(observation)


@pytest.mark.parametrize(
    "lab",
    [
        Lab(),
        Lab("agent", busy=True),  # its own limits, and the driver's, decide
        Lab("agent", speaks=True),  # it is at work
        Lab("ssh", "peer", excused=("peer",)),  # the scenario has paused it
        Lab(stat="9 (peer) T 1", excused=("peer program",)),  # the scenario has frozen it
        Lab("target", "peer"),  # a cable is out, and everybody answers elsewhere
    ],
)
def test_who_lives_or_is_silent_on_purpose_is_left_alone(lab: Lab) -> None:
    assert found(lab, beats=40) is None


def test_a_scenario_that_goes_on_for_ever_is_ended() -> None:
    observation = found(Lab(), limit=0.0)
    assert observation is not None
    assert "the scenario took longer than the 0 s it is allowed" in observation.detail


def test_a_wire_that_is_gone_is_the_labs_failure() -> None:
    lab: Any = Lab()
    lab.wire.ask = lambda side=None: (_ for _ in ()).throw(WireError("the wire's process is gone (code -9)"))
    told = list[Loss]()
    lab.journal.on_loss(told.append)
    with Heartbeat(lab, 600.0) as heart:
        heart._thread.join(30)
    assert [describe_loss(o) for o in told] == ["the wire's process is gone (code -9)"]
