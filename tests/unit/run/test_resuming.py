"""A run that is killed (kill -9) goes on in its folder: no row is lost, and none comes twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from support.rows import result
from support.simulated_run import NAMES, REPEAT, VARIANTS, results, scenario

from wsklab.orchestrator.commands import resume
from wsklab.orchestrator.commands.run_options import Options
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.results import rows
from wsklab.orchestrator.results.results import UNLOAD, Plan
from wsklab.orchestrator.run import janitor, resuming
from wsklab.orchestrator.run.order import order

TESTS = Path(__file__).parents[2]
WHOLE = {(name, variant, number) for name in NAMES for variant in VARIANTS for number in range(1, REPEAT + 1)}
ROWS = len(WHOLE) + len(VARIANTS)


def play(folder: Path, dies: int | str, cache: Path) -> int:
    words = [sys.executable, "-m", "support.simulated_run", str(folder), str(dies)]
    return subprocess.run(
        words, cwd=TESTS, env={"WSKLAB_CACHE": str(cache), "PATH": "/usr/bin:/bin"}, check=False
    ).returncode


@pytest.mark.parametrize("dies", [0, 6, ROWS - 1])
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, dies: int) -> None:
    folder, cache = tmp_path / "run", tmp_path / "cache"
    assert play(folder, dies, cache) == -signal.SIGKILL
    before = rows.read(folder)
    assert len(before) == dies
    begun = json.loads((folder / "results.json").read_text())["run"]["uuid"]
    assert play(folder, "never", cache) == 0
    found = rows.read(folder)
    assert found[:dies] == before
    assert Counter((row.name, row.variant, row.repeat) for row in found if row.name != UNLOAD) == Counter(WHOLE)
    assert len({(row.variant, row.repeat) for row in found if row.name == UNLOAD}) == len(VARIANTS)
    document = json.loads((folder / "results.json").read_text())
    assert (document["state"], document["exit_code"], document["not_run"]) == ("complete", 0, {})
    assert document["run"]["uuid"] == begun
    assert len(document["run"]["resumed"]) == 1
    assert len(list(ET.parse(folder / "junit.xml").iter("testcase"))) == ROWS
    assert (folder / "report.html").read_text().count("half a row") == 0
    assert [path.name.partition(".")[0] for path in (folder / "lost").iterdir()]


def test_it_may_be_killed_again_and_again(tmp_path: Path) -> None:
    folder, cache = tmp_path / "run", tmp_path / "cache"
    for _ in range(3):
        assert play(folder, 4, cache) == -signal.SIGKILL
        assert resuming.complete(folder) is None
    assert play(folder, "never", cache) == 0
    found = Counter((row.name, row.variant, row.repeat) for row in rows.read(folder) if row.name != UNLOAD)
    assert found == Counter(WHOLE)
    assert resuming.complete(folder) == 0


def test_a_folder_at_which_somebody_works_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path / "cache"))
    lease = janitor.Lease(tmp_path, tmp_path / "cache")
    with pytest.raises(UsageError, match="still goes on"):
        resuming.enter(tmp_path)
    lease.end()


def test_rows_of_another_scenario_or_driver_are_not_added(tmp_path: Path) -> None:
    first = resuming.memo({}, [scenario("first")])
    rows.Rows(tmp_path).close()
    with pytest.raises(UsageError, match="first is no longer as it was"):
        resuming.take_up(tmp_path, first, resuming.memo({}, [scenario("first", "changed")]), results())
    (tmp_path / "results.json").write_text(json.dumps({**results().as_dict(), "scenarios": []}))
    with pytest.raises(UsageError, match="the driver is not the one"):
        resuming.take_up(tmp_path, first, first, results(driver="60"))
    resuming.take_up(tmp_path, first, first, results())


def test_a_folder_that_holds_no_run_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not the folder of a `wsklab run`"):
        resume.again(Options(resume=tmp_path))
    (tmp_path / resuming.NAME).write_text("{")
    with pytest.raises(UsageError, match="does not say what"):
        resume.again(Options(resume=tmp_path))


def test_the_options_are_those_of_the_first_time(tmp_path: Path) -> None:
    first = Options(scenarios=("linger-zero",), repeat=3, out=Path("x"), jobs=None, twin_names=("never-enables",))
    assert resume.read(json.loads(json.dumps(resume.written(first)))) == first
    with pytest.raises(UsageError, match="as the run was asked for the first time"):
        resume.again(Options(resume=tmp_path, repeat=5))


def test_a_recorded_run_is_not_resumed(tmp_path: Path) -> None:
    written = resume.written(Options(scenarios=("linger-zero",), record=True))
    resuming.remember(tmp_path, resuming.memo(written, [scenario("linger-zero")]))
    with pytest.raises(UsageError, match="record another run"):
        resume.again(Options(resume=tmp_path))


def test_a_complete_run_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = {**results().as_dict(), "state": "complete", "exit_code": 1, "scenarios": []}
    (tmp_path / "results.json").write_text(json.dumps(document))
    assert resume.again(Options(resume=tmp_path)) == 1
    assert "is complete" in capsys.readouterr().err


def test_what_ended_at_a_failure_ends_there_again() -> None:
    scenarios = [scenario(name) for name in NAMES]
    endless = Plan(NAMES, None, True)
    done = [result("first"), result("second", "fail")]
    assert list(resuming.left(order(scenarios, 1, True), endless, done)) == []
    assert resuming.unloads_owed(endless, done) == [""]
    assert next(resuming.left(order(scenarios, 1, True), endless, done[:1])).scenario.name == "second"
    assert resuming.unloads_owed(endless, done[:1]) == []


def test_the_first_of_two_attempts_keeps_its_evidence(tmp_path: Path) -> None:
    for name in ("first", "first-again", "second"):
        (tmp_path / "evidence" / name).mkdir(parents=True)
    memo = resuming.memo({}, [])
    file = rows.Rows(tmp_path)
    file.append(replace(result("first"), evidence="evidence/first-again"))
    file.close()
    resuming.take_up(tmp_path, memo, memo, results())
    assert {path.name for path in (tmp_path / "evidence").iterdir()} == {"first", "first-again"}
    assert {path.name for path in (tmp_path / "lost").iterdir()} == {"second.1"}


def test_labs_are_numbered_on(tmp_path: Path) -> None:
    assert resuming.first_lab(tmp_path) == 1
    for name in ("lab-2", "lab-10", "lab-x"):
        (tmp_path / name).mkdir()
    assert resuming.first_lab(tmp_path) == 11
