"""Labs side by side, played with labs that are only names: order, death, and labs that do not boot."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsklab.orchestrator import admission
from wsklab.orchestrator.admission import Host
from wsklab.orchestrator.console import Console
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.lanes import Lanes, Work
from wsklab.orchestrator.results import Results, ScenarioResult
from wsklab.orchestrator.runner import Done, Item, Run, order
from wsklab.orchestrator.scenario import Scenario
from wsklab.orchestrator.source import parse


class FakeLab:
    def __init__(self, number: int) -> None:
        self.number = number
        self.trusted = True
        self.stopped = False

    def stop(self) -> None:
        assert not self.stopped
        self.stopped = True


class FakeRun(Run):
    """A run whose labs are names; `deaths` says in which attempts a scenario's lab dies, `boots` which boots fail."""

    def __init__(self, folder: Path, deaths: dict[str, int] | None = None, broken: tuple[int, ...] = (),
                 fails: tuple[str, ...] = ()) -> None:
        super().__init__(folder, Results(run={"seed": 1}), Console(quiet=True), boot=lambda: None)  # type: ignore[arg-type, return-value]
        self.deaths, self.broken, self.fails = deaths or {}, broken, fails
        self.labs: list[FakeLab] = []
        self.unloaded: list[int] = []
        self.together = threading.Barrier(1)
        self._numbers = itertools.count(1)

    def next_lab(self, lab: Any, suspect: bool = False) -> Any:
        if lab is not None:
            return lab
        number = next(self._numbers)
        if number in self.broken:
            raise LabError(f"lab {number} does not boot")
        self.labs.append(FakeLab(number))
        return self.labs[-1]

    def perform(self, lab: Any, item: Item, attempt: str = "") -> Done:
        self.together.wait(10)
        name, verdict = item.scenario.name, "fail" if item.scenario.name in self.fails else "pass"
        if self.deaths.get(name, 0) > 0:
            self.deaths[name] -= 1
            lab.trusted, verdict = False, "infra"
        return Done(ScenarioResult(name, name, item.number, verdict, [] if verdict == "pass" else ["it is so"], [], {},
                                   {}, {}, f"evidence/{name}-{item.number}{attempt}"), [])

    def unload(self, lab: Any, number: int = 1) -> Any:
        self.unloaded.append(lab.number)


def scenario(name: str) -> Scenario:
    return parse(f"name: {name}\ntitle: t\nsteps:\n  - lab: settle\n", Scenario, "f")


SIX = [scenario(name) for name in "abcdef"]


def played(run: FakeRun, lanes: int, repeat: int = 1, until_fail: bool = False, **words: Any) -> list[tuple[str, int]]:
    Lanes(run, Work(order(SIX, repeat, until_fail)), until_fail).play(lanes, **words)
    return [(result.name, result.repeat) for result in run.results.scenarios]


@settings(max_examples=30)
@given(lanes=st.integers(1, 5), repeat=st.integers(1, 4))
def test_rows_stand_in_the_order_of_the_suite_whoever_finished_first(
        tmp_path_factory: pytest.TempPathFactory, lanes: int, repeat: int) -> None:
    run = FakeRun(tmp_path_factory.mktemp("run"))
    assert played(run, lanes, repeat) == [(name, number) for number in range(1, repeat + 1) for name in "abcdef"]
    assert all(lab.stopped for lab in run.labs)
    assert run.unloaded, "the unload of a lab that played is judged"


def test_they_really_run_side_by_side(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.together = threading.Barrier(3)  # nobody goes on before three are there: in fewer lanes this would break
    assert len(played(run, 3)) == 6


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_lab_that_dies_costs_one_attempt_and_the_row_says_so(tmp_path: Path, lanes: int) -> None:
    run = FakeRun(tmp_path, deaths={"c": 1})
    assert len(played(run, lanes)) == 6
    assert {result.verdict for result in run.results.scenarios} == {"pass"}
    again = [result for result in run.results.scenarios if result.findings]
    assert [(result.name, result.evidence) for result in again] == [("c", "evidence/c-1-again")]
    assert "it is so" in again[0].findings[0] and "evidence/c-1)" in again[0].findings[0]
    assert all(lab.stopped for lab in run.labs)


def test_a_second_death_is_the_verdict(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, deaths={"c": 2})
    played(run, 2)
    assert {result.name for result in run.results.scenarios if result.verdict == "infra"} == {"c"}


def test_a_death_without_a_second_lab_is_a_row_all_the_same(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, deaths={"a": 1}, broken=(2,))
    with pytest.raises(LabError, match="lab 2 does not boot"):
        played(run, 1)
    assert [(result.name, result.verdict) for result in run.results.scenarios] == [("a", "infra")]


def test_lanes_that_all_lose_their_labs_do_not_end_a_run_as_if_it_were_complete(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, deaths={"a": 1, "b": 1}, broken=(3, 4))
    run.together = threading.Barrier(2)  # both lanes have a lab, and both die in their first scenario
    with pytest.raises(LabError, match="does not boot"):
        played(run, 2)
    assert [(result.name, result.verdict) for result in run.results.scenarios] == [("a", "infra"), ("b", "infra")]
    assert all(lab.stopped for lab in run.labs)


def test_a_failing_driver_is_not_tried_again(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, fails=("b",))
    played(run, 1)
    assert [result.verdict for result in run.results.scenarios[:3]] == ["pass", "fail", "pass"]
    assert len(run.labs) == 1


def test_what_a_lane_without_a_lab_took_is_done_by_another(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, broken=(2,))
    assert len(played(run, 2)) == 6
    with pytest.raises(LabError, match="does not boot"):
        played(FakeRun(tmp_path, broken=(1, 2, 3)), 3)


def test_after_a_failure_nothing_more_is_begun_where_that_is_asked(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, fails=("b",))
    assert [name for name, _ in played(run, 1, until_fail=True)] == ["a", "b"]


def test_a_lane_for_which_nothing_is_left_boots_no_lab(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    Lanes(run, Work(order(SIX[:1], 1, False))).play(4)
    assert (len(run.results.scenarios), len(run.labs)) == (1, 1)


def test_no_lane_is_opened_for_which_there_is_no_room(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    rooms = iter([None, "the memory is full"])
    assert len(played(run, 4, room=lambda: next(rooms))) == 6
    assert len(run.labs) <= 2


def test_interrupted_no_lab_is_left_running(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.together = threading.Barrier(10)  # the lanes wait in their first scenario

    def interrupt() -> str | None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        played(run, 2, room=interrupt)
    assert [lab.stopped for lab in run.labs] == [True]
    run.together.abort()


@pytest.mark.parametrize(("wanted", "cores", "memory", "labs", "says"), [
    (None, 2, 20_000, 2, "core"), (None, 8, 4_000, 2, "memory"), (4, 8, 20_000, 4, ""), (4, 2, 20_000, 2, "core"),
    (None, 0.5, 500, 1, "core"), (3, 2, 1500, 1, "memory"), (1, 1, 100, 1, ""),
])
def test_labs_are_admitted_by_cores_and_memory(wanted: int | None, cores: float, memory: float, labs: int,
                                               says: str) -> None:
    count, why = admission.admit(wanted, 1200, Host(cores, memory))
    assert count == labs
    assert says in why and bool(says) == bool(why)
    assert (admission.room(1200, Host(cores, memory)) is None) == (memory >= 1200 + 400 + 512)


def test_this_host_has_cores_and_memory() -> None:
    here = admission.host()
    assert here.cores > 0 and here.memory_mib > 0
