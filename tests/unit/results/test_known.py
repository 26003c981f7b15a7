"""`known.yaml`: a known failure breaks no run; a pass that was to fail does, and so does an entry that is too old."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rows import junit

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.results import known, report, rows
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.known import Erratum, Known
from wsklab.orchestrator.results.results import Plan, Results, ScenarioResult, Verdict, observed
from wsklab.orchestrator.results.rows import Rows

TODAY = date(2026, 3, 1)
LINK = "https://example.org/4711"
ENTRY = Erratum(
    scenario="linger-*", reason="ABORTIVE is clear", why="the driver masks the flag", link=LINK, until=date(2026, 3, 1)
)


def row(verdict: Verdict = "fail", name: str = "linger-zero", reason: str = "R5: ABORTIVE is clear") -> ScenarioResult:
    return ScenarioResult(
        name=name,
        title="A title",
        repeat=1,
        verdict=verdict,
        reasons=[] if verdict == "pass" else [reason],
        covers=[],
        expected={},
        observed=observed(),
        timing={"total_s": 0.5},
        evidence=f"evidence/{name}",
    )


def run_of(*found: ScenarioResult) -> Results:
    return Results(
        run={"id": "r", "started": "2026-01-01T00:00:00Z", "command": "", "host": "", "accelerator": "tcg"},
        target={"name": "standin", "qualifying": False, "version": ""},
        driver={"name": "wsklab", "sha256": "0", "twin": None, "profile": "wsklab"},
        scenarios=list(found),
        state="complete",
    )


def marked(found: ScenarioResult, entry: Erratum = ENTRY, today: date = TODAY) -> ScenarioResult:
    return known.under([entry], run_of(), today).mark(found)


@pytest.mark.parametrize(
    ("found", "entry", "kind", "code"),
    [
        (row(), ENTRY, "known", 0),
        (row("inconclusive"), ENTRY.model_copy(update={"verdict": "inconclusive"}), "known", 0),
        (row("pass"), ENTRY, "unexpected-pass", 1),
        (row("pass"), ENTRY.model_copy(update={"sometimes": True}), None, 0),
        (row(), ENTRY.model_copy(update={"until": date(2026, 2, 28)}), "expired", 1),
        (row("pass"), ENTRY.model_copy(update={"until": date(2026, 2, 28), "sometimes": True}), "expired", 1),
        (row(reason="R9: hangs"), ENTRY, None, 1),
        (row("inconclusive"), ENTRY, None, 3),
        (row("infra"), ENTRY, None, 3),
        (row(name="close-graceful"), ENTRY, None, 1),
        (row(), ENTRY.model_copy(update={"target": "windows-*"}), None, 1),
        (row(), ENTRY.model_copy(update={"target": "stand*"}), "known", 0),
        (row(), ENTRY.model_copy(update={"environment": "* (kvm*"}), None, 1),
        (row(), ENTRY.model_copy(update={"environment": "wsklab on standin (tcg)"}), "known", 0),
    ],
)
def test_what_an_entry_makes_of_a_row(found: ScenarioResult, entry: Erratum, kind: str | None, code: int) -> None:
    result = marked(found, entry)
    assert (result.known.kind if result.known else None) == kind
    assert result.verdict == found.verdict, "what is known changes no verdict"
    assert run_of(result).exit_code == code


def test_another_failure_in_the_same_run_breaks_it() -> None:
    assert run_of(marked(row()), row(name="other")).exit_code == 1
    assert run_of(marked(row()), row("infra", name="other")).exit_code == 3


def test_one_that_fails_now_and_then_is_known_and_not_flaky() -> None:
    entry = ENTRY.model_copy(update={"sometimes": True})
    found = run_of(marked(row(), entry), replace(marked(row("pass"), entry), repeat=2))
    assert (found.flaky, found.exit_code) == ([], 0)


@given(st.dates(), st.dates())
def test_an_entry_holds_to_the_end_of_its_last_day(until: date, today: date) -> None:
    result = marked(row(), ENTRY.model_copy(update={"until": until}), today)
    assert result.known is not None
    assert result.known.kind == ("known" if today <= until else "expired")


def test_totals_say_it_only_where_there_is_something_to_say() -> None:
    assert set(run_of(row("pass", "other")).totals) == {
        *("pass", "fail", "inconclusive", "infra"),
        *("flaky", "all", "not_run"),
    }
    totals = run_of(marked(row()), marked(row("pass"))).totals
    assert (totals["known"], totals["unexpected_pass"], totals["fail"], totals["all"]) == (1, 1, 0, 2)


def test_a_known_failure_does_not_end_a_run_until_fail() -> None:
    plan = Plan(("linger-zero",), None, until_fail=True)
    assert not plan.ended_by([marked(row())])
    assert plan.ended_by([row()])


def test_build_servers_see_a_skipped_test_and_a_failed_one() -> None:
    suite = ET.fromstring(junit(run_of(marked(row()), marked(row("pass", "linger-two")), row("pass", "other"))))
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    first, second, third = suite.findall("testcase")
    assert LINK in str(first.find("skipped").get("message"))  # type: ignore[union-attr]
    assert second.find("failure").get("type") == "unexpected-pass"  # type: ignore[union-attr]
    assert third.find("failure") is None


def test_people_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    found = run_of(marked(row()), row("pass", "other"))
    page = report.render(found.as_dict(), [[], []])
    assert "1 of 2 passed, 1 failed as known" in page
    assert 'data-verdict="known"' in page
    assert LINK in page
    assert "not as known.yaml says" in report.render(run_of(marked(row("pass"))).as_dict(), [[]])
    console = Console()
    console.verdict(found.scenarios[0])
    console.totals(found)
    said = capsys.readouterr().out
    assert f"known: the driver masks the flag ({LINK}); until 2026-03-01" in said
    assert "1 known" in said


def test_what_is_known_survives_the_file_of_rows(tmp_path: Path) -> None:
    lines = Rows(tmp_path)
    lines.append(marked(row()))
    lines.close()
    assert rows.read(tmp_path)[0].known == marked(row()).known


FILE = """known:
- scenario: linger-zero
  reason: ABORTIVE is clear
  why: the driver masks the flag
  until: 2026-03-01
