"""The coverage table: complete, without contradiction, and the same as the page in docs."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import standin_cases

from wsklab.drivers.twins import twins
from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.results.results import UNLOAD
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.scenario.scenario import KNOWN, Scenario
from wsklab.orchestrator.trials import coverage
from wsklab.orchestrator.trials.coverage import Catalogue, Row

ROOT = Path(__file__).parents[3]
CATALOGUE, SUITE = coverage.catalogue(), catalogue.built_in()


def table(known: Catalogue = CATALOGUE, scenarios: Sequence[Scenario] = SUITE) -> list[Row]:
    return coverage.rows(known, scenarios, twins().values(), {})


def problems(known: Catalogue = CATALOGUE, scenarios: Sequence[Scenario] = SUITE) -> list[str]:
    return list(coverage.problems(known, scenarios, table(known, scenarios)))


ROWS, KNOWN_PROBLEMS = table(), set(problems())


def changed(number: str, **entry: Any) -> Catalogue:
    """Return the catalogue with one entry replaced, or dropped when nothing is given for it."""
    entries = {key: value for key, value in CATALOGUE.entries.items() if key != number}
    if entry:
        entries[number] = coverage.Entry(**entry)
    return Catalogue(unassigned=CATALOGUE.unassigned, entries=entries)


def scenario(name: str) -> Scenario:
    return next(s for s in SUITE if s.name == name)


def test_every_number_is_accounted_for() -> None:
    assert problems() == []
    assert {row.id for row in ROWS} == KNOWN - set(CATALOGUE.unassigned)


@pytest.mark.parametrize("number", ["R5", "C05", "BF71"])
def test_a_dropped_number_is_noticed(number: str) -> None:
    assert f"{number} is not in requirements.yaml" in problems(changed(number))


@pytest.mark.parametrize("removed", SUITE, ids=lambda s: s.name)
def test_a_removed_scenario_is_noticed_where_nothing_else_checks(removed: Scenario) -> None:
    rest = [s for s in SUITE if s.name != removed.name]
    alone = [row for row in ROWS if [use.scenario for use in row.scenarios] == [removed.name] and not row.elsewhere]
    new = set(problems(scenarios=rest)) - KNOWN_PROBLEMS
    assert {f"{row.id} has neither scenario nor test nor a reason: {row.title}" for row in alone} <= new


def test_every_ending_is_noticed_when_all_its_scenarios_go() -> None:
    lost = [text.split()[0] for text in problems(scenarios=[]) if "neither scenario" in text]
    assert set(lost) >= {f"C{n:02}" for n in range(1, 64)}


def test_a_reason_beside_a_check_is_a_contradiction() -> None:
    reason = {"title": "x", "not_on_standin": "because"}
    first = next(row for row in table() if row.id == "R5").scenarios[0].scenario
    assert f"R5 gives a reason for not being checked, but {first} checks it" in problems(changed("R5", **reason))
    both = changed("R41", elsewhere=["tests/unit/test_x.py"], **reason)
    assert "R41 gives a reason for not being checked, but tests/unit/test_x.py checks it" in problems(both)


def test_unassigned_and_unknown_numbers_cannot_be_claimed() -> None:
    claims = scenario("linger-zero").model_copy(update={"covers": ["BF23"]})
    assert "BF23 is unassigned, but somebody claims it" in problems(scenarios=[*SUITE, claims])
    assert "R88 is no number of the reference" in problems(changed("R88", title="x"))


@pytest.mark.parametrize(
    ("name", "claim", "words"),
    [
        ("linger-zero", "R6", "a call with abortive: clear"),
        ("close-graceful", "R5", "a call with abortive: set"),
        ("close-graceful", "R2", "events that are never enabled, and no call expected"),
        ("close-graceful", "R13", "a send or receive that fails"),
        ("linger-zero", "R43", "a receive of 0 bytes"),
    ],
)
def test_a_claim_that_the_scenario_could_not_disprove_is_refused(name: str, claim: str, words: str) -> None:
    liar = scenario(name).model_copy(update={"covers": [claim]})
    assert f"{name} claims {claim}, which needs {words}" in problems(scenarios=[*SUITE, liar])


NAMED = sorted({test for entry in CATALOGUE.entries.values() for test in entry.elsewhere})


@pytest.mark.parametrize("test", NAMED)
def test_the_tests_that_are_named_exist(test: str) -> None:
    name = re.fullmatch(r"(tests/\S+\.py)::(test_\w+)(?:\[(\w+)\])?", test)
    assert name is not None
    tree = ast.parse((ROOT / name[1]).read_text(encoding="utf-8"))
    assert name[2] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name[3]:
        cases = {"test_standin_native.py": standin_cases.CASES, "test_strict_native.py": standin_cases.STRICT}
        assert name[3] in cases[Path(name[1]).name]


def test_twins_and_the_unload_stand_in_the_table() -> None:
    by_id = {row.id: row for row in table()}
    assert "ignores-flag" in by_id["R5"].twins
    assert UNLOAD in [use.scenario for use in by_id["R80"].scenarios]
    known = set(by_id)
    assert {twin.name: set(twin.rules) - known for twin in twins().values() if set(twin.rules) - known} == {}


def test_a_scenario_that_characterises_is_said_to_record_only() -> None:
    recorded = scenario("linger-zero").model_copy(
        update={"expect": scenario("linger-zero").expect.model_copy(update={"characterise": True})}
    )
    row = next(row for row in table(scenarios=[recorded]) if row.id == "R5")
    assert [use.recorded for use in row.scenarios] == [True]
    assert row.by == "recorded"
    assert "`linger-zero` (recorded)" in coverage.markdown(table(scenarios=[recorded]))


def document(started: str, twin: str | None = None, **verdicts: str) -> dict[str, Any]:
    return {
        "schema": 2,
        "run": {"id": f"run-{started}", "started": started},
        "driver": {"twin": twin},
        "scenarios": [
            {"name": name.replace("_", "-"), "verdict": v} for name, vs in verdicts.items() for v in vs.split()
        ],
    }


def test_the_newest_results_count_and_a_twins_do_not() -> None:
    old, new = document("2026-01-01", kill="pass", exit="pass"), document("2026-01-02", kill="fail")
    for order in ([old, new], [new, old]):
        found = coverage.newest(order)
        assert {name: (v.verdict, v.run) for name, v in found.items()} == {
            "kill": ("fail", "run-2026-01-02"),
            "exit": ("pass", "run-2026-01-01"),
        }
    assert coverage.newest([document("2026-01-01", kill="pass fail")])["kill"].verdict == "flaky"
    with pytest.raises(UsageError, match="of the twin 'gaps'"):
        coverage.newest([document("2026-01-01", twin="gaps", kill="pass")])


def test_the_command_shows_results_as_json(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(document("2026-01-01", linger_zero="fail")))
    words = ["scenario", "coverage", "--json", "--results", str(tmp_path / "results.json")]
    shown = json.loads(CliRunner().invoke(main, words).stdout)
    row = next(row for row in shown["rows"] if row["id"] == "C05")
    use = {"scenario": "linger-zero", "recorded": False, "verdict": "fail", "run": "run-2026-01-01"}
    assert use in row["scenarios"]
    assert sum(shown["counts"]["C"].values()) == 63


def test_the_page_is_what_the_command_writes() -> None:
    page = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    assert page == coverage.markdown(table()), "run `wsklab scenario coverage --markdown > docs/coverage.md`"
