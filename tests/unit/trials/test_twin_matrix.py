"""The matrix of twins: what counts as caught, and in which order and how long a twin is run."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from wsklab.drivers.build import BuiltDriver
from wsklab.drivers.twins import Twin, twins
from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import UNLOAD, Results, ScenarioResult, Verdict, observed
from wsklab.orchestrator.run.stopping import Stop, Stopped
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.trials import tables, twin_matrix, twin_runs
from wsklab.orchestrator.trials.twin_matrix import Row
from wsklab.qemu.errors import MachineError

TWIN = Twin(
    name="ignores-flag",
    define="IGNORES_FLAG",
    title="Ignores it",
    rules=("R5", "C05"),
    verdict="fail",
    shows="the flag",
)
RIGHT = {name: Row(name, "pass") for name in ("linger-zero", "kill", UNLOAD)}


def rows(**verdicts: str) -> dict[str, Row]:
    """Return rows by scenario (`_` for `-`); what is not a pass says why."""
    return {
        name.replace("_", "-"): Row(name.replace("_", "-"), verdict, () if verdict == "pass" else ("the flag",))
        for name, verdict in verdicts.items()
    }


def matrix(found: dict[str, Row], twin: Twin = TWIN, correct: dict[str, Row] = RIGHT) -> dict[str, Any]:
    return twin_matrix.document({twin.name: found}, [twin], correct)


def test_a_twin_first_meets_the_scenario_that_the_catalogue_names() -> None:
    panel = twin_matrix.panel(catalogue.built_in())
    best = {twin.name: twin.scenario for twin in twins().values() if twin.scenario}
    assert set(best.values()) <= {s.name for s in panel}
    for name, scenario in best.items():
        met = [s.name for s in twin_matrix.likely(twins()[name], panel)]
        assert met[0] == scenario
        assert len(met) == len(set(met))


def test_a_twin_is_caught_by_the_verdict_that_the_catalogue_expects() -> None:
    found = matrix(rows(linger_zero="fail", kill="pass"))
    assert found["missed"] == found["false_alarms"] == []
    assert found["twins"][0] == {
        "name": "ignores-flag",
        "title": "Ignores it",
        "rules": ["R5", "C05"],
        "expected": "fail",
        "only_windows": "",
        "caught": True,
        "by": [{"scenario": "linger-zero", "verdict": "fail", "reasons": ["the flag"]}],
        "verdicts": {"linger-zero": "fail", "kill": "pass"},
    }
    assert twin_matrix.all_caught(found)


@pytest.mark.parametrize("verdict", ["pass", "inconclusive", "infra"])
def test_another_verdict_catches_nothing(verdict: str) -> None:
    found = matrix(rows(linger_zero=verdict))
    assert found["missed"] == ["ignores-flag"]
    assert not twin_matrix.all_caught(found)


def test_every_twin_says_what_its_first_reason_must_name() -> None:
    assert [twin.name for twin in twins().values() if not twin.says and not twin.only_windows] == []
    assert all(re.compile(twin.says) for twin in twins().values())


def test_only_the_first_reason_names_the_fault() -> None:
    twin = TWIN.model_copy(update={"says": "the flag"})
    hidden = {"kill": Row("kill", "fail", ("a consequence", "the flag"))}
    assert matrix(hidden, twin)["missed"] == ["ignores-flag"]


def test_a_verdict_without_the_reason_asked_for_catches_nothing() -> None:
    failed = rows(linger_zero="fail")
    assert matrix(failed, TWIN.model_copy(update={"says": "the [fg]lag"}))["missed"] == []
    assert matrix(failed, TWIN.model_copy(update={"says": "another reason"}))["missed"] == ["ignores-flag"]
    assert matrix({"kill": Row("kill", "fail")})["missed"] == ["ignores-flag"]


def test_the_unload_can_catch() -> None:
    assert [by["scenario"] for by in matrix(rows(driver_unload="fail"))["twins"][0]["by"]] == [UNLOAD]


def test_what_the_correct_driver_fails_too_is_a_false_alarm_and_catches_nothing() -> None:
    found = matrix(rows(linger_zero="fail"), correct=RIGHT | rows(linger_zero="fail"))
    assert found["missed"] == ["ignores-flag"]
    assert found["false_alarms"] == [{"scenario": "linger-zero", "verdict": "fail", "reasons": ["the flag"]}]


def test_a_twin_for_windows_alone_is_listed_and_not_missed() -> None:
    windows = TWIN.model_copy(update={"name": "at-dispatch", "only_windows": "the IRQL is always PASSIVE"})
    found = twin_matrix.document({}, [windows], RIGHT)
    assert found["twins"][0]["only_windows"] == "the IRQL is always PASSIVE"
    assert not found["twins"][0]["caught"]
    assert twin_matrix.all_caught(found)


def test_columns_are_the_scenarios_that_told_anything() -> None:
    found = matrix(rows(kill="pass", driver_load="inconclusive"), correct=RIGHT | rows(linger_zero="infra"))
    assert twin_matrix.columns(found) == ["linger-zero", "driver-load"]
    assert twin_matrix.columns(matrix(rows(kill="pass"))) == []


def test_the_panel_judges_the_driver_and_is_fast() -> None:
    panel = twin_matrix.panel(catalogue.built_in())
    assert "linger-zero" in [s.name for s in panel]
    assert all("fast" in s.tags and "slow" not in s.tags and not s.self_check for s in panel)


@pytest.mark.parametrize("create", ["connect", "accept-event"])
def test_the_panel_has_many_connections_at_once(create: str) -> None:
    many = [s for s in twin_matrix.panel(catalogue.built_in()) if s.connections >= 10 and s.socket.create == create]
    assert many, "some wrong drivers are right for as long as there are few connections"
    assert all(s.connections <= 100 for s in many)


def test_what_should_catch_a_twin_comes_first() -> None:
    panel = twin_matrix.panel(catalogue.built_in())
    names = [s.name for s in twin_matrix.likely(TWIN, panel)]
    both = {s.name for s in panel if {"R5", "C05"} <= set(s.covers)}
    assert "linger-zero" in both
    assert set(names[: len(both)]) == both
    assert "close-graceful" in names, "the smallest set belongs to it, whatever it covers"
    assert names.index("kill-unread") < names.index("close-graceful")
    assert len(names) == len(set(names))


def test_the_matrix_is_one_line_a_twin(capsys: pytest.CaptureFixture[str]) -> None:
    correct = {f"scenario-{n}": Row(f"scenario-{n}", "pass") for n in range(12)}
    caught = {f"scenario-{n}": Row(f"scenario-{n}", "fail", ("x",)) for n in range(11)}
    other = TWIN.model_copy(update={"name": "gaps", "verdict": "inconclusive"})
    matrix = twin_matrix.document(
        {TWIN.name: caught, "gaps": {"scenario-1": Row("scenario-1", "pass")}}, [TWIN, other], correct
    )
    tables.show_twin_matrix(Console(), matrix)
    shown = capsys.readouterr().out
    assert "(correct)     ✓✓✓✓✓✓✓✓✓✓✓  nothing" in shown
    assert "ignores-flag  ✗✗✗✗✗✗✗✗✗✗✗  scenario-0, scenario-1, scenario-2 (+8)" in shown
    assert "gaps          ·✓·········  MISSED" in shown
    assert "1 caught  1 missed  0 false alarms" in shown


# --- running ----------------------------------------------------------------------------------------------------------


class FakeSupply:
    """A supply without a lab: `loads` says whether twins load, `loses` after which scenarios the lab is lost."""

    def __init__(self, loads: bool = True, loses: Sequence[str] = ()) -> None:
        self.loads, self.loses = loads, loses
        self.loaded: list[str | None] = []
        self.lost = 0
        self.last = ""
        self.lab: object = None

    def next(self) -> object:
        self.lab = SimpleNamespace(bench=self, load=self.load)
        self.loaded.append(None)
        return self.lab

    def bare(self) -> object:
        return SimpleNamespace(bench=self, load=self.load)

    def load(self, driver: BuiltDriver) -> None:
        self.loaded.append(driver.twin)
        if driver.twin is not None and not self.loads:
            raise LabError("its first line never came")

    def fit(self) -> bool:
        held = self.last not in self.loses
        self.lost += not held
        return held

    def retire(self) -> None:
        self.last = ""

    def spoil(self) -> None:
        self.retire()


def run_twins(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    bench: FakeSupply,
    fails: Callable[[str], bool],
    whole: bool = False,
    correct_fails: Sequence[str] = (),
    strict: FakeSupply | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Run TWIN on the panel, with verdicts of `fails`; returns the matrix, and what the twin was run on."""
    met: list[str] = []

    class FakeRun:
        def __init__(self, folder: Path, results: Results, console: Console) -> None:
            self.twin = results.driver["twin"]

        def one(self, lab: Any, scenario: Scenario) -> ScenarioResult:
            lab.bench.last = scenario.name if self.twin else ""
            if self.twin:
                met.append(scenario.name)
            return self.result(scenario.name, fails(scenario.name) if self.twin else scenario.name in correct_fails)

        def unload(self, lab: Any) -> ScenarioResult:
            if self.twin:
                met.append(UNLOAD)
            return self.result(UNLOAD, bool(self.twin) and fails(UNLOAD))

        def result(self, name: str, failed: bool) -> ScenarioResult:
            verdict: Verdict = "fail" if failed else "pass"
            reasons = ["why"] if failed else []
            return ScenarioResult(name, name, 1, verdict, reasons, [], {}, observed(), {}, "")

        def begin(self) -> None:
            pass

        def finish(self, *ended: str) -> None:
            pass

    monkeypatch.setattr(twin_runs, "Run", FakeRun)

    def built(twin: str | None) -> BuiltDriver:
        return BuiltDriver(folder, "", "wsklab", twin, folder)

    run = twin_runs.TwinRun(
        folder,
        Console(quiet=True),
        bench,  # type: ignore[arg-type]
        lambda driver: Results({}, driver={"twin": driver.twin}),
        strict,  # type: ignore[arg-type]
    )
    twin = TWIN if strict is None else TWIN.model_copy(update={"strict": True})
    scenarios = twin_matrix.panel(catalogue.built_in())
    if strict is not None:
        scenarios += [s for s in catalogue.built_in() if s.name == "dispatch-level"]
    found = run.run(built(None), {twin: lambda: built(TWIN.name)}, scenarios, whole)
    assert json.loads((folder / "twins.json").read_text()) == found
    assert (found["state"], found["asked"]) == ("complete", 1)
    return found, met