"""


def test_the_file_is_read_where_the_command_is_called(tmp_path: Path) -> None:
    assert known.load(None, tmp_path) == ()
    (tmp_path / "known.yaml").write_text(FILE, encoding="utf-8")
    [entry] = known.load(None, tmp_path)
    assert (entry.scenario, entry.until, entry.target) == ("linger-zero", date(2026, 3, 1), "*")
    assert known.load(Path("off"), tmp_path) == ()
    assert known.load(tmp_path / "known.yaml", Path("/nowhere")) == (entry,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("until: 2026-03-01", "until: soon"), "until"),
        (("  until: 2026-03-01\n", ""), "until"),
        (("why:", "because:"), "because"),
        (("reason: ABORTIVE is clear", "reason: ''"), "reason"),
        (("  why:", "  link: javascript:alert(1)\n  why:"), "link"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_line(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "known.yaml"
    path.write_text(FILE.replace(*change), encoding="utf-8")
    with pytest.raises(UsageError, match=rf"known\.yaml:\d+: .*{said}"):
        known.load(path, tmp_path)
    with pytest.raises(UsageError, match="nowhere"):
        known.load(tmp_path / "nowhere.yaml", tmp_path)


def test_nothing_is_known_of_a_run_unasked() -> None:
    assert Known().mark(row()) == row()


def test_an_entry_may_be_about_one_variant_of_the_machine() -> None:
    entries = known.under([ENTRY.model_copy(update={"variant": "e1000*"})], run_of(), TODAY)
    assert entries.mark(row()).known is None
    assert entries.mark(replace(row(), variant="e1000e")).excused
