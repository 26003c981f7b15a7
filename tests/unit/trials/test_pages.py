"""Coverage and twins as pages: what they say, of which runs, and that text of others stays text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.made import HOSTILE
from support.past import run

from wsklab.drivers.twins import Twin
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.history.queries import Cell, Kept
from wsklab.orchestrator.history.records import Environment, Outcome
from wsklab.orchestrator.history.site import Told
from wsklab.orchestrator.trials import coverage, pages, twin_matrix
from wsklab.orchestrator.trials.twin_matrix import Row

WSKLAB, ECHO = Environment("standin", "wsklab", "tcg"), Environment("standin", "echo", "tcg")


def cell(verdict: Outcome) -> Cell:
    return Cell({verdict: 1}, {verdict: 500.0})


def told(*nights: tuple[Environment, str, dict[str, Outcome]]) -> Told:
    """(environment, driver, scenario -> verdict) of each run."""
    runs = [
        Kept(number, replace(run(number, environment=environment), driver=driver))
        for number, (environment, driver, _) in enumerate(nights, 1)
    ]
    grid: dict[str, dict[int, Cell]] = {}
    for number, (_, _, verdicts) in enumerate(nights, 1):
        for name, verdict in verdicts.items():
            grid.setdefault(name, {})[number] = cell(verdict)
    return Told(runs, grid, {kept.id: () for kept in runs})


def test_the_newest_verdict_under_each_environment_counts_and_a_twins_does_not() -> None:
    found = pages.newest(
        told(
            (WSKLAB, "wsklab", {"linger-zero": "fail", "kill": "pass"}),
            (WSKLAB, "wsklab", {"linger-zero": "pass"}),
            (ECHO, "echo", {"any-linger-zero": "fail"}),
            (WSKLAB, "wsklab:ignores-flag", {"linger-zero": "fail"}),
        )
    )
    assert list(found) == [ECHO, WSKLAB], "the one that was run last comes first"
    mine = {name: (verdict.verdict, verdict.run) for name, verdict in found[WSKLAB].items()}
    assert mine == {"linger-zero": ("pass", "2"), "kill": ("pass", "1")}


def test_every_number_stands_once_among_what_was_run_or_was_not() -> None:
    under, rest = pages.proven(told((WSKLAB, "wsklab", {"linger-zero": "pass", "kill": "fail"})))
    [mine] = under
    numbers = [row.id for row in mine.rows] + [row.id for row in rest]
    assert sorted(numbers) == sorted(coverage.catalogue().entries)
    assert "R5" in [row.id for row in mine.rows]
    failed = {row.id for row in mine.rows if any(use.verdict == "fail" for use in row.scenarios)}
    assert failed
    assert mine.passed == len(mine.rows) - len(failed)


def test_the_page_of_coverage_names_verdicts_runs_and_what_was_not_run() -> None:
    text = pages.coverage_page(told((WSKLAB, "wsklab", {"linger-zero": "pass"}))).text
    assert (
        '<a href="scenarios/linger-zero.html">linger-zero</a> <a class="word pass" href="runs/1.html">pass</a>' in text
    )
    assert "<h2>Not run</h2>" in text
    assert "No run of the suite is recorded yet" in pages.coverage_page(told()).text


def made(name: str, rules: tuple[str, ...], says: str) -> Twin:
    return Twin(name=name, define="X", title="It is wrong", rules=rules, verdict="fail", shows="it shows", says=says)


def matrix(**more: Any) -> dict[str, Any]:
    twin = made("ignores-flag", ("R5",), "the flag")
    missed = made("leaks-mdl", ("R80",), "leak")
    caught = {"linger-zero": Row("linger-zero", "fail", ("the flag is clear",)), "kill": Row("kill", "pass")}
    outcomes = {"ignores-flag": caught, "leaks-mdl": {"kill": Row("kill", "pass")}}
    correct = {name: Row(name, "pass") for name in ("linger-zero", "kill")}
    return twin_matrix.document(outcomes, [twin, missed], correct) | more


def test_the_page_of_twins_says_what_caught_which_and_what_was_missed() -> None:
    text = pages.twins_page(matrix(state="complete", asked=2, run=2)).text
    assert "1 of 2 drivers that are wrong on purpose were caught" in text
    assert "1 missed" in text
    assert "the flag is clear" in text
    assert "MISSED: fail was due" in text
    assert 'title="ignores-flag, linger-zero: fail">✗' in text
    assert "index.html" not in text
    assert '<a href="index.html">' in pages.twins_page(matrix(), "index.html").text


def test_a_matrix_that_was_cut_short_says_so() -> None:
    assert "interrupted: 1 of 7 were run" in pages.twins_page(matrix(state="interrupted", asked=7, run=1)).text


@pytest.mark.parametrize("word", HOSTILE)
def test_reasons_stay_text(word: str) -> None:
    found = matrix()
    found["twins"][0]["by"][0]["reasons"] = [word]
    text = pages.twins_page(found).text
    assert "<script>" not in text
    assert "onerror=" not in text.replace("onerror=&#34;", "").replace("&lt;img src=x onerror=", "")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"twins": [{}]}', json.dumps(matrix() | {"correct": 1})])
def test_what_is_no_matrix_is_the_users_mistake(text: str, tmp_path: Path) -> None:
    file = tmp_path / "twins.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"it is no twins\.json"):
        pages.matrix_of(file)
    with pytest.raises(UsageError, match="cannot be read"):
        pages.matrix_of(tmp_path / "none.json")


def test_a_matrix_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "twins.json").write_text(json.dumps(matrix()), encoding="utf-8")
    read = pages.matrix_of(tmp_path / "twins.json")
    assert [page.path for page in pages.further(told(), read)] == ["coverage.html", "twins.html"]
