"""A plan is carried out whole, once, whatever stops it meanwhile."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from support.qualified import LAB, NOW, PLAN, Runs, begin, course, fails, loaded

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.release import conduct
from wsklab.orchestrator.release.plan import Plan, places
from wsklab.orchestrator.release.records import attempts, read_cell
from wsklab.orchestrator.release.rules import decide


@pytest.mark.parametrize("row", range(14))
def test_a_run_that_was_stopped_goes_on_and_all_of_it_counts(tmp_path: Path, row: int) -> None:
    planned = loaded(tmp_path, PLAN.replace("repeats: 3", "repeats: 6") + "boots: 2\n")
    folder, runs = tmp_path / "release", Runs(interrupt_at=row)
    begun = begin(folder, planned)
    started = course(folder, planned, begun, runs)
    if row < 12:
        with pytest.raises(KeyboardInterrupt):
            started.run()
    started.run()
    started.run()
    cell = read_cell(folder, places(planned.plan)[0], (), NOW.date())
    judged = {count.scenario: count.judged for count in cell.scenarios}
    assert judged["linger-zero"] >= 6 and judged["close-graceful"] >= 6
    assert sum(judged.values()) - judged["driver-unload"] <= 14  # no more than what the cut left uneven
    assert len({run.seed for run in cell.runs}) == len(cell.runs)
    assert len(cell.runs) == 2 + (row < 12)
    wanted = {driver: list(names) for driver, names in begun.scenarios.items()}
    assert decide(planned.plan, wanted, [cell], (), NOW.date(), rehearsal=False).reasons == ()


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    planned, runs = loaded(tmp_path), Runs(interrupt_at=3)
    folder = tmp_path / "release"
    started = course(folder, planned, begin(folder, planned), runs)
    with pytest.raises(KeyboardInterrupt):
        started.run()
    (results,) = folder.rglob("results.json")
    results.write_text(results.read_text().replace('"interrupted"', '"running"', 1))
    rows = results.with_name("results.jsonl")
    rows.write_bytes(rows.read_bytes() + b'{"name": "linger-')  # as far as it came
    started.run()
    cell = read_cell(folder, places(planned.plan)[0], (), NOW.date())
    assert [(run.state, run.rows) for run in cell.runs] == [("running", 3), ("complete", 5)]
    assert {count.scenario: count.judged for count in cell.scenarios}["close-graceful"] >= 3


def test_attempts_are_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    planned, runs = loaded(tmp_path, PLAN.replace("repeats: 3", "repeats: 20")), Runs()
    folder = tmp_path / "release"
    started = course(folder, planned, begin(folder, planned), runs)
    for _ in range(10):
        runs.interrupt_at = runs.rows + 2
        with pytest.raises(KeyboardInterrupt):
            started.run()
    started.run()
    names = [path.name for path in attempts(folder, places(planned.plan)[0])]
    assert names == [f"boot-01-{number}" for number in range(1, 12)]


def test_what_has_not_come_to_its_end_is_a_no_go(tmp_path: Path) -> None:
    planned = loaded(tmp_path)
    folder, begun = tmp_path / "release", begin(tmp_path / "release", planned)
    with pytest.raises(KeyboardInterrupt):
        course(folder, planned, begun, Runs(interrupt_at=3)).run()
    cell = read_cell(folder, places(planned.plan)[0], (), NOW.date())
    reasons = decide(planned.plan, {"wsklab": ["linger-zero"]}, [cell], (), NOW.date(), False).reasons
    assert any("boot 1 of 1 did not come to its end" in reason for reason in reasons)


def test_a_failure_is_not_tried_again(tmp_path: Path) -> None:
    planned, runs = loaded(tmp_path), Runs(fails("linger-zero", 1))
    started = course(tmp_path / "release", planned, begin(tmp_path / "release", planned), runs)
    started.run()
    started.run()
    assert len(runs.calls) == 1


@pytest.mark.parametrize(("share", "calls"), [("0", 1), ("0.2", 2)])
def test_what_was_not_judged_is_made_up_for_where_the_rules_bear_it(tmp_path: Path, share: str, calls: int) -> None:
    planned = loaded(tmp_path, PLAN.replace("rules: {", f"rules: {{infra: {share}, "))
    seen = list[str]()

    def judge(name: str, number: int) -> tuple[str, str]:
        seen.append(name)
        return ("infra", "the lab") if name == "linger-zero" and seen.count(name) == 2 else ("pass", "")

    runs = Runs(judge)  # type: ignore[arg-type]
    course(tmp_path / "release", planned, begin(tmp_path / "release", planned), runs).run()
    assert len(runs.calls) == calls
    assert seen.count("linger-zero") == 2 + calls


def test_the_words_are_those_of_the_plan(tmp_path: Path) -> None:
    planned = loaded(tmp_path, PLAN + "options: [{verifier: standard}]\nseed: 7\n")
    runs = Runs()
    course(tmp_path / "release", planned, begin(tmp_path / "release", planned), runs).run()
    (words,) = runs.calls
    given = dict(pairwise(words))
    assert given["--target"] == "windows-11" and given["--verifier"] == "standard" and "--cold" in words
    assert given["--seed"] == str(7 + 100_101)


def test_nothing_may_change_before_it_goes_on(tmp_path: Path) -> None:
    planned = loaded(tmp_path)
    before = begin(tmp_path / "release", planned)
    later = before.begun + timedelta(hours=1)
    conduct.unchanged(tmp_path, before, before.model_copy(update={"begun": later}))
    for field, value, says in (
        ("plan_sha256", "0" * 64, "the plan"),
        ("errata_sha256", "0" * 64, "errata"),
        ("rehearsal", True, "--rehearsal"),
        ("lab", LAB.model_copy(update={"sha256": "2" * 64}), "wsklab itself"),
        ("scenarios", {}, "scenarios"),
    ):
        with pytest.raises(UsageError, match=says):
            conduct.unchanged(tmp_path, before, before.model_copy(update={field: value}))


def test_a_folder_in_which_nothing_began_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no qualification has begun there"):
        conduct.begun_in(tmp_path)
    assert Plan(name="x", targets=("t",), repeats=1).cold