LIKELY = [s.name for s in twin_matrix.likely(TWIN, twin_matrix.panel(catalogue.built_in()))]
PANEL = [s.name for s in twin_matrix.panel(catalogue.built_in())]


def test_a_twin_that_was_caught_often_enough_is_run_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, met = run_twins(tmp_path, monkeypatch, FakeSupply(), lambda name: name != UNLOAD)
    assert met == [*LIKELY[: twin_runs.ENOUGH], UNLOAD]
    assert found["missed"] == []


def test_a_twin_that_nothing_likely_catches_meets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = FakeSupply()
    found, met = run_twins(tmp_path, monkeypatch, bench, lambda name: False)
    assert sorted(set(met)) == sorted([*PANEL, UNLOAD])
    assert bench.loaded == [None, TWIN.name, TWIN.name], "each stage has a fresh load"
    assert found["missed"] == [TWIN.name]


def test_scenarios_that_the_user_chose_are_all_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = run_twins(tmp_path, monkeypatch, FakeSupply(), lambda name: True, whole=True)
    assert set(found["twins"][0]["verdicts"]) == {*PANEL, UNLOAD}


def test_a_catch_that_costs_the_lab_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = FakeSupply(loses=LIKELY[1:2])
    found, met = run_twins(tmp_path, monkeypatch, bench, lambda name: name == LIKELY[1])
    assert met == LIKELY[:2]
    assert [by["scenario"] for by in found["twins"][0]["by"]] == [LIKELY[1]]


