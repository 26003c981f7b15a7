"""One scenario on a lab that fails in every way that a host can fail: the row says so, and evidence is kept."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.recorded import Recording

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.observe.driver_lines import Load
from wsklab.orchestrator.observe.journal import Journal, MachineLost
from wsklab.orchestrator.observe.lab_notes import Unread
from wsklab.orchestrator.observe.machine_events import Crash
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results
from wsklab.orchestrator.run import evidence, runner
from wsklab.orchestrator.run.order import Item
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.run.runner import Run
from wsklab.orchestrator.run.stopping import Stop, Stopped
from wsklab.orchestrator.scenario.catalogue import BUILT_IN
from wsklab.orchestrator.scenario.scenario import Scenario, load
from wsklab.qemu.logfile import LogFile
from wsklab.qemu.profile import load_profile

SCENARIO = load(BUILT_IN / "linger-zero.yaml")
FULL = OSError(errno.ENOSPC, "No space left on device", "wire.pcapng")


class OneLab:
    """A lab on which nothing runs; what it heard before is of no interest."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal()
        self.journal.add(Unread(t=1, text="of the scenario before"))
        self.doubt: str | None = None
        self.last_restore_s = 0.0
        machine = folder / "lab-1" / "target"
        machine.mkdir(parents=True)
        (machine / "debug.log").write_text("before\n")
        logs = {name: LogFile(machine / name) for name in ("debug.log", "qmp.log")}
        self.target = SimpleNamespace(machine=SimpleNamespace(folder=machine, log=logs.__getitem__))


def performed(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    play: Callable[[Any], list[Observation]],
    scenario: Scenario = SCENARIO,
) -> tuple[Any, OneLab]:
    """Return what becomes of a scenario that is played so."""
    run = Run(folder, Results(run={"seed": 1}), Console(quiet=True))
    lab = OneLab(folder)
    monkeypatch.setattr(runner, "play", lambda lab, *_: play(lab))
    return run.perform(lab, Item(1, scenario)).result, lab  # type: ignore[arg-type]


def fails(error: Exception) -> Callable[[Any], list[Observation]]:
    """Return what stands in for playing where a driver is to be loaded anew, and something goes wrong."""

    def play(lab: Any) -> list[Observation]:
        lab.journal.add(Load(t=2, text="ev=load conn=0", seq=1))
        lab.target.machine.log("debug.log").write(b"ev=load\n")
        raise error

    return play


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (LabError("the driver does not load"), "the lab failed: the driver does not load"),
        (TimeoutError(), "the lab failed: something did not happen in the time allowed"),
        (FULL, "the lab failed: wire.pcapng: No space left on device"),
        (KeyError("x"), "the lab failed: a mistake in wsklab, KeyError: 'x' (trace: "),
    ],
)
def test_what_fails_before_the_first_step_keeps_its_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    row, lab = performed(tmp_path, monkeypatch, fails(error))
    assert row.verdict == "infra"
    assert row.reasons[0].startswith(says)
    assert lab.doubt, "the next scenario gets another lab"
    folder = tmp_path / row.evidence
    assert {"verdict.json", "observations.jsonl", "scenario.yaml", "debug.txt", "debug.raw"} <= {
        path.name for path in folder.iterdir()
    }
    seen = observation.read(folder / "observations.jsonl").observations
    assert [o.kind for o in seen] == ["load", "unplayed"], "its own, and nothing of the scenario before"
    assert judge(load(folder / "scenario.yaml"), seen).verdict == "infra", "the same again from the evidence"
    assert json.loads((folder / "verdict.json").read_text())["verdict"] == "infra"
    assert (folder / "debug.raw").read_text() == "ev=load\n"


def test_a_target_that_goes_away_before_the_first_step_is_still_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(lab: Any) -> list[Observation]:
        lab.journal.add(Crash(t=2, machine="target", detail="page fault"))
        raise MachineLost("gone")

    row, _ = performed(tmp_path, monkeypatch, play)
    assert row.verdict == "fail"
    assert "crashed" in row.reasons[0]


