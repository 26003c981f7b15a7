"""Labs side by side, played with labs that are only names: order, death, and labs that do not boot."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import signal
import tempfile
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsklab.orchestrator.commands.results import problems
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import UNLOAD, Results, ScenarioResult, observed
from wsklab.orchestrator.run import capacity
from wsklab.orchestrator.run.capacity import Host
from wsklab.orchestrator.run.hold import Hold
from wsklab.orchestrator.run.order import Item, order, plan
from wsklab.orchestrator.run.runner import Done, Run
from wsklab.orchestrator.run.stopping import Stop, Stopped
from wsklab.orchestrator.run.workers import Work, Workers
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse


class FakeLab:
    def __init__(self, number: int) -> None:
        self.number = number
        self.trusted = True
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


class FakeRun(Run):
    """A run whose labs are names; `deaths` says in which attempts a scenario's lab dies, `broken` which boots fail."""

    def __init__(
        self,
        folder: Path,
        deaths: dict[str, int] | None = None,
        broken: tuple[int, ...] = (),
        fails: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(
            folder,
            Results(
                run={"seed": 1, "id": "r", "started": "", "command": "", "host": "", "accelerator": ""},
                target={"name": "standin", "version": "", "qualifying": False},
                driver={"name": "wsklab", "sha256": "", "twin": None},
            ),
            Console(quiet=True),
        )
        self.deaths, self.broken, self.fails = deaths or {}, broken, fails
        self.labs: list[FakeLab] = []
        self.unloaded: list[int] = []
        self.together = threading.Barrier(1)
        self.happens: dict[str, Callable[[], None]] = {}  # by scenario, when it is played
        self.boots: Callable[[int], None] = lambda number: None
        self._numbers = itertools.count(1)

    def supply(self, variant: str = "") -> FakeSupply:
        return FakeSupply(self)

    def new_lab(self) -> FakeLab:
        number = next(self._numbers)
        made = FakeLab(number)
        self.stop.watch(made)
        self.boots(number)
        if number in self.broken:
            raise LabError(f"lab {number} does not boot")
        self.labs.append(made)
        return made

    def perform(self, lab: Any, item: Item, attempt: str = "") -> Done:
        self.together.wait(10)
        name, verdict = item.scenario.name, "fail" if item.scenario.name in self.fails else "pass"
        self.happens.get(name, lambda: None)()
        if self.deaths.get(name, 0) > 0:
            self.deaths[name] -= 1
            lab.trusted, verdict = False, "infra"
        return Done(self.row(name, item.number, verdict, f"{name}-{item.number}{attempt}"))

    def row(self, name: str, number: int, verdict: Any, evidence: str) -> ScenarioResult:
        (self.folder / "evidence" / evidence).mkdir(parents=True, exist_ok=True)
        return ScenarioResult(
            name,
            name,
            number,
            verdict,
            [] if verdict == "pass" else ["it is so"],
            [],
            {},
            observed(),
            {"total_s": 0.0},
            f"evidence/{evidence}",
        )

    def unload(self, lab: Any, number: int = 1, variant: str = "") -> Any:
        self.unloaded.append(lab.number)
        done = Done(self.row(UNLOAD, number, "pass", f"{UNLOAD}-{number}"))
        self.add(done)
        return done.result


class FakeSupply:
    """One lab of the run's, until it is retired."""

    def __init__(self, run: FakeRun) -> None:
        self._run = run
        self._lab: FakeLab | None = None

    def next(self, suspect: bool = False) -> Any:
        self._lab = self._lab or self._run.new_lab()
        return self._lab

    def retire(self) -> None:
        if self._lab is not None:
            self._lab.stop()
        self._lab = None


def scenario(name: str) -> Scenario:
    return parse(f"name: {name}\ntitle: t\nsteps:\n  - lab: settle\n", Scenario, "f")


SIX = [scenario(name) for name in "abcdef"]


def play(run: FakeRun, workers: int, repeat: int = 1, until_fail: bool = False, **words: Any) -> None:
    run.results.plan = plan(SIX, repeat, until_fail)
    run.begin()
    Workers(run, run.supply, Work(order(SIX, repeat, until_fail), run.stop), until_fail, look=0.01).play(
        workers, **words
    )


def rows(run: FakeRun) -> list[tuple[str, int]]:
    """Return what is reported, the unloads left out, as it stands in the file."""
    return [(row["name"], row["repeat"]) for row in on_disk(run)["scenarios"] if row["name"] != UNLOAD]


def on_disk(run: FakeRun) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((run.folder / "results.json").read_text())
    assert problems(run.folder / "results.json") == []
    return document


def verdicts(run: FakeRun) -> dict[str, str]:
    return {row.name: row.verdict for row in run.results.scenarios if row.name != UNLOAD}


@settings(max_examples=30, deadline=None)
@given(workers=st.integers(1, 5), repeat=st.integers(1, 4))
def test_rows_stand_in_the_order_of_the_suite_whoever_finished_first(
    tmp_path_factory: pytest.TempPathFactory, workers: int, repeat: int
) -> None:
    run = FakeRun(tmp_path_factory.mktemp("run"))
    play(run, workers, repeat)
    assert rows(run) == [(name, number) for number in range(1, repeat + 1) for name in "abcdef"]
    assert (run.results.state, run.results.exit_code, on_disk(run)["asked"]) == ("complete", 0, 6 * repeat)
    assert all(lab.stopped for lab in run.labs)
    assert run.unloaded, "the unload of a lab that played is judged"


def test_they_really_run_side_by_side(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.together = threading.Barrier(3)  # nobody goes on before three are there: in fewer workers this would break
    play(run, 3)
    assert len(rows(run)) == 6


@pytest.mark.parametrize("workers", [1, 2])
def test_a_lab_that_dies_costs_one_attempt_and_the_row_says_so(tmp_path: Path, workers: int) -> None:
    run = FakeRun(tmp_path, deaths={"c": 1})
    play(run, workers)
    assert verdicts(run) == dict.fromkeys("abcdef", "pass")
    again = [result for result in run.results.scenarios if result.findings]
    assert [(result.name, result.evidence) for result in again] == [("c", "evidence/c-1-again")]
    assert "it is so" in again[0].findings[0] and "evidence/c-1)" in again[0].findings[0]
    assert all(lab.stopped for lab in run.labs)


def test_a_second_death_is_the_verdict(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, deaths={"c": 2})
    play(run, 2)
    assert {name for name, verdict in verdicts(run).items() if verdict == "infra"} == {"c"}
    assert run.results.exit_code == 3


class Noted(Hold):
    """Holds nothing; notes for what it would have been asked, and whether the lab was there."""

    def __init__(self) -> None:
        super().__init__("never", Stop(), print)
        self.asked: list[tuple[str, str, int, bool]] = []

    def after(self, lab: Any, result: ScenarioResult) -> None:
        self.asked.append((result.name, result.verdict, lab.number, lab.stopped))


def test_every_lab_can_be_held_as_its_scenario_left_it(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, deaths={"c": 1}, fails=("e",))
    run.hold = noted = Noted()
    play(run, 1)
    first = [(name, "pass", 1, False) for name in "ab"] + [("c", "infra", 1, False)]
    second = [(name, "fail" if name == "e" else "pass", 2, False) for name in "cdef"]
    assert noted.asked == [*first, *second, (UNLOAD, "pass", 2, False)]


def test_a_lab_that_was_lost_is_not_held_again_for_its_unload(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, deaths={"f": 2})
    run.hold = noted = Noted()
    play(run, 1)
    assert [(name, verdict) for name, verdict, *_ in noted.asked[-2:]] == [("f", "infra"), ("f", "infra")]


def test_a_death_without_a_second_lab_is_a_row_all_the_same(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, deaths={"a": 1}, broken=(2,))
    play(run, 1)
    assert verdicts(run) == {"a": "infra"}
    assert (run.results.state, run.results.why) == ("aborted", "lab 2 does not boot")


def test_lanes_that_all_lose_their_labs_do_not_end_a_run_as_if_it_were_complete(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, deaths={"a": 1, "b": 1}, broken=(3, 4))
    run.together = threading.Barrier(2)  # both workers have a lab, and both die in their first scenario
    play(run, 2)
    assert verdicts(run) == {"a": "infra", "b": "infra"}
    assert (run.results.state, run.results.exit_code) == ("aborted", 3)
    assert run.results.shortfall is not None
    assert re.fullmatch("2 of 6 run; 4 not run: aborted: lab [34] does not boot", run.results.shortfall)
    assert all(lab.stopped for lab in run.labs)


def test_a_failing_driver_is_not_tried_again(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, fails=("b",))
    play(run, 1)
    assert list(verdicts(run).values())[:3] == ["pass", "fail", "pass"]
    assert (len(run.labs), run.results.exit_code) == (1, 1)


def test_what_a_lane_without_a_lab_took_is_done_by_another(tmp_path: Path) -> None:
    run = FakeRun(tmp_path / "one", broken=(2,))
    play(run, 2)
    assert (len(rows(run)), run.results.exit_code) == (6, 0)
    none = FakeRun(tmp_path / "none", broken=(1, 2, 3))
    play(none, 3)
    assert (rows(none), none.results.exit_code) == ([], 3)
    assert none.results.why is not None and "does not boot" in none.results.why


def test_after_a_failure_nothing_more_is_begun_where_that_is_asked(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, fails=("b",))
    play(run, 1, until_fail=True)
    assert list(verdicts(run)) == ["a", "b"]
    assert (run.results.state, run.results.exit_code, run.results.missing) == ("complete", 1, {})
    assert on_disk(run)["asked"] is None


def test_a_run_until_something_fails_that_loses_its_labs_is_not_complete(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, broken=(1,))
    play(run, 1, until_fail=True)
    assert (run.results.state, run.results.exit_code) == ("aborted", 3)


def test_a_lane_for_which_nothing_is_left_boots_no_lab(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.results.plan = plan(SIX[:1], 1, False)
    Workers(run, run.supply, Work(order(SIX[:1], 1, False), run.stop)).play(4)
    assert (len(rows(run)), len(run.labs)) == (1, 1)


def test_no_lane_is_opened_for_which_there_is_no_room(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    rooms = iter([None, "the memory is full"])
    play(run, 4, room=lambda: next(rooms))
    assert len(rows(run)) == 6
    assert len(run.labs) <= 2


# --- nothing slips through ----------------------------------------------------------------------------------------


def raises(error: BaseException) -> Callable[[], None]:
    def happen() -> None:
        raise error

    return happen


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        FileExistsError(errno.EEXIST, "File exists", "evidence/b"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        KeyError("a mistake"),
        RecursionError(),
        SystemExit(0),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_that_nobody_expected_never_ends_in_success(
    tmp_path: Path, workers: int, error: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    run = FakeRun(tmp_path)
    run.happens["f"] = raises(error)  # the last one: the other worker ends as if all were well
    play(run, workers)
    assert rows(run) == [(name, 1) for name in "abcde"]
    assert (run.results.state, run.results.exit_code) == ("aborted", 3)
    assert on_disk(run)["not_run"]["f"] == 1
    assert all(lab.stopped for lab in run.labs)
    assert "Traceback" not in "".join(capfd.readouterr())
    if not isinstance(error, OSError) or error.errno == errno.EPIPE:
        assert "Traceback" in (tmp_path / "trace-1.txt").read_text()


def test_a_row_that_cannot_be_written_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun(tmp_path)
    append = run._rows.append

    def full(row: ScenarioResult) -> None:
        if row.name == "c":
            raise OSError(errno.ENOSPC, "No space left on device", "results.jsonl")
        append(row)

    monkeypatch.setattr(run._rows, "append", full)
    play(run, 2)
    assert ("c", 1) not in rows(run)
    assert (run.results.state, run.results.exit_code) == ("aborted", 3)
    assert str(run.results.why).startswith("results.jsonl: No space left on device")


def test_rows_that_vanish_are_counted_as_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun(tmp_path)
    add = run.add
    monkeypatch.setattr(run, "add", lambda done: done.result if done.result.name == "d" else add(done))
    play(run, 1)
    assert (run.results.state, run.results.exit_code, run.results.missing) == ("aborted", 3, {"d": 1})
    assert run.results.shortfall == "5 of 6 run; 1 not run: aborted: nobody reported them, which is a mistake in wsklab"


def test_an_unload_that_nobody_judged_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun(tmp_path)
    monkeypatch.setattr(run, "unload", lambda lab, number: None)
    play(run, 1)
    assert (run.results.exit_code, run.results.missing) == (3, {UNLOAD: 1})


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("moved", [True, False])
def test_a_folder_that_is_moved_or_removed_ends_the_run(
    tmp_path: Path, moved: bool, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where traces go when the folder is gone
    folder = tmp_path / "run"
    run = FakeRun(folder)
    run.stop = noticed = EagerStop()

    def vanish() -> None:
        folder.rename(tmp_path / "elsewhere") if moved else shutil.rmtree(folder)
        assert noticed.requests.wait(10), "it is noticed while the scenario still goes on"

    run.happens["b"] = vanish
    play(run, workers)
    assert (run.results.state, run.results.exit_code) == ("aborted", 3)
    says = f" was moved to {tmp_path / 'elsewhere'}" if moved else ", or what was in it, was removed"
    assert run.results.why == f"the run's folder {folder}{says} while the run went on"
    assert "b" in run.results.missing
    if moved:
        assert json.loads((tmp_path / "elsewhere" / "results.json").read_text())["state"] == "aborted"


def test_evidence_that_is_removed_ends_the_success(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.happens["f"] = lambda: shutil.rmtree(tmp_path / "evidence" / "b-1")
    play(run, 1)
    assert (run.results.state, run.results.exit_code) == ("aborted", 3)
    assert "evidence/b-1" in str(run.results.why)


def test_rows_that_somebody_cuts_off_end_the_success(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.happens["f"] = lambda: os.truncate(tmp_path / "results.jsonl", 0)
    play(run, 1)
    assert (run.results.state, run.results.exit_code) == ("aborted", 3)
    assert on_disk(run)["not_run"].keys() == set("abcde")


# --- interruption -------------------------------------------------------------------------------------------------


def test_interrupted_no_lab_is_left_running_and_none_is_begun(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.together = threading.Barrier(10)  # the first worker waits in its first scenario
    booting, go_on = threading.Event(), threading.Event()

    def boots(number: int) -> None:
        if number == 2:
            booting.set()
            assert go_on.wait(10)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    run.boots = boots
    before = signal.signal(signal.SIGINT, interrupt)

    def press() -> None:
        assert booting.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    def let_go() -> None:
        """Both workers go on once the labs have been stopped: what the one plays and the other boots is in vain."""
        go_on.set()
        run.together.abort()

    monkey = threading.Thread(target=press)
    monkey.start()
    run.stop = EagerStop(let_go)
    try:
        play(run, 2)
    finally:
        signal.signal(signal.SIGINT, before)
        monkey.join()
    assert (run.results.state, run.results.exit_code) == ("interrupted", 130)
    assert run.results.shortfall == "0 of 6 run; 6 not run: interrupted"
    assert [lab.stopped for lab in run.labs] == [True, True]
    assert run.unloaded == []
    with pytest.raises(Stopped):
        run.new_lab()


class EagerStop(Stop):
    """Tells when a stop is requested, and when the labs are stopped."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.requests = threading.Event()
        self._then = then

    def request(self, state: Any, why: str) -> None:
        super().request(state, why)
        self.requests.set()

    def stop_labs(self) -> None:
        super().stop_labs()
        then, self._then = self._then, lambda: None
        then()


def test_after_an_interruption_the_files_say_what_was_not_run(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.happens["d"] = lambda: run.stop.request("interrupted", "interrupted")
    play(run, 1)
    assert rows(run) == [("a", 1), ("b", 1), ("c", 1)]
    assert (on_disk(run)["state"], on_disk(run)["exit_code"]) == ("interrupted", 130)
    assert on_disk(run)["not_run"] == {"d": 1, "e": 1, "f": 1, UNLOAD: 1}
    junit = ET.parse(tmp_path / "junit.xml").getroot()
    assert (junit.get("tests"), junit.get("errors")) == ("7", "4")
    assert "3 of 6 run; 3 not run: interrupted</h1>" in (tmp_path / "report.html").read_text()


# --- admission ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "cores", "memory", "labs", "says"),
    [
        (None, 2, 20_000, 2, "core"),
        (None, 8, 4_000, 2, "memory"),
        (4, 8, 20_000, 4, ""),
        (4, 2, 20_000, 2, "core"),
        (None, 0.5, 500, 1, "core"),
        (3, 2, 1500, 1, "memory"),
        (1, 1, 100, 1, ""),
    ],
)
def test_labs_are_admitted_by_cores_and_memory(
    wanted: int | None, cores: float, memory: float, labs: int, says: str
) -> None:
    count, why = capacity.admit(wanted, 1200, Host(cores, memory))
    assert count == labs
    assert says in why and bool(says) == bool(why)
    assert (capacity.room(1200, Host(cores, memory)) is None) == (memory >= 1200 + 400 + 512)


def test_labs_of_wrong_builds_wait_a_third_of_their_time() -> None:
    assert capacity.admit(3, 1200, Host(2, 20_000), capacity.WRONG_CORES) == (3, "")
    count, why = capacity.admit(4, 1200, Host(2, 20_000), capacity.WRONG_CORES)
    assert (count, why) == (3, "a lab keeps 0.66 of a core busy, and there are 2")


def test_this_host_has_cores_and_memory() -> None:
    here = capacity.host()
    assert here.cores > 0 and here.memory_mib > 0