def test_a_lab_lost_without_a_catch_is_replaced_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = FakeSupply(loses=LIKELY[:1])
    (tmp_path / "once").mkdir()
    _, met = run_twins(tmp_path / "once", monkeypatch, once, lambda name: name == UNLOAD)
    assert once.loaded == [None, TWIN.name, TWIN.name]
    assert met == [*LIKELY, UNLOAD]
    always = FakeSupply(loses=PANEL)
    (tmp_path / "always").mkdir()
    found, met = run_twins(tmp_path / "always", monkeypatch, always, lambda name: False)
    assert always.lost == 2 * twin_runs.LABS
    assert found["missed"] == [TWIN.name]


def test_a_driver_that_is_not_seen_to_load_has_a_row_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, met = run_twins(tmp_path, monkeypatch, FakeSupply(loads=False), lambda name: False)
    assert met == []
    assert found["twins"][0]["verdicts"] == {twin_runs.LOADING: "inconclusive"}
    assert found["missed"] == [TWIN.name], "it should fail, not be unproven"


def test_a_matrix_that_is_cut_short_does_not_look_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(FakeSupply):
        def bare(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_twins(tmp_path, monkeypatch, Interrupted(), lambda name: False)
    matrix = json.loads((tmp_path / "twins.json").read_text())
    assert (matrix["state"], matrix["asked"]) == ("interrupted", 1)


def test_a_false_alarm_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = run_twins(tmp_path, monkeypatch, FakeSupply(), lambda name: name in LIKELY, correct_fails=["kill"])
    assert [alarm["scenario"] for alarm in found["false_alarms"]] == ["kill"]
    assert not twin_matrix.all_caught(found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--twins", "--twin", "nonesuch"], "there is no twin 'nonesuch'"),
        (["--twins", "--repeat", "2"], "--twins goes with"),
        (["--twins", "self-check"], "only scenarios that put the lab itself on trial"),
        (["--twin", "gaps", "--twin", "silent"], "`wsklab run --twins`"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_built(words: list[str], message: str) -> None:
    refused = CliRunner().invoke(main, ["run", *words])
    assert isinstance(refused.exception, UsageError)
    assert message in str(refused.exception)


def test_a_twin_of_the_strict_mode_meets_strict_labs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, strict = FakeSupply(), FakeSupply()
    _, met = run_twins(tmp_path, monkeypatch, plain, lambda name: True, whole=True, strict=strict)
    assert plain.loaded == []
    assert strict.loaded == [None, TWIN.name, TWIN.name], "there, too, the correct driver must be right"
    assert "dispatch-level" in met


def test_what_needs_the_strict_mode_is_not_run_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch = [s for s in catalogue.built_in() if s.name == "dispatch-level"]
    monkeypatch.setattr(twin_matrix, "panel", lambda scenarios: dispatch)
    bench = FakeSupply()
    _, met = run_twins(tmp_path, monkeypatch, bench, lambda name: True, whole=True)
    assert set(met) == {UNLOAD}


def several(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    lanes: int,
    quick: bool,
    supplies: Sequence[FakeSupply] = (),
    stop: Stop | None = None,
    best: Sequence[str] = ("", "", ""),
) -> tuple[Any, Sequence[FakeSupply]]:
    """Three twins that each scenario catches, run in so many lanes; `best` is what each meets first."""
    supplies = supplies or [FakeSupply() for _ in range(lanes)]
    run_twins(folder / "ignored", monkeypatch, FakeSupply(), lambda name: True)  # which puts the fake run in place
    made = [
        twin_runs.TwinRun(
            folder,
            Console(quiet=True),
            supply,  # type: ignore[arg-type]
            lambda driver: Results({}, driver={"twin": driver.twin}),
            quick=quick,
            stop=stop,
        )
        for supply in supplies
    ]
    twins = [TWIN.model_copy(update={"name": f"twin-{x}", "scenario": y}) for x, y in zip("abc", best, strict=True)]
    builds = {twin: partial(BuiltDriver, folder, "", "wsklab", twin.name, folder) for twin in twins}
    correct = BuiltDriver(folder, "", "wsklab", None, folder)
    return made[0].run(correct, builds, twin_matrix.panel(catalogue.built_in()), False, made[1:]), supplies


def test_quickly_a_twin_is_run_until_it_is_first_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ignored").mkdir()
    found, _ = several(tmp_path, monkeypatch, 1, quick=True)
    assert found["missed"] == []
    assert [set(twin["verdicts"]) for twin in found["twins"]] == [{LIKELY[0], UNLOAD}] * 3
    assert set(found["correct"]["verdicts"]) == {LIKELY[0], UNLOAD}


def test_lanes_share_the_twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ignored").mkdir()
    found, supplies = several(tmp_path, monkeypatch, 2, quick=True)
    assert sorted(twin["name"] for twin in found["twins"]) == ["twin-a", "twin-b", "twin-c"]
    loaded = [name for supply in supplies for name in supply.loaded if name]
    assert sorted(loaded) == ["twin-a", "twin-b", "twin-c"]


def test_lanes_share_what_the_correct_driver_is_run_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ignored").mkdir()
    best = ("kill", "linger-zero", "half-close")
    found, supplies = several(tmp_path, monkeypatch, 2, quick=True, best=best)
    assert set(found["correct"]["verdicts"]) == {*best, UNLOAD}
    assert [supply.loaded.count(None) for supply in supplies] == [1, 1]
    assert sorted(p.name for p in tmp_path.glob("correct*")) == ["correct", "correct-2"]


class Awaiting(FakeSupply):
    """Its lab is busy until it is stopped, and no other boots then."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self.began, self._stop, self._stopped = threading.Event(), stop, threading.Event()

    def bare(self) -> Any:
        self._stop.watch(self)
        self.began.set()
        assert self._stopped.wait(60)
        raise MachineError("the machine has ended")

    def stop(self) -> None:
        self._stopped.set()


class Failing(FakeSupply):
    """Fails as soon as the other lane is at work."""

    def __init__(self, other: Awaiting) -> None:
        super().__init__()
        self._other = other

    def bare(self) -> Any:
        assert self._other.began.wait(60)
        raise OSError(28, "No space left on device")


def test_what_ends_one_lane_stops_the_labs_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ignored").mkdir()
    stop = Stop()
    waiting = Awaiting(stop)
    with pytest.raises(OSError, match="No space"):
        several(tmp_path, monkeypatch, 2, True, [Failing(waiting), waiting], stop)
    matrix = json.loads((tmp_path / "twins.json").read_text())
    assert (matrix["state"], matrix["missed"]) == ("aborted", []), "nobody knows whether they would have been caught"
    with pytest.raises(Stopped):
        stop.watch(waiting)