def test_a_self_check_does_not_pass_because_the_lab_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = load(BUILT_IN / "self-check-wrong-ending.yaml")
    row, _ = performed(tmp_path, monkeypatch, fails(LabError("no")), wrong)
    assert row.verdict == "infra"


def test_a_verdict_whose_evidence_cannot_be_kept_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(evidence, "save", full)
    row, lab = performed(tmp_path, monkeypatch, lambda lab: Recording().opened().ended())
    assert (row.verdict, lab.doubt) == ("infra", None)
    assert "No space left on device" in row.reasons[0]


def test_an_evidence_folder_that_is_there_already_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "evidence" / "linger-zero" / "mine.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("kept")
    row, lab = performed(tmp_path, monkeypatch, lambda lab: Recording().ended())
    assert row.verdict == "infra" and "evidence/linger-zero: File exists" in row.reasons[0]
    assert [path.name for path in theirs.parent.iterdir()] == ["mine.txt"]
    assert lab.doubt is None


def test_a_removed_run_folder_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    run = Run(folder, Results(run={"seed": 1}), Console(quiet=True))
    lab = OneLab(tmp_path)
    shutil.rmtree(folder)
    assert run.perform(lab, Item(1, SCENARIO)).result.verdict == "infra"  # type: ignore[arg-type]
    assert not folder.exists()
    assert run.stop.state == "aborted"
    run.finish()
    assert (run.results.state, folder.exists()) == ("aborted", False)


# --- nothing is started in a run that is stopped ------------------------------------------------------------------


class NoMachine:
    """Starts, and tells that it did."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.did: list[str] = []
        self._meanwhile = meanwhile

    def start(self, snapshot: str | None) -> None:
        self.did.append("start")
        self._meanwhile()

    def stop(self) -> None:
        self.did.append("stop")


def a_lab(folder: Path) -> Lab:
    guest = SimpleNamespace(slow={"tcg": 1.0})
    return Lab(folder, "tcg", guest, SimpleNamespace())  # type: ignore[arg-type]


def test_a_machine_is_not_started_in_a_lab_that_was_stopped(tmp_path: Path) -> None:
    lab, machine = a_lab(tmp_path), NoMachine()
    lab.stop()
    with pytest.raises(LabError, match="the lab was stopped"):
        lab._machines.power_on(machine)  # type: ignore[arg-type]
    assert machine.did == []
    with pytest.raises(MachineLost, match="the lab was stopped"):
        lab.journal.wait(lambda o: True, float("inf"), lab.journal.mark)


def test_a_machine_that_was_starting_meanwhile_is_stopped(tmp_path: Path) -> None:
    lab = a_lab(tmp_path)
    machine = NoMachine(lab.stop)
    with pytest.raises(LabError, match="the lab was stopped"):
        lab._machines.power_on(machine)  # type: ignore[arg-type]
    assert machine.did == ["start", "stop"]


def test_a_stopped_run_boots_no_lab(tmp_path: Path) -> None:
    guest = SimpleNamespace(slow={"tcg": 1.0}, profile=load_profile("standin"))
    guest.varied = lambda name: guest
    preparation = Preparation(tmp_path, Console(quiet=True), guest, SimpleNamespace(), "tcg", cold=True)  # type: ignore[arg-type]
    preparation.stop.request("interrupted", "interrupted")
    preparation.stop.request("aborted", "what comes after the first does not count")
    with pytest.raises(Stopped, match="no lab is started any more: interrupted"):
        preparation.boot(SimpleNamespace())  # type: ignore[arg-type]
    assert preparation.stop.state == "interrupted"


def test_a_lab_that_cannot_be_stopped_keeps_none_of_the_others() -> None:
    class Broken(NoMachine):
        def stop(self) -> None:
            raise OSError("it resists")

    stop, labs = Stop(), [Broken(), NoMachine()]
    for lab in labs:
        stop.watch(lab)
    stop.stop_labs()
    assert labs[1].did == ["stop"]
