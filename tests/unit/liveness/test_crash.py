"""What stopped a scenario is named and blamed rightly; the evidence names what it could not have."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.recorded import Recording

from wsklab.orchestrator.guest.agent import AgentError, AgentSilent
from wsklab.orchestrator.judge.integrity import blame
from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.lab.target import Misanswer, crash_text
from wsklab.orchestrator.liveness import crash
from wsklab.orchestrator.observe.base import data_of
from wsklab.orchestrator.observe.journal import Journal, MachineLost
from wsklab.orchestrator.observe.machine_events import Died, MachineGone, of_machine
from wsklab.orchestrator.observe.observation import describe_loss
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse
from wsklab.qemu.errors import DeadlinePassed, GuestDied, MachineError

SCENARIO = "name: x\ntitle: X\nsteps: [{driver: {connect: peer}}]\nexpect: {wire: {peer: none, driver: none}}\n"


class Lab:
    """As much of a lab as naming asks for; `answers` are what the agent says, or raises."""

    def __init__(self, reaches: bool = True, **answers: Any) -> None:
        self.journal = Journal()
        self.slowness = 0.01
        agent = SimpleNamespace(
            ask=lambda op, _timeout, **_words: self._say(answers.get(op)),
            service=lambda action, _name, timeout: self._say(answers[action]),
        )
        machine = SimpleNamespace(
            set_link=lambda up: None,
            profile=SimpleNamespace(debug=answers.get("debug", "text")),
            locate=lambda _deadline: self._say(answers.get("locate")),
            debug=SimpleNamespace(last=lambda _count: ["WSKLAB1 seq=7", "x" * 999]),
            status=lambda _deadline: self._say(answers.get("status", "running")),
            quiet=lambda: {"debug": 9.0, "agent": 20.0, "console": answers.get("console", 60.0)},
        )
        self.target = SimpleNamespace(
            agent=agent, machine=machine, state=lambda: self._say(answers.get("state")), named=lambda text: text
        )
        self.wire = SimpleNamespace(
            barrier=lambda _deadline, _sides: self._say(None if reaches else DeadlinePassed("no answer to the ping"))
        )

    @staticmethod
    def _say(answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer


GONE, LATE = AgentError("ioctl: Access denied. (Win32 error 5)", 5), AgentError("ioctl: not in time", 1460)
SILENT = AgentSilent("the agent did not answer 'ioctl' within the time allowed")


@pytest.fixture(autouse=True)
def no_news_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash, "NEWS", 0.01)


@pytest.mark.parametrize(
    ("lab", "error", "kind", "verdict", "says"),
    [
        (
            Lab(query={"state": "stopped"}),
            GONE,
            "crash",
            "fail",
            "crashed: ioctl: Access denied. (Win32 error 5); its service, which nobody stopped, is stopped",
        ),
        (Lab(query=AgentError("Pipe closed.", 232)), GONE, "crash", "fail", "; then Pipe closed."),
        (
            Lab(query={"state": "running"}, state=AgentError("ioctl: File not found.", 2)),
            GONE,
            "crash",
            "fail",
            "Access denied. (Win32 error 5); then ioctl: File not found.",
        ),
        (Lab(query={"state": "running"}), GONE, "refusal", "fail", "the driver refuses a call: ioctl: Access denied."),
        (
            Lab(),
            Misanswer("The driver's ring answer announces 17 lines and carries 16."),
            "misanswer",
            "fail",
            "the driver answers a request of the lab's with what cannot be: The driver's ring answer "
            "announces 17 lines",
        ),
        (Lab(query=SILENT), GONE, "hang", "fail", "the driver hangs: ioctl: Access denied."),
        (Lab(), LATE, "hang", "fail", "the driver hangs: ioctl: not in time"),
        (Lab(ping={}), SILENT, "hang", "fail", "the driver hangs: the agent did not answer"),
        (Lab(ping=SILENT), SILENT, "agent-gone", "infra", "the agent is gone: "),
        (
            Lab(ping=SILENT, reaches=False),
            SILENT,
            "silence",
            "fail",
            "the whole machine no longer answers on the wire; its serial lines have been quiet for 9 s, while QEMU "
            "calls it ",
        ),
        (
            Lab(ping=SILENT, reaches=False),
            DeadlinePassed("no answer"),
            "silence",
            "fail",
            "nothing is heard of the target",
        ),
        (Lab(ping=SILENT, reaches=False), TimeoutError(), "silence", "fail", "nothing is heard of the target"),
        (
            Lab(query=SILENT, ping=SILENT, reaches=False),
            GONE,
            "silence",
            "fail",
            "Access denied. (Win32 error 5); then",
        ),
        (Lab(ping=SILENT, reaches=False, console=0.0), SILENT, "hang", "fail", "it still speaks on its console line"),
        (
            Lab(ping=SILENT, reaches=False, status="paused"),
            SILENT,
            "failure",
            "infra",
            "it stands still, QEMU calls it 'paused', and nobody asked for that",
        ),
        (
            Lab(ping=SILENT, reaches=False, status=DeadlinePassed("QEMU did not answer")),
            SILENT,
            "failure",
            "infra",
            "nor does its QEMU: QEMU did not answer",
        ),
        (Lab(), DeadlinePassed("no answer to the ping"), "failure", "infra", "the lab failed: no answer to the ping"),
        (Lab(), TimeoutError(), "failure", "infra", "the lab failed: something did not happen in the time allowed"),
        (
            Lab(),
            MachineError("the wire's process is gone"),
            "failure",
            "infra",
            "the lab failed: the wire's process is",
        ),
    ],
)
def test_what_stopped_a_scenario_is_named_and_blamed(
    lab: Lab, error: Exception, kind: str, verdict: str, says: str
) -> None:
    named = crash.name_it(lab, error)  # type: ignore[arg-type]
    assert named is not None
    assert named.kind == kind
    told: dict[str, Any] = data_of(named)
    recording = Recording().opened().step("driver", "connect").add(named.source, kind, **told)
    judgement = judge(parse(SCENARIO, Scenario, "test"), recording.ended(canary=False))
    assert judgement.verdict == verdict
    assert says in judgement.reasons[0]


@pytest.mark.parametrize(
    ("lab", "error", "says"),
    [
        (
            Lab(ping={}, debug="kd", locate="processor 0 at wsklab.sys+0x1234"),
            SILENT,
            "broken into by the kernel debugger, processor 0 at wsklab.sys+0x1234; its last lines were "
            "'WSKLAB1 seq=7' / ",
        ),
        (
            Lab(ping=SILENT, reaches=False, debug="kd", locate="processor 1 at nt+0x1"),
            SILENT,
            "broken into by the kernel debugger, processor 1 at nt+0x1",
        ),
        (Lab(ping=SILENT, reaches=False, debug="kd"), SILENT, "nor does its kernel stop for the debugger"),
        (Lab(ping={}, debug="kd", locate=MachineError("gone")), SILENT, "unknown (gone)"),
    ],
)
def test_a_target_that_hangs_is_broken_into_and_says_where(lab: Lab, error: Exception, says: str) -> None:
    named = crash.name_it(lab, error)  # type: ignore[arg-type]
    assert named is not None and named.kind in ("hang", "silence")
    assert says in describe_loss(named) and len(describe_loss(named)) < 900


@pytest.mark.parametrize(
    ("kind", "verdict", "says"),
    [
        ("exception", "fail", "stopped on an exception and called its debugger: WHAT"),
        ("prompt", "fail", "asked its debugger what to do, and was told to go on: WHAT"),
        ("stops", "fail", "stands in its kernel debugger: WHAT"),
        ("lost-text", "inconclusive", "debug text is lost: WHAT"),
    ],
)
def test_what_the_kernel_tells_its_debugger_decides(kind: str, verdict: str, says: str) -> None:
    recording = Recording().opened().step("driver", "connect").add("machine", kind, machine="target", detail="WHAT")
    judgement = judge(parse(SCENARIO, Scenario, "test"), recording.ended())
    assert (judgement.verdict, says in judgement.reasons[0]) == (verdict, True)


@pytest.mark.parametrize("kinds", [("panic", "bugcheck"), ("bugcheck", "panic"), ("bugcheck", "bugcheck")])
def test_a_bugcheck_is_named_whatever_the_hypervisor_was_told(kinds: tuple[str, str]) -> None:
    recording = Recording().opened().step("driver", "connect")
    for kind in kinds:
        detail = "0x000000d1 DRIVER_IRQL_NOT_LESS_OR_EQUAL" if kind == "bugcheck" else ""
        recording.add("machine", kind, machine="target", detail=detail)
    judgement = judge(parse(SCENARIO, Scenario, "test"), recording.ended())
    assert judgement.verdict == "fail" and "DRIVER_IRQL_NOT_LESS_OR_EQUAL" in " ".join(judgement.reasons)


def test_a_machine_that_went_away_is_named_by_its_own_event() -> None:
    lab = Lab()
    assert crash.name_it(lab, MachineLost("gone")) is None  # type: ignore[arg-type]
    died = Died(t=1, machine="target", detail="code -9")
    lab.journal.add(died)
    assert crash.name_it(lab, GuestDied("the agent line is gone")) is None  # type: ignore[arg-type]
    assert crash.why_of(lab, None) == "QEMU of the target ended: code -9"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("machine", "kind", "verdict"),
    [
        ("target", "crash", "fail"),
        ("target", "panic", "fail"),
        ("target", "bugcheck", "fail"),
        ("target", "reset", "fail"),
        ("target", "shutdown", "fail"),
        ("target", "died", "infra"),
        ("peer", "died", "infra"),
        ("peer", "panic", "infra"),
    ],
)
def test_the_lab_answers_for_qemu_and_the_peer(machine: str, kind: str, verdict: str) -> None:
    loss = of_machine(kind, 1, machine, "")
    assert isinstance(loss, MachineGone)
    assert blame(loss) == verdict


def test_wine_tells_of_a_crash_and_a_driver_cannot() -> None:
    line = "wine: Unhandled page fault on write access to 0000 at address 0001 (thread 00b4), starting debugger..."
    assert crash_text(line) == "Unhandled page fault on write access to 0000 at address 0001 (thread 00b4)"
    assert crash_text("wine: Call from 00AB to unimplemented function ntoskrnl.exe.KeFoo, aborting")
    assert crash_text(f"00b4:warn:debugstr:vDbgPrintExWithPrefix 0000004d:00000001: {line}") is None


class Machine:
    """A machine with a screen, or one that is gone."""

    def __init__(self, folder: Path, alive: bool, devices: tuple[str, ...] = ()) -> None:
        self.folder, self.alive, self.overlay = folder, alive, folder / "overlay.qcow2"
        self.profile = SimpleNamespace(devices=devices, memory_mib=1 << 40)
        folder.mkdir()
        (folder / "debug.log").write_bytes(b"x" * (crash.COPIED + 5) + b"end")

    @property
    def pid(self) -> int:
        raise MachineError("not running")

    def status(self, _deadline: float) -> str:
        return self.registers() and "running"

    def quiet(self) -> dict[str, float]:
        return {"debug": 1.23456}

    def registers(self) -> str:
        if not self.alive:
            raise MachineError("not running")
        return "RIP=1"

    def pause(self) -> None:
        self.registers()

    def resume(self) -> None:
        pass

    def screenshot(self, path: Path) -> None:
        self.registers()
        path.write_bytes(b"\x89PNG")


def test_evidence_is_kept_once_and_names_what_is_missing(tmp_path: Path) -> None:
    machines = {
        "target": Machine(tmp_path / "target", True, ("vmcoreinfo",)),
        "peer": Machine(tmp_path / "peer", False),
    }
    lab = SimpleNamespace(machine=machines.__getitem__, wire=SimpleNamespace(folder=tmp_path / "wire", pid=os.getpid()))
    collector = crash.Collector(lab, tmp_path / "crash")  # type: ignore[arg-type]
    collector.collect("a crash")
    collector.collect("its consequence")
    notes = json.loads((tmp_path / "crash" / "crash.json").read_text())
    assert notes["why"] == "a crash"
    assert notes["kept"] == [
        "target-status.json",
        "target-registers.txt",
        "target-screen.png",
        "target-debug.log",
        "peer-debug.log",
        "processes.json",
    ]
    processes = json.loads((tmp_path / "crash" / "processes.json").read_text())
    assert processes["target"] is None
    assert processes["wire"]["state"] == "R", "it is this process here"
    status = json.loads((tmp_path / "crash" / "target-status.json").read_text())
    assert status == {"status": "running", "quiet_s": {"debug": 1.235}}
    assert notes["missing"]["peer-registers.txt"] == "not running"
    assert "MiB of disk are free" in notes["missing"]["target.dmp"]
    assert notes["missing"]["dumps"]  # there is no disk either
    copied = (tmp_path / "crash" / "target-debug.log").read_bytes()
    assert (len(copied), copied[-3:]) == (crash.COPIED, b"end")


def test_a_qemu_that_does_not_answer_is_asked_once(tmp_path: Path) -> None:
    class Deaf(Machine):
        asked = 0

        def status(self, _deadline: float) -> str:
            Deaf.asked += 1
            raise DeadlinePassed("QEMU did not answer in time: query-status")

        def registers(self) -> str:
            raise AssertionError("it was asked again")

    machines = {"target": Deaf(tmp_path / "target", True), "peer": Deaf(tmp_path / "peer", True)}
    lab = SimpleNamespace(machine=machines.__getitem__, wire=SimpleNamespace(folder=tmp_path / "wire", pid=os.getpid()))
    crash.Collector(lab, tmp_path / "crash").collect("a hang")  # type: ignore[arg-type]
    missing = json.loads((tmp_path / "crash" / "crash.json").read_text())["missing"]
    assert Deaf.asked == 2, "each of the two"
    assert missing["target-registers.txt"] == missing["target-screen.png"] == "QEMU does not answer"
    assert "query-status" in missing["peer-status.json"]
