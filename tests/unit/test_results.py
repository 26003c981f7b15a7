"""Results, JUnit and the page: what scripts and people read."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from recorded import RESET, Recording

from wsklab.orchestrator import report, results
from wsklab.orchestrator.junit import junit
from wsklab.orchestrator.results import Results, ScenarioResult


def result(name: str = "linger-zero", verdict: str = "pass", repeat: int = 1, **more: Any) -> ScenarioResult:
    fields: dict[str, Any] = {
        "name": name, "title": "A title", "repeat": repeat, "verdict": verdict, "reasons": [], "covers": ["C05"],
        "expected": {}, "observed": {"disconnects": [], "wire": {"peer": [["rst"]], "driver": [[]], "frames": 9}},
        "timing": {"total_s": 0.5}, "evidence": f"evidence/{name}-{repeat}", **more}
    return ScenarioResult(**fields)


def some(*scenarios: ScenarioResult) -> Results:
    return Results(
        run={"id": "r1", "started": "2026-01-01T00:00:00Z", "seed": 1, "command": "wsklab run", "host": "h",
             "accelerator": "tcg", "versions": {}},
        target={"name": "standin", "kind": "standin", "qualifying": False, "version": "Wine 8.0", "image_sha256": "0"},
        driver={"name": "wsklab", "sha256": "0" * 64, "twin": None}, scenarios=list(scenarios))


@pytest.mark.parametrize(("verdicts", "code"), [
    (["pass", "pass"], 0), (["pass", "fail", "infra"], 1), (["pass", "infra"], 3), (["inconclusive"], 3), ([], 3),
])
def test_the_exit_code_is_the_worst_that_was_proven(verdicts: list[str], code: int) -> None:
    assert some(*(result(str(n), v) for n, v in enumerate(verdicts))).exit_code == code


def test_a_retry_never_hides_a_failure() -> None:
    flaky = some(result(verdict="infra"), result(repeat=2))
    assert (flaky.flaky, flaky.exit_code) == (["linger-zero"], 1)


def test_the_file_is_replaced_whole_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    some(result()).write(path)
    some(result(), result("half-close", "fail")).write(path)
    document = results.read(path)
    assert document["totals"] == {"pass": 1, "fail": 1, "inconclusive": 0, "infra": 0, "flaky": 0, "all": 2}
    assert list(tmp_path.iterdir()) == [path]
    path.write_text(json.dumps({"schema": 99}))
    with pytest.raises(ValueError, match="not a results file of schema 1"):
        results.read(path)


def test_junit_tells_failures_from_errors_and_survives_any_text() -> None:
    document = ET.fromstring(junit(some(
        result(), result("a", "fail", reasons=["<bad> & \x00\x1b"]), result("b", "infra", reasons=["x"]),
        result("b", "pass", repeat=2))))
    assert (document.get("tests"), document.get("failures"), document.get("errors")) == ("4", "1", "1")
    assert [case.get("name") for case in document.iter("testcase")] == ["linger-zero", "a", "b", "b#2"]
    assert document.find(".//failure").get("message") == "<bad> & ??"  # type: ignore[union-attr]
    assert "[[ATTACHMENT|evidence/a-1]]" in junit(some(result("a")))


def test_the_page_says_it_is_not_windows_and_escapes_what_guests_say() -> None:
    recording = Recording().opened().frame("peer", "RA").disconnect(1).done("receive", 3, RESET)
    recording.add("peer", "reply", 0, do="<script>alert(1)</script>")
    rows = report.story(recording.ended())
    page = report.render(some(result(verdict="fail", reasons=["<img src=x>"])).as_dict(), [rows])
    assert "not Windows" in page
    assert "<script>" not in page
    assert "<img" not in page
    assert "RA seq 1" in page
    qualifying = some(result()).as_dict()
    qualifying["target"]["qualifying"] = True
    assert "not Windows" not in report.render(qualifying, [[]])


def test_a_long_story_is_cut_in_the_middle() -> None:
    recording = Recording()
    for seq in range(1000):
        recording.frame("peer", "PA", seq)
    rows = report.story(recording.observations)
    assert len(rows) == report.MAX_ROWS + 1
    assert any("700 rows left out" in row["text"] for row in rows)
